//! Unusual and invalid extensions of certificates.

use crate::certificate::{Certificate, Extension, attribute, id_ce, name};
use crate::der::{Node, bits, boolean, explicit, implicit, integer, mutate, null, octets, oid, sequence, tag, tlv};
use crate::rng::Rng;

/// Adds an extension, or replaces one with the same OID.
pub(super) fn put(c: &mut Certificate, extension: Extension) {
    match c.extensions.iter_mut().find(|e| e.oid == extension.oid) {
        Some(place) => *place = extension,
        None => c.extensions.push(extension),
    }
}

/// Changes the key usage, the basic constraints or a key identifier. Returns a description of the change.
pub(super) fn bend_basic_extensions(rng: &mut Rng, c: &mut Certificate) -> String {
    match rng.below(12) {
        0 => {
            put(c, Extension::new(&id_ce(15), true, bits(0, &[rng.draw() as u8])));
            "key usage at random".to_owned()
        }
        1 => {
            put(c, Extension::new(&id_ce(15), rng.percent(50), tlv(tag::BIT_STRING, &[0])));
            "key usage empty".to_owned()
        }
        2 => {
            put(c, Extension::new(&id_ce(15), true, bits(3, &[0xff, 0xff])));
            "key usage with bits in the unused".to_owned()
        }
        3 => {
            c.extensions.retain(|e| e.oid != oid(&id_ce(15)));
            "no key usage".to_owned()
        }
        4 => {
            put(c, Extension::new(&id_ce(19), true, sequence(&[boolean(rng.percent(50))])));
            "another CA flag".to_owned()
        }
        5 => {
            let length = *rng.pick(&[0, 0, 1, 2, 255, 1 << 33]);
            put(c, Extension::new(&id_ce(19), rng.percent(80), sequence(&[boolean(true), integer(length)])));
            format!("path length {length}")
        }
        6 => {
            put(c, Extension::new(&id_ce(19), true, sequence(&[integer(0)])));
            "path length of no CA".to_owned()
        }
        7 => {
            put(c, Extension::new(&id_ce(19), true, sequence(&[boolean(true), tlv(tag::INTEGER, &[0xff])])));
            "path length negative".to_owned()
        }
        8 => {
            put(c, Extension::new(&id_ce(19), true, sequence(&[tlv(tag::BOOLEAN, &[1])])));
            "CA flag 1".to_owned()
        }
        9 => {
            c.extensions.retain(|e| e.oid != oid(&id_ce(14)));
            "no SKI".to_owned()
        }
        10 => {
            c.extensions.retain(|e| e.oid != oid(&id_ce(35)));
            "no AKI".to_owned()
        }
        _ => {
            let n = rng.below(30);
            let body = octets(&rng.bytes(n));
            put(c, Extension::new(&id_ce(14), rng.percent(10), body));
            "another SKI".to_owned()
        }
    }
}

/// Returns a general name of a random type.
fn general_name(rng: &mut Rng) -> Vec<u8> {
    const HOSTS: [&[u8]; 14] = [
        b"example.com",
        b"",
        b".example.com",
        b"*.example.com",
        b"example.com.",
        b"a..b",
        b"EXAMPLE.com",
        b"a b",
        b"\xff",
        b"host_1",
        b"x.other.org",
        b"sub.example.com",
        b"-a.com",
        b"1.2.3.4",
    ];
    const URIS: [&[u8]; 16] = [
        b"http://example.com/a",
        b"",
        b"http://a b/",
        b"http://[::1]:80/",
        b"http://[::1/",
        b"urn:x:y",
        b":x",
        b"http://example.com:port/",
        b"http://example.com:1:2/",
        b"//example.com",
        b"a:b:c",
        b"http://1.2.3.4/",
        b"http://%zz/",
        b"http://u@example.com/",
        b"http://.example.com/",
        b"\xff://",
    ];
    const MAILS: [&[u8]; 8] =
        [b"a@example.com", b"", b"@", b"a@b@c", b"\"a b\"@example.com", b"example.com", b".example.com", b"\xff@x"];
    match rng.below(8) {
        0 | 1 => implicit(2, rng.pick::<&[u8]>(&HOSTS)),
        2 | 3 => implicit(6, rng.pick::<&[u8]>(&URIS)),
        4 => implicit(1, rng.pick::<&[u8]>(&MAILS)),
        5 => {
            let n = *rng.pick(&[4, 16, 5, 0, 8, 32]);
            implicit(7, &rng.bytes(n))
        }
        6 => explicit(4, &name(&[(attribute::COMMON_NAME, tag::UTF8, b"x")])),
        _ => match rng.below(3) {
            0 => explicit(0, &[oid(&[1, 2, 3]), explicit(0, &null())].concat()),
            1 => implicit(8, &[42, 3]),
            _ => tlv(0xa2, b"example.com"),
        },
    }
}

