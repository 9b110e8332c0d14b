//! Parses public keys, as in `SubjectPublicKeyInfo`.
//!
//! | Rule | In Go |
//! |---|---|
//! | RSA: parameters are exactly NULL; modulus and exponent are above zero, the exponent has at most 63 bits. Size and parity are no matter of parsing. | `parsePublicKey` |
//! | EC: parameters begin with the object identifier of P-224, P-256, P-384 or P-521; any other curve makes Go reject the certificate. The point is uncompressed and on the curve. | `parsePublicKey`, `ecdsa.ParseUncompressedPublicKey` |
//! | Ed25519: no parameters, 32 octets, which need not be a point. | `parsePublicKey` |
//! | DSA: key and parameters are above zero. | `parsePublicKey` |
//! | Any other key: not an error; the certificate then has no key. | `getPublicKeyAlgorithmFromOID` |
//! | Bits of the BIT STRING are shifted right by those unused. What follows the values in their sequences is ignored. | `parsePublicKey` |

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
};
use bytes::Bytes;

use crate::der::{self, Reader};

/// Curves whose keys Go parses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-224.
    P224,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Curve {
    /// Returns the curve with these content octets of its object identifier.
    fn from_oid(oid: &[u8]) -> Option<Self> {
        match oid {
            [0x2b, 0x81, 0x04, 0x00, 0x21] => Some(Self::P224),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Self::P256),
            [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Self::P384),
            [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Self::P521),
            _ => None,
        }
    }

    /// Returns the number of octets of a coordinate.
    fn coordinate_len(self) -> usize {
        match self {
            Self::P224 => 28,
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Whether the octets are an uncompressed point on the curve.
    fn has(self, point: &[u8]) -> bool {
        point.first() == Some(&4)
            && point.len() == 1 + 2 * self.coordinate_len()
            && match self {
                Self::P224 => p224::PublicKey::from_sec1_bytes(point).is_ok(),
                Self::P256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok(),
                Self::P384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).is_ok(),
                Self::P521 => ParsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point).is_ok(),
            }
    }
}

/// A key of a kind that Go knows. A key of an unknown kind is not an error of the certificate, which then has no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA: modulus and exponent.
    Rsa {
        /// Modulus, big-endian, without leading zeros.
        modulus: Bytes,
        /// The exponent; positive.
        exponent: u64,
    },
    /// ECDSA: a point on the curve.
    Ec {
        /// Curve of the key.
        curve: Curve,
        /// Uncompressed point: 4, x, y.
        point: Bytes,
    },
    /// Ed25519; the verification of a signature determines whether the octets are a point.
    Ed25519([u8; 32]),
    /// DSA; its signatures are never verified.
    Dsa,
}

/// A `SubjectPublicKeyInfo` is invalid, and Go rejects the whole certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The structure or a value in it is malformed.
    #[error("{0}")]
    Malformed(&'static str),
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

impl PublicKey {
    /// Parses a `SubjectPublicKeyInfo` without octets after it; returns `Ok(None)` for a kind of key that Go does not know.
    ///
    /// # Errors
    /// Go rejects a certificate with it.
    pub fn from_spki(der: &[u8]) -> Result<Option<Self>, KeyError> {
        let mut input = Reader::new(der);
        let spki = input.enter(der::SEQUENCE).filter(|_| input.is_empty());
        let mut spki = spki.ok_or(KeyError::Malformed("malformed spki"))?;
        let mut algorithm =
            spki.enter(der::SEQUENCE).ok_or(KeyError::Malformed("malformed public key algorithm identifier"))?;
        let oid = algorithm.oid().ok_or(KeyError::Malformed("malformed OID"))?;
        let parameters = if algorithm.is_empty() {
            &[]
        } else {
            algorithm.any().ok_or(KeyError::Malformed("malformed parameters"))?.whole
        };
        let key = spki.bit_string().ok_or(KeyError::Malformed("malformed subjectPublicKey"))?.right_aligned();
        match oid {
            RSA => rsa(parameters, &key),
            EC => ec(parameters, key),
            ED25519 => ed25519(parameters, &key),
            DSA => dsa(parameters, &key),
            _ => return Ok(None),
        }
        .map(Some)
        .map_err(KeyError::Malformed)
    }
}

fn rsa(parameters: &[u8], key: &[u8]) -> Result<PublicKey, &'static str> {
    if parameters != [5, 0] {
        return Err("RSA key missing NULL parameters");
    }
    let mut key = Reader::new(key).enter(der::SEQUENCE).ok_or("invalid RSA public key")?;
    let modulus = key.integer().ok_or("invalid RSA modulus")?;
    let exponent = key.int64().ok_or("invalid RSA public exponent")?;
    let modulus = positive(modulus).ok_or("RSA modulus is not a positive number")?;
    let exponent =
        u64::try_from(exponent).ok().filter(|&e| e > 0).ok_or("RSA public exponent is not a positive number")?;
    Ok(PublicKey::Rsa { modulus: Bytes::copy_from_slice(modulus), exponent })
}

fn ec(parameters: &[u8], point: Vec<u8>) -> Result<PublicKey, &'static str> {
    let oid = Reader::new(parameters).oid().ok_or("invalid ECDSA parameters")?;
    let curve = Curve::from_oid(oid).ok_or("unsupported elliptic curve")?;
    if !curve.has(&point) {
        return Err("the ECDSA public key is not an uncompressed point on its curve");
    }
    Ok(PublicKey::Ec { curve, point: point.into() })
}

