//! Tests of the encodings of signatures and the low-S rule. The tests of `signature.rs` verify signatures with
//! Go's vectors.

use super::*;

const CURVES: [Curve; 4] = [Curve::P224, Curve::P256, Curve::P384, Curve::P521];

#[test]
fn the_strict_form_has_nothing_else() {
    let strict = |der: &[u8]| Signature::parse_strict(der);
    let (r, s) = (vec![1], vec![0x80]);
    assert_eq!(strict(&[0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]), Some(Signature { r, s }));
    assert_eq!(strict(&[0x30, 6, 2, 1, 0, 2, 1, 1]), Some(Signature { r: vec![], s: vec![1] }));
    for wrong in [
        &[0x30, 6, 2, 1, 1, 2, 1, 1, 0][..],
        &[0x30, 8, 2, 1, 1, 2, 1, 1, 5, 0],
        &[0x30, 6, 2, 1, 0xff, 2, 1, 1],
        &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],
        &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],
        &[0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0],
        &[0x31, 6, 2, 1, 1, 2, 1, 1],
        &[0x30, 5, 2, 1, 1, 2, 0],
        &[],
    ] {
        assert_eq!(strict(wrong), None, "{wrong:?}");
    }
}

#[test]
fn the_lenient_form_ignores_what_follows() {
    let expected = Some(Signature { r: vec![1], s: vec![2] });
    assert_eq!(Signature::parse_lenient(&[0x30, 6, 2, 1, 1, 2, 1, 2, 9]), expected);
    assert_eq!(Signature::parse_lenient(&[0x30, 8, 2, 1, 1, 2, 1, 2, 5, 0]), expected);
    assert_eq!(Signature::parse_lenient(&[0x30, 6, 2, 1, 0, 2, 1, 2]), None);
    assert_eq!(Signature::parse_lenient(&[0x30, 6, 2, 1, 1, 2, 1, 0]), None);
    assert_eq!(Signature::parse_lenient(&[0x30, 7, 2, 1, 1, 2, 2, 0, 2]), None);
}

#[test]
fn half_the_order_is_the_last_low_one() {
    for curve in CURVES {
        // (order - 1) / 2
        let mut half = vec![0; order(curve).len()];
        let mut carry = 0;
        for (place, byte) in half.iter_mut().zip(order(curve)) {
            *place = byte >> 1 | carry << 7;
            carry = byte & 1;
        }
        let half: Vec<u8> = half.into_iter().skip_while(|byte| *byte == 0).collect();
        let low = Signature { r: vec![1], s: half.clone() };
        assert!(low.is_low(curve));
        assert_eq!(low.to_low(curve), low);
        let high = Signature { r: vec![1], s: complement(&half, order(curve)).unwrap() };
        assert_eq!(compare(&high.s, &half), Ordering::Greater);
        assert!(!high.is_low(curve));
        assert_eq!(high.to_low(curve), low);
        let above: Vec<u8> = order(curve).iter().copied().skip_while(|byte| *byte == 0).collect();
        let above = Signature { r: vec![1], s: above };
        assert!(!above.is_low(curve));
        assert_eq!(above.to_low(curve), above);
    }
}

#[test]
fn der_is_read_again() {
    for len in [0, 1, 32, 66, 130, 300] {
        for first in [1, 0x80] {
            let mut number = vec![0; len];
            number.first_mut().into_iter().for_each(|byte| *byte = first);
            let signature = Signature { r: number.clone(), s: number };
            assert_eq!(Signature::parse_strict(&signature.to_der()), Some(signature));
        }
    }
}