/// Adds alternative names or name constraints. Returns which.
pub(super) fn constrain(rng: &mut Rng, c: &mut Certificate) -> String {
    if rng.percent(40) {
        let n = rng.below(3);
        let names: Vec<Vec<u8>> = (0..n).map(|_| general_name(rng)).collect();
        put(c, Extension::new(&id_ce(17), rng.percent(30), sequence(&names)));
        return "alternative names".to_owned();
    }
    let subtrees = |rng: &mut Rng, number: u8| {
        let n = rng.below(3);
        let trees: Vec<Vec<u8>> = (0..n)
            .map(|_| {
                let mut tree = vec![match rng.below(4) {
                    0 => implicit(7, &[10, 0, 0, 0, 255, *rng.pick(&[0, 255, 128, 254, 253]), 0, 0]),
                    1 => implicit(2, rng.pick::<&[u8]>(&[b"example.com", b".example.com", b"", b"com", b"a."])),
                    _ => general_name(rng),
                }];
                if rng.percent(20) {
                    tree.push(implicit(0, &[0]));
                }
                sequence(&tree)
            })
            .collect();
        if trees.is_empty() && rng.percent(80) { Vec::new() } else { explicit(number, &trees.concat()) }
    };
    let mut parts = vec![subtrees(rng, 0), subtrees(rng, 1)];
    if rng.percent(10) {
        parts.push(null());
    }
    put(c, Extension::new(&id_ce(30), rng.percent(60), sequence(&parts)));
    "name constraints".to_owned()
}

/// Adds, repeats or changes any extension. Returns a description of the change.
pub(super) fn bend_extension(rng: &mut Rng, c: &mut Certificate) -> String {
    let critical = rng.percent(30);
    let uri = |text: &[u8]| implicit(6, text);
    let policy = |rng: &mut Rng| {
        let arcs: [&[u64]; 4] = [&[2, 5, 29, 32, 0], &[1, 2, 3], &[1, 2, 3, 1 << 40], &[1, 2, 4]];
        oid(rng.pick::<&[u64]>(&arcs))
    };
    let (arcs, body): (Vec<u64>, Vec<u8>) = match rng.below(17) {
        0 => {
            let n = rng.below(24);
            (id_ce(35).to_vec(), sequence(&[implicit(0, &rng.bytes(n))]))
        }
        1 => (id_ce(35).to_vec(), sequence(&[explicit(1, &general_name(rng)), implicit(2, &[1])])),
        2 => (id_ce(35).to_vec(), if rng.percent(50) { sequence(&[]) } else { octets(&[1, 2]) }),
        3 => {
            let n = rng.below(3);
            (id_ce(17).to_vec(), sequence(&(0..n).map(|_| general_name(rng)).collect::<Vec<_>>()))
        }
        4 => {
            let full = explicit(0, &explicit(0, &uri(b"http://example.com/crl")));
            let relative = explicit(0, &explicit(1, &name(&[])));
            let other = explicit(0, &explicit(0, &general_name(rng)));
            (id_ce(31).to_vec(), sequence(&[sequence(&[rng.pick(&[full, relative, other, null()]).clone()])]))
        }
        5 => {
            let n = rng.below(3);
            let list: Vec<_> = (0..n).map(|_| sequence(&[policy(rng)])).collect();
            (id_ce(32).to_vec(), sequence(&list))
        }
        6 => (id_ce(33).to_vec(), sequence(&[sequence(&[policy(rng), policy(rng)])])),
        7 => {
            let skip = rng.below(3) as u8;
            let parts = [implicit(0, &[skip]), implicit(1, &[0xff]), sequence(&[]), Vec::new()];
            (id_ce(36).to_vec(), sequence(&[rng.pick(&parts).clone()]))
        }
        8 => (id_ce(54).to_vec(), rng.pick(&[integer(0), integer(2), null(), tlv(2, &[0xff]), tlv(2, &[])]).clone()),
        9 => {
            let access = sequence(&[oid(&[1, 3, 6, 1, 5, 5, 7, 48, 1]), general_name(rng)]);
            (vec![1, 3, 6, 1, 5, 5, 7, 1, 1], sequence(&[access]))
        }
        10 => (id_ce(37).to_vec(), rng.pick(&[sequence(&[]), sequence(&[null()]), oid(&[1, 2]), null()]).clone()),
        11 => (vec![1, 2, 3, 4, 5, 6, 7, 8, 1], b"{\"attrs\":{}}".to_vec()),
        12 => (id_ce(*rng.pick(&[18, 46, 9, 16, 23])).to_vec(), null()),
        13 => (vec![2, 16, 840, 1, 113_730, 1, rng.below(20) as u64], bits(0, &[0x80])),
        14 if !c.extensions.is_empty() => {
            let again = rng.pick(&c.extensions).clone();
            c.extensions.push(again);
            return "an extension twice".to_owned();
        }
        15 if !c.extensions.is_empty() => {
            let at = rng.below(c.extensions.len());
            let critical = rng.pick(&[boolean(true), boolean(false), tlv(1, &[1]), tlv(1, &[]), Vec::new()]).clone();
            c.extensions[at].critical = critical;
            return format!("another critical flag of extension {at}");
        }
        _ if !c.extensions.is_empty() => {
            let at = rng.below(c.extensions.len());
            let mut body = c.extensions[at].body.clone();
            let what = match Node::parse_all(&body) {
                Some(mut nodes) if !nodes.is_empty() && rng.percent(80) => {
                    let what = mutate(rng, &mut nodes, None);
                    body = nodes.iter().flat_map(Node::write).collect();
                    what
                }
                _ => {
                    let junk = rng.bytes(2);
                    crate::der::mutate_octets(rng, &mut body, &junk).to_owned()
                }
            };
            c.extensions[at].body = body;
            return format!("body of extension {at}: {what}");
        }
        _ => (id_ce(14).to_vec(), octets(&[])),
    };
    let mut body = body;
    if rng.percent(8) {
        body.extend(null());
    }
    let text = arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
    put(c, Extension::new(&arcs, critical, body));
    format!("extension {text}{}", if critical { " critical" } else { "" })
}