fn ed25519(parameters: &[u8], key: &[u8]) -> Result<PublicKey, &'static str> {
    if !parameters.is_empty() {
        return Err("Ed25519 key encoded with illegal parameters");
    }
    key.try_into().map(PublicKey::Ed25519).map_err(|_| "wrong Ed25519 public key size")
}

fn dsa(parameters: &[u8], key: &[u8]) -> Result<PublicKey, &'static str> {
    let y = Reader::new(key).integer().ok_or("invalid DSA public key")?;
    let malformed = "invalid DSA parameters";
    let mut parameters = Reader::new(parameters).enter(der::SEQUENCE).ok_or(malformed)?;
    let mut next = || parameters.integer().ok_or(malformed);
    let (p, q, g) = (next()?, next()?, next()?);
    if [y, p, q, g].into_iter().any(|number| positive(number).is_none()) {
        return Err("zero or negative DSA parameter");
    }
    Ok(PublicKey::Dsa)
}

/// Returns the magnitude of a positive INTEGER, without leading zeros.
fn positive(integer: &[u8]) -> Option<&[u8]> {
    match integer {
        [] | [0] => None,
        [0, magnitude @ ..] => Some(magnitude),
        [first, ..] if first & 0x80 != 0 => None,
        magnitude => Some(magnitude),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::encode;

    fn spki(oid: &[u8], parameters: &[u8], key: &[u8]) -> Vec<u8> {
        let algorithm = encode(0x30, &[encode(6, oid), parameters.to_vec()].concat());
        encode(0x30, &[algorithm, encode(3, &[&[0], key].concat())].concat())
    }

    fn read(oid: &[u8], parameters: &[u8], key: &[u8]) -> Result<Option<PublicKey>, KeyError> {
        PublicKey::from_spki(&spki(oid, parameters, key))
    }

    const P224: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x21];

    /// The base point.
    const P224_POINT: &[u8] = &[
        4, 0xb7, 0x0e, 0x0c, 0xbd, 0x6b, 0xb4, 0xbf, 0x7f, 0x32, 0x13, 0x90, 0xb9, 0x4a, 0x03, 0xc1, 0xd3, 0x56, 0xc2,
        0x11, 0x22, 0x34, 0x32, 0x80, 0xd6, 0x11, 0x5c, 0x1d, 0x21, 0xbd, 0x37, 0x63, 0x88, 0xb5, 0xf7, 0x23, 0xfb,
        0x4c, 0x22, 0xdf, 0xe6, 0xcd, 0x43, 0x75, 0xa0, 0x5a, 0x07, 0x47, 0x64, 0x44, 0xd5, 0x81, 0x99, 0x85, 0x00,
        0x7e, 0x34,
    ];

    #[test]
    fn an_ec_key_is_an_uncompressed_point_on_one_of_four_curves() {
        assert!(matches!(read(EC, P224, P224_POINT), Ok(Some(PublicKey::Ec { curve: Curve::P224, .. }))));
        let mut elsewhere = P224_POINT.to_vec();
        elsewhere[56] ^= 1;
        assert!(read(EC, P224, &elsewhere).is_err());
        let compressed = [&[2], &P224_POINT[1..29]].concat();
        assert!(read(EC, P224, &compressed).is_err());
        assert!(read(EC, P224, &[0]).is_err());
        assert!(read(EC, &[], P224_POINT).is_err());
        let secp256k1 = [6, 5, 0x2b, 0x81, 4, 0, 0x0a];
        assert_eq!(read(EC, &secp256k1, P224_POINT), Err(KeyError::Malformed("unsupported elliptic curve")));
    }

    #[test]
    fn an_rsa_key_has_null_parameters_and_positive_numbers() {
        let key = |modulus: &[u8], exponent: &[u8]| encode(0x30, &[encode(2, modulus), encode(2, exponent)].concat());
        let good = read(RSA, &[5, 0], &key(&[0, 0x81], &[3]));
        assert_eq!(good, Ok(Some(PublicKey::Rsa { modulus: Bytes::from_static(&[0x81]), exponent: 3 })));
        assert!(read(RSA, &[], &key(&[0x11], &[3])).is_err());
        assert!(read(RSA, &[5, 0], &key(&[0x81], &[3])).is_err());
        assert!(read(RSA, &[5, 0], &key(&[0], &[3])).is_err());
        assert!(read(RSA, &[5, 0], &key(&[0x11], &[0])).is_err());
        assert!(read(RSA, &[5, 0], &key(&[0x11], &[0, 0x80, 0, 0, 0, 0, 0, 0, 0])).is_err());
    }

    #[test]
    fn a_key_of_another_kind_is_no_mistake() {
        assert_eq!(read(&[0x2b, 0x65, 0x6e], &[], &[1; 32]), Ok(None));
        assert_eq!(read(ED25519, &[], &[1; 32]), Ok(Some(PublicKey::Ed25519([1; 32]))));
        assert!(read(ED25519, &[], &[1; 31]).is_err());
        assert!(read(ED25519, &[5, 0], &[1; 32]).is_err());
    }
}
