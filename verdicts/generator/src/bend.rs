//! Unusual and invalid variants of certificates.

use crate::certificate::{Certificate, Extension, attribute, id_ce, name, validity};
use crate::der::{
    Node, bits, boolean, explicit, implicit, integer, mutate, null, octets, oid, sequence, set, tag, tlv,
};
use crate::keys::{Form, Hash, Key, Kind, key, version};
use crate::rng::Rng;

/// Changes one thing in a certificate. Returns a description of the change.
pub fn bend(rng: &mut Rng, c: &mut Certificate, issuer_key: &Key) -> String {
    match rng.below(20) {
        0 => bend_frame(rng, c),
        1 => bend_algorithm(rng, c, issuer_key),
        2 => bend_name(rng, c),
        3 => bend_time(rng, c),
        4 => bend_key(rng, c),
        5..=6 => bend_flags(rng, c),
        7..=15 => bend_extension(rng, c),
        16..=17 => {
            let picked = *rng.pick(&EKU);
            let usages: Vec<Vec<u8>> = picked.iter().map(|last| oid(&[1, 3, 6, 1, 5, 5, 7, 3, *last])).collect();
            let critical = rng.percent(30);
            let mut body = sequence(&usages);
            if rng.percent(20) {
                body = sequence(&[oid(&[2, 5, 29, 37, 0])]);
            }
            put(c, Extension::new(&id_ce(37), critical, body));
            format!("extended key usage {picked:?}")
        }
        _ => constrain(rng, c),
    }
}

const EKU: [&[u64]; 9] = [&[], &[1], &[2], &[1, 2], &[3], &[2, 9], &[9, 1], &[99], &[4, 8]];

/// Adds an extension, or replaces one with the same OID.
fn put(c: &mut Certificate, extension: Extension) {
    match c.extensions.iter_mut().find(|e| e.oid == extension.oid) {
        Some(place) => *place = extension,
        None => c.extensions.push(extension),
    }
}

fn bend_frame(rng: &mut Rng, c: &mut Certificate) -> String {
    let what = match rng.below(16) {
        0 => {
            c.version = Vec::new();
            "version 1"
        }
        1 => {
            c.version = version(0);
            "version 1, said"
        }
        2 => {
            c.version = version(1);
            "version 2"
        }
        3 => {
            c.version = version(3);
            "version 4"
        }
        4 => {
            c.version = explicit(0, &tlv(tag::INTEGER, &[0xff]));
            "version negative"
        }
        5 => {
            c.version = explicit(0, &[integer(2), integer(0)].concat());
            "version with a tail"
        }
        6 => {
            c.serial = tlv(tag::INTEGER, &[0x80 | rng.draw() as u8, 1]);
            "serial negative"
        }
        7 => {
            c.serial = integer(0);
            "serial 0"
        }
        8 => {
            c.serial = tlv(tag::INTEGER, &[0, 0, 1]);
            "serial not minimal"
        }
        9 => {
            c.serial = tlv(tag::INTEGER, &[0x7f; 40]);
            "serial of 40 octets"
        }
        10 => {
            c.unique_ids = [implicit(1, &[0, 1]), implicit(2, &[9, 9])].concat();
            "unique ids"
        }
        11 => {
            c.unique_ids = explicit(1, &null());
            "a constructed unique id"
        }
        12 => {
            c.tail = null();
            "an element behind the signature"
        }
        13 => {
            c.trailer = vec![0];
            "an octet behind everything"
        }
        14 => {
            c.unused_signature_bits = 1 + rng.below(8) as u8;
            "unused bits of the signature"
        }
        _ => {
            c.instead_of_extensions = Some(match rng.below(4) {
                0 => explicit(3, &sequence(&[])),
                1 => explicit(4, &null()),
                2 => Vec::new(),
                _ => explicit(3, &[sequence(&[]), null()].concat()),
            });
            "extensions left out or odd"
        }
    };
    what.to_owned()
}

