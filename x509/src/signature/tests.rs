//! Signatures made by Go, and Go's verdicts: `kind digest-or-verdict key signature`, over `message`.

use super::*;
use crate::key::Curve;
use crate::recovery::Recovered;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hash(name: &str) -> Hash {
    match name {
        "1" => Hash::Sha1,
        "256" => Hash::Sha256,
        "384" => Hash::Sha384,
        "512" => Hash::Sha512,
        other => panic!("{other}"),
    }
}

#[test]
fn signatures_count_as_in_go() {
    let (mut count, mut recovered) = (0, 0);
    for line in include_str!("vectors.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (algorithm, key, signature, verifies) = match words[..] {
            ["ecdsa", curve, digest, point, signature] => {
                let curve = match curve {
                    "224" => Curve::P224,
                    "256" => Curve::P256,
                    "384" => Curve::P384,
                    _ => Curve::P521,
                };
                let key = PublicKey::Ec { curve, point: hex(point).into() };
                (SignatureAlgorithm::Ecdsa(hash(digest)), key, hex(signature), true)
            }
            ["ed25519", verdict, key, signature] => {
                let key = PublicKey::Ed25519(hex(key).try_into().unwrap());
                (SignatureAlgorithm::Ed25519, key, hex(signature), verdict == "true")
            }
            [kind, digest, modulus, signature] => {
                let key = PublicKey::Rsa { modulus: hex(modulus).into(), exponent: 65537 };
                let hash = hash(digest);
                match kind {
                    "pkcs1" => (SignatureAlgorithm::RsaPkcs1(hash), key, hex(signature), true),
                    "pss" => (SignatureAlgorithm::RsaPss(hash), key, hex(signature), true),
                    _ => (SignatureAlgorithm::RsaPss(hash), key, hex(signature), false),
                }
            }
            _ => panic!("{line}"),
        };
        let judge = |message: &[u8], signature: &[u8]| check(algorithm, message, signature, Some(&key), Sha1::Taken);
        assert_eq!(judge(b"message", &signature).is_ok(), verifies, "{line}");
        if let PublicKey::Ec { curve, point } = &key
            && let Some(keys) = Recovered::of(*curve, algorithm, b"message", &signature)
        {
            assert!(keys.contain(point), "{line}");
            recovered += 1;
        }
        if verifies && words[0] != "ed25519" {
            assert_eq!(judge(b"massage", &signature), Err(SignatureError::Wrong), "{line}");
            assert_eq!(judge(b"message", &[&signature[..], &[0]].concat()), Err(SignatureError::Wrong), "{line}");
        }
        count += 1;
    }
    assert!(count > 300);
    assert!(recovered >= 12, "{recovered}");
}

#[test]
fn sha1_and_the_insecure_do_not_count_in_certificates() {
    let key = PublicKey::Ed25519([0; 32]);
    let judge = |algorithm, sha1| check(algorithm, b"", b"", Some(&key), sha1);
    assert_eq!(judge(SignatureAlgorithm::Ecdsa(Hash::Sha1), Sha1::Refused), Err(SignatureError::Insecure));
    assert_eq!(judge(SignatureAlgorithm::Ecdsa(Hash::Sha1), Sha1::Taken), Err(SignatureError::Key));
    assert_eq!(judge(SignatureAlgorithm::Insecure, Sha1::Taken), Err(SignatureError::Insecure));
    assert_eq!(judge(SignatureAlgorithm::Unknown, Sha1::Taken), Err(SignatureError::Algorithm));
}

#[test]
fn rsa_keys_have_limits() {
    for (len, last, exponent) in
        [(127, 1, 65537), (128, 2, 65537), (128, 1, 1), (128, 1, 4), (128, 1, (1 << 31) + 1), (2049, 1, 3), (0, 0, 3)]
    {
        let mut modulus = vec![0xff; len];
        modulus.last_mut().into_iter().for_each(|byte| *byte = last);
        let judged = rsa::verify(&modulus, exponent, Padding::Pkcs1, Hash::Sha256, b"", &vec![0; len]);
        assert_eq!(judged, Err(SignatureError::WeakKey), "{len} {last} {exponent}");
    }
}
