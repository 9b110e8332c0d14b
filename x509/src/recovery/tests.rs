use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA256_ASN1_SIGNING,
    ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};

use super::*;

const ALGORITHMS: [(Curve, Hash, &EcdsaSigningAlgorithm); 4] = [
    (Curve::P256, Hash::Sha256, &ECDSA_P256_SHA256_ASN1_SIGNING),
    (Curve::P384, Hash::Sha384, &ECDSA_P384_SHA384_ASN1_SIGNING),
    (Curve::P521, Hash::Sha256, &ECDSA_P521_SHA256_ASN1_SIGNING),
    (Curve::P521, Hash::Sha512, &ECDSA_P521_SHA512_ASN1_SIGNING),
];

#[test]
fn the_key_that_signed_is_among_them_and_all_of_them_verify() {
    for (curve, hash, signing) in ALGORITHMS {
        for number in 0..10_u8 {
            let message = [number; 40];
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            let signature = pair.sign(&SystemRandom::new(), &message).unwrap();
            let recovered =
                Recovered::of(curve, SignatureAlgorithm::Ecdsa(hash), &message, signature.as_ref()).unwrap();
            assert!(recovered.contain(pair.public_key().as_ref()), "{curve:?} {hash:?}");
            assert_eq!(recovered.0.len(), 2);
            let signature = Signature::parse_strict(signature.as_ref()).unwrap();
            let digest = hash.digest(&message);
            assert!(
                recovered.0.iter().all(|key| signature.verifies(curve, key, digest.as_ref())),
                "{curve:?} {hash:?}"
            );
            let other = EcdsaKeyPair::generate(signing).unwrap();
            assert!(!recovered.contain(other.public_key().as_ref()));
        }
    }
}

/// r is a point's coordinate minus the order of the group, which is very rare, but such a signature can be made.
#[test]
fn a_coordinate_above_the_order_is_found() {
    use p256::elliptic_curve::PrimeField as _;
    use p256::elliptic_curve::point::DecompressPoint as _;
    use p256::elliptic_curve::sec1::ToSec1Point as _;
    use p256::{AffinePoint, FieldBytes, ProjectivePoint, Scalar};

    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25,
    ];
    let mut found = 0;
    // 0x51 is the order's last byte
    for r in 1..=100_u8 {
        let x: [u8; 32] = [&order[..], &[0x51 + r]].concat().try_into().unwrap();
        let Some(point) = Option::<AffinePoint>::from(AffinePoint::decompress(&FieldBytes::from(x), 0.into())) else {
            continue;
        };
        let (u1, u2) = (Scalar::from(7_u64), Scalar::from(11_u64));
        let u2_inverse = Option::<Scalar>::from(u2.invert()).unwrap();
        let key = (ProjectivePoint::from(point) - ProjectivePoint::GENERATOR * u1) * u2_inverse;
        let s = Scalar::from(u64::from(r)) * u2_inverse;
        let digest = (u1 * s).to_repr();
        let key = key.to_affine().to_sec1_point(false).as_bytes().to_vec();
        let signature =
            Signature { r: vec![r], s: s.to_repr().iter().copied().skip_while(|byte| *byte == 0).collect() };
        assert!(signature.verifies(Curve::P256, &key, &digest));
        assert!(Recovered::from_digest(Curve::P256, &digest, &signature).contain(&key));
        found += 1;
    }
    assert!(found > 10, "{found}");
}

#[test]
fn what_is_no_signature_is_from_no_key() {
    for signature in [&[][..], &[0x30, 6, 2, 1, 0, 2, 1, 1], &[0x30, 6, 2, 1, 1, 2, 1, 0]] {
        let recovered = Recovered::of(Curve::P256, SignatureAlgorithm::Ecdsa(Hash::Sha256), b"message", signature);
        assert!(recovered.unwrap().0.is_empty());
    }
    let sha1 = SignatureAlgorithm::Ecdsa(Hash::Sha1);
    assert!(Recovered::of(Curve::P256, sha1, b"message", &[]).is_none(), "it has an error of its own");
}