fn bend_algorithm(rng: &mut Rng, c: &mut Certificate, issuer_key: &Key) -> String {
    match rng.below(8) {
        0..=2 => {
            c.hash = *rng.pick(&Hash::ALL);
            c.inner_algorithm = issuer_key.algorithm(c.hash);
            c.outer_algorithm = c.inner_algorithm.clone();
            format!("signed with {:?}", c.hash)
        }
        3 => {
            c.outer_algorithm = issuer_key.algorithm(*rng.pick(&Hash::ALL));
            "outer algorithm another".to_owned()
        }
        4 => {
            let mut algorithm = c.inner_algorithm.clone();
            algorithm.extend(null());
            if let [_, length, ..] = &mut algorithm[..] {
                *length += 2;
            }
            c.inner_algorithm = algorithm.clone();
            c.outer_algorithm = algorithm;
            "algorithm with NULL behind".to_owned()
        }
        5 => {
            let unknown = sequence(&[oid(&[1, 2, 3, 4, rng.below(200) as u64])]);
            c.inner_algorithm = unknown.clone();
            c.outer_algorithm = unknown;
            "algorithm unknown".to_owned()
        }
        6 => {
            let other = key(*rng.pick(&Kind::ALL), 0);
            c.inner_algorithm = other.algorithm(c.hash);
            c.outer_algorithm = c.inner_algorithm.clone();
            "algorithm of another kind of key".to_owned()
        }
        _ => {
            c.form = Form::HighS;
            "high S".to_owned()
        }
    }
}

fn bend_name(rng: &mut Rng, c: &mut Certificate) -> String {
    const TAGS: [u8; 12] = [
        tag::UTF8,
        tag::NUMERIC,
        tag::PRINTABLE,
        tag::T61,
        tag::IA5,
        tag::VISIBLE,
        tag::GENERAL,
        tag::UNIVERSAL,
        tag::BMP,
        tag::BIT_STRING,
        tag::OCTET_STRING,
        0x2c,
    ];
    const TEXTS: [&[u8]; 14] = [
        b"",
        b"client",
        b"admin",
        b"a_b",
        b"a@b",
        b"a*b&c",
        b"\xff",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"\0c\0l",
        b"\0",
        b"\xff\xfe",
        b"12 34",
        b"www.example.com",
    ];
    let (tag, text) = (*rng.pick(&TAGS), *rng.pick(&TEXTS));
    let kind = *rng.pick(&[attribute::COMMON_NAME, attribute::UNIT, attribute::COUNTRY, 46, 97]);
    let odd = match rng.below(6) {
        0 => set(&[]),
        1 => set(&[sequence(&[oid(&[2, 5, 4, kind])])]),
        2 => set(&[sequence(&[oid(&[2, 5, 4, kind]), tlv(tag, text), null()])]),
        3 => set(&[
            sequence(&[oid(&[2, 5, 4, kind]), tlv(tag::UTF8, b"z")]),
            sequence(&[oid(&[2, 5, 4, kind]), tlv(tag, text)]),
        ]),
        _ => set(&[sequence(&[oid(&[2, 5, 4, kind]), tlv(tag, text)])]),
    };
    let own = c.subject == c.issuer;
    let mut subject = Node::parse_all(&c.subject).map(|n| n.iter().flat_map(Node::write).collect::<Vec<u8>>());
    if rng.percent(10) {
        subject = Some(name(&[]));
    } else if let Some(subject) = &mut subject {
        // after the existing RDNs: the content of the sequence, and one more
        let at = if subject.get(1).is_some_and(|b| *b < 128) { 2 } else { 3 };
        let content = subject.get(at..).unwrap_or_default().to_vec();
        let parts = if rng.percent(50) { [content, odd] } else { [odd, content] };
        *subject = tlv(tag::SEQUENCE, &parts.concat());
    }
    c.subject = subject.unwrap_or_default();
    if own {
        c.issuer.clone_from(&c.subject);
    }
    format!("a name with {text:?} of tag {tag:#x}")
}

fn bend_time(rng: &mut Rng, c: &mut Certificate) -> String {
    const TIMES: [&str; 22] = [
        "2501010000Z",
        "250101000000+0000",
        "250101000000+0100",
        "250101000000-0030",
        "250101000060Z",
        "250101240000Z",
        "250230000000Z",
        "251301000000Z",
        "250101000000",
        "250101000000z",
        "250101000000.5Z",
        "490101000000Z",
        "500101000000Z",
        "20250101000000Z",
        "20510101000000Z",
        "99991231235959Z",
        "00000101000000Z",
        "20250101000000.5Z",
        "202501010000Z",
        "20250101000000+0100",
        "",
        "250101000001Z",
    ];
    let time = |text: &str, other: bool| {
        let generalized = (text.len() > 13) != other;
        tlv(if generalized { tag::GENERALIZED_TIME } else { tag::UTC_TIME }, text.as_bytes())
    };
    let (from, until) = (*rng.pick(&TIMES), *rng.pick(&TIMES));
    let (from, until) = match rng.below(3) {
        0 => (from, "450101000000Z"),
        1 => ("250101000000Z", until),
        _ => (from, until),
    };
    let mut parts = vec![time(from, rng.percent(8)), time(until, rng.percent(8))];
    if rng.percent(8) {
        parts.push(null());
    }
    c.validity = sequence(&parts);
    if rng.percent(15) {
        c.validity = validity("250101000000Z", "250101000000Z");
        return "valid for a moment".to_owned();
    }
    format!("valid from {from} until {until}")
}

