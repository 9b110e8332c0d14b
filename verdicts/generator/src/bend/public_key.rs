//! Unusual and invalid public keys.

use crate::certificate::Certificate;
use crate::der::{bits, integer, null, oid, sequence, tag, tlv};
use crate::keys::{Kind, key};
use crate::rng::Rng;

/// Replaces the public key of a certificate. Returns a description of the key.
pub(super) fn bend_key(rng: &mut Rng, c: &mut Certificate) -> String {
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
