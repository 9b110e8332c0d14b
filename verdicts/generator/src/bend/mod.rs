//! Unusual and invalid variants of certificates: their version, serial number, algorithm, names and validity.

mod extensions;
mod public_key;

use crate::certificate::{Certificate, Extension, attribute, id_ce, name, validity};
use crate::der::{Node, explicit, implicit, integer, null, oid, sequence, set, tag, tlv};
use crate::keys::{Form, Hash, Key, Kind, key, version};
use crate::rng::Rng;
use extensions::{bend_basic_extensions, bend_extension, constrain, put};
use public_key::bend_key;

/// Changes one thing in a certificate. Returns a description of the change.
pub fn bend(rng: &mut Rng, c: &mut Certificate, issuer_key: &Key) -> String {
    match rng.below(20) {
        0 => bend_frame(rng, c),
        1 => bend_algorithm(rng, c, issuer_key),
        2 => bend_name(rng, c),
        3 => bend_time(rng, c),
        4 => bend_key(rng, c),
        5..=6 => bend_basic_extensions(rng, c),
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