fn bend_key(rng: &mut Rng, c: &mut Certificate) -> String {
    let point: Vec<u8> = key(Kind::P256, 1).spki().split_off(27);
    let ec =
        |parameters: Vec<u8>, bits: Vec<u8>| sequence(&[sequence(&[oid(&[1, 2, 840, 10045, 2, 1]), parameters]), bits]);
    let p256 = || oid(&[1, 2, 840, 10045, 3, 1, 7]);
    let rsa = |parameters: Vec<u8>, numbers: Vec<u8>| {
        sequence(&[sequence(&[oid(&[1, 2, 840, 113_549, 1, 1, 1]), parameters]), bits(0, &numbers)])
    };
    let what = match rng.below(14) {
        0 => {
            let mut off = point.clone();
            let at = rng.below(off.len());
            if let Some(octet) = off.get_mut(at) {
                *octet ^= 1;
            }
            c.spki = ec(p256(), bits(0, &off));
            "a point off the curve"
        }
        1 => {
            let mut short = point;
            short.truncate(33);
            if let Some(first) = short.first_mut() {
                *first = 2;
            }
            c.spki = ec(p256(), bits(0, &short));
            "a compressed point"
        }
        2 => {
            c.spki = ec(oid(&[1, 3, 132, 0, 10]), bits(0, &point));
            "secp256k1"
        }
        3 => {
            c.spki = ec(Vec::new(), bits(0, &point));
            "a curve without a name"
        }
        4 => {
            c.spki = ec(sequence(&[integer(1)]), bits(0, &point));
            "a curve in numbers"
        }
        5 => {
            c.spki = rsa(Vec::new(), sequence(&[integer(15), integer(3)]));
            "RSA without NULL"
        }
        6 => {
            let e = *rng.pick(&[0, 1, 2, 3, 4, 65_537, 1 << 40]);
            c.spki = rsa(null(), sequence(&[tlv(tag::INTEGER, &[0x7f; 256]), integer(e)]));
            "RSA with an odd exponent"
        }
        7 => {
            c.spki = rsa(null(), sequence(&[tlv(tag::INTEGER, &[0xff; 128]), integer(3)]));
            "RSA with a negative modulus"
        }
        8 => {
            let n = *rng.pick(&[31, 32, 33]);
            c.spki = sequence(&[sequence(&[oid(&[1, 3, 101, 112])]), bits(0, &vec![3; n])]);
            "Ed25519 of odd octets"
        }
        9 => {
            c.spki = sequence(&[sequence(&[oid(&[1, 3, 101, 112]), null()]), bits(0, &[3; 32])]);
            "Ed25519 with NULL"
        }
        10 => {
            c.spki = sequence(&[sequence(&[oid(&[1, 3, 101, 110])]), bits(0, &[9; 32])]);
            "X25519"
        }
        11 => {
            let numbers = sequence(&[integer(23), integer(11), integer(4)]);
            c.spki = sequence(&[sequence(&[oid(&[1, 2, 840, 10040, 4, 1]), numbers]), bits(0, &integer(8))]);
            "DSA"
        }
        12 => {
            c.spki = ec(p256(), bits(*rng.pick(&[1, 7, 8]), &point));
            "unused bits of the key"
        }
        _ => {
            let mut content = c.spki.get(2..).unwrap_or_default().to_vec();
            content.extend(null());
            if c.spki.get(1).is_some_and(|b| *b < 126) {
                c.spki = tlv(tag::SEQUENCE, &content);
            }
            "an element behind the key"
        }
    };
    what.to_owned()
}

fn bend_flags(rng: &mut Rng, c: &mut Certificate) -> String {
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

fn constrain(rng: &mut Rng, c: &mut Certificate) -> String {
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

fn bend_extension(rng: &mut Rng, c: &mut Certificate) -> String {
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
