//! Algorithms of signatures in certificates and revocation lists.
//!
//! | Rule | In Go |
//! |---|---|
//! | The object identifier decides; parameters do not count but for the next two. | `getSignatureAlgorithmFromAI` |
//! | Ed25519 has no parameters. | `getSignatureAlgorithmFromAI` |
//! | RSA-PSS says hash, mask generation with the same hash, and a salt as long as the hash; trailer 1; parameters of hashes are absent or NULL. They are read with `encoding/asn1`. | `getSignatureAlgorithmFromAI`, `pssParameters` |
//! | An unknown algorithm is not an error of the certificate. | `parseCertificate` |

use crate::asn1::{self, Fields, Refused};
use crate::der;

/// Hash functions in signature algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Signature algorithm of a certificate or a list, as Go derives it from the `AlgorithmIdentifier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSA with PKCS #1 v1.5 padding.
    RsaPkcs1(Hash),
    /// RSA with PSS padding, if all parameters are as Go requires.
    RsaPss(Hash),
    /// ECDSA, on the curve of the key.
    Ecdsa(Hash),
    /// Ed25519.
    Ed25519,
    /// Known but never verified: RSA with MD5, and DSA.
    Insecure,
    /// Unknown to Go. A certificate with it parses; its signature never verifies.
    Unknown,
}

/// Content octets of object identifiers.
mod oid {
    pub(super) const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
    pub(super) const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
    pub(super) const SHA1_RSA_ISO: &[u8] = &[0x2b, 14, 3, 2, 29];
    pub(super) const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
    pub(super) const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    pub(super) const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    pub(super) const SHA384_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
    pub(super) const SHA512_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
    pub(super) const SHA1_DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3];
    pub(super) const SHA256_DSA: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 2];
    pub(super) const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    pub(super) const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    pub(super) const SHA384_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    pub(super) const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
    pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    pub(super) const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
    pub(super) const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
}

impl SignatureAlgorithm {
    /// Returns the algorithm for the content octets of its object identifier and the parameters with their header (empty if
    /// absent).
    pub(crate) fn from_identifier(algorithm: &[u8], parameters: &[u8]) -> Self {
        match algorithm {
            oid::MD5_RSA | oid::SHA1_DSA | oid::SHA256_DSA => Self::Insecure,
            oid::SHA1_RSA | oid::SHA1_RSA_ISO => Self::RsaPkcs1(Hash::Sha1),
            oid::SHA256_RSA => Self::RsaPkcs1(Hash::Sha256),
            oid::SHA384_RSA => Self::RsaPkcs1(Hash::Sha384),
            oid::SHA512_RSA => Self::RsaPkcs1(Hash::Sha512),
            oid::SHA1_ECDSA => Self::Ecdsa(Hash::Sha1),
            oid::SHA256_ECDSA => Self::Ecdsa(Hash::Sha256),
            oid::SHA384_ECDSA => Self::Ecdsa(Hash::Sha384),
            oid::SHA512_ECDSA => Self::Ecdsa(Hash::Sha512),
            oid::ED25519 if parameters.is_empty() => Self::Ed25519,
            oid::RSA_PSS => pss_hash(parameters).ok().flatten().map_or(Self::Unknown, Self::RsaPss),
            _ => Self::Unknown,
        }
    }
}

/// DER of NULL.
const NULL: &[u8] = &[5, 0];

/// Returns the hash in RSA-PSS parameters, if Go accepts it and all other parameters fit it.
fn pss_hash(parameters: &[u8]) -> Result<Option<Hash>, Refused> {
    let mut fields = Fields::new(Fields::new(parameters).required(asn1::SEQUENCE)?);
    let (hash, hash_parameters) = asn1::algorithm(fields.required_explicit(0, asn1::SEQUENCE)?)?;
    let (generator, generator_parameters) = asn1::algorithm(fields.required_explicit(1, asn1::SEQUENCE)?)?;
    let salt = der::int64(fields.required_explicit(2, asn1::INTEGER)?).ok_or(Refused)?;
    let trailer = match fields.optional_explicit(3, asn1::INTEGER)? {
        Some(octets) => der::int64(octets).ok_or(Refused)?,
        None => 1,
    };
    let (generator_hash, generator_hash_parameters) = Fields::new(generator_parameters).algorithm()?;

    let absent_or_null = |parameters: &[u8]| parameters.is_empty() || parameters == NULL;
    if generator != oid::MGF1
        || generator_hash != hash
        || !absent_or_null(hash_parameters)
        || !absent_or_null(generator_hash_parameters)
        || trailer != 1
    {
        return Ok(None);
    }
    Ok(match (hash, salt) {
        (oid::SHA256, 32) => Some(Hash::Sha256),
        (oid::SHA384, 48) => Some(Hash::Sha384),
        (oid::SHA512, 64) => Some(Hash::Sha512),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::encode;

    fn pss(hash: &[u8], generator_hash: &[u8], salt: u8, trailer: Option<u8>) -> Vec<u8> {
        let identifier = |oid: &[u8], parameters: &[u8]| encode(0x30, &[encode(6, oid), parameters.to_vec()].concat());
        let mut fields = [
            encode(0xa0, &identifier(hash, NULL)),
            encode(0xa1, &identifier(oid::MGF1, &identifier(generator_hash, &[]))),
            encode(0xa2, &[2, 1, salt]),
        ]
        .concat();
        if let Some(trailer) = trailer {
            fields.extend(encode(0xa3, &[2, 1, trailer]));
        }
        encode(0x30, &fields)
    }

    #[test]
    fn pss_is_taken_where_all_its_parameters_fit() {
        let read = |parameters: &[u8]| SignatureAlgorithm::from_identifier(oid::RSA_PSS, parameters);
        assert_eq!(read(&pss(oid::SHA256, oid::SHA256, 32, None)), SignatureAlgorithm::RsaPss(Hash::Sha256));
        assert_eq!(read(&pss(oid::SHA384, oid::SHA384, 48, Some(1))), SignatureAlgorithm::RsaPss(Hash::Sha384));
        for refused in [
            pss(oid::SHA256, oid::SHA384, 32, None),
            pss(oid::SHA256, oid::SHA256, 20, None),
            pss(oid::SHA256, oid::SHA256, 32, Some(2)),
            vec![],
            vec![0x30, 0],
        ] {
            assert_eq!(read(&refused), SignatureAlgorithm::Unknown, "{refused:x?}");
        }
    }

    #[test]
    fn ed25519_has_no_parameters() {
        assert_eq!(SignatureAlgorithm::from_identifier(oid::ED25519, &[]), SignatureAlgorithm::Ed25519);
        assert_eq!(SignatureAlgorithm::from_identifier(oid::ED25519, NULL), SignatureAlgorithm::Unknown);
        assert_eq!(
            SignatureAlgorithm::from_identifier(oid::SHA256_ECDSA, NULL),
            SignatureAlgorithm::Ecdsa(Hash::Sha256)
        );
    }
}
