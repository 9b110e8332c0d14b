//! A key to verify with, parsed once.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ParsedPublicKey};
use ed25519_dalek::{Verifier as _, VerifyingKey};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{KeyError, ecdsa, sha256};

const OID_EC: &str = "1.2.840.10045.2.1";
const OID_P256: &str = "1.2.840.10045.3.1.7";
const OID_P384: &str = "1.3.132.0.34";
const OID_ED25519: &str = "1.3.101.112";

/// The public key of an identity. Cloning shares it.
#[derive(Clone)]
pub struct PublicKey {
    kind: Kind,
    /// The uncompressed point, or the 32 bytes of an Ed25519 key.
    bytes: Arc<[u8]>,
}

#[derive(Clone)]
enum Kind {
    P256(Arc<ParsedPublicKey>),
    P384(Arc<ParsedPublicKey>),
    Ed25519(Arc<VerifyingKey>),
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is none.
    #[error("the signature is empty")]
    Empty,
    /// Not two integers in DER, or something follows them.
    #[error("the signature is not an ECDSA signature in DER")]
    Malformed,
    /// It would verify, but its twin with the lower s is the only one allowed.
    #[error("the signature is not in its low-S form")]
    HighS,
    /// It is for another message or by another key.
    #[error("the signature does not verify")]
    Wrong,
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`, as it is found in a certificate.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|e| KeyError::Malformed(e.to_string()))?;
        let algorithm = info.algorithm.algorithm.to_id_string();
        let bytes: Arc<[u8]> = info.subject_public_key.data.as_ref().into();
        let curve = || info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
        let malformed = |_| KeyError::Malformed("the point is not on the curve".to_owned());
        let kind = match algorithm.as_str() {
            OID_EC => match curve().as_deref() {
                Some(OID_P256) => {
                    Kind::P256(ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &bytes).map_err(malformed)?.into())
                }
                Some(OID_P384) => {
                    Kind::P384(ParsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, &bytes).map_err(malformed)?.into())
                }
                other => return Err(KeyError::Unsupported(format!("ECDSA on curve {}", other.unwrap_or("?")))),
            },
            OID_ED25519 => {
                let key = VerifyingKey::try_from(&bytes[..]).map_err(|e| KeyError::Malformed(e.to_string()))?;
                Kind::Ed25519(key.into())
            }
            other => return Err(KeyError::Unsupported(other.to_owned())),
        };
        Ok(Self { kind, bytes })
    }

    /// Whether `signature` is this key's over `message`. ECDSA hashes with SHA-256 on either curve, as Fabric does,
    /// and must be in low-S form; Ed25519 is over the message itself, by the same equation as Go's, so that no
    /// signature counts for one orderer and not for another.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if signature.is_empty() {
            return Err(SignatureError::Empty);
        }
        let (key, curve) = match &self.kind {
            Kind::P256(key) => (key, &ecdsa::P256),
            Kind::P384(key) => (key, &ecdsa::P384),
            Kind::Ed25519(key) => {
                let signature =
                    ed25519_dalek::Signature::from_slice(signature).map_err(|_| SignatureError::Malformed)?;
                return key.verify(message, &signature).map_err(|_| SignatureError::Wrong);
            }
        };
        let (_, s) = ecdsa::parse(signature).ok_or(SignatureError::Malformed)?;
        if !curve.is_low(s) {
            return Err(SignatureError::HighS);
        }
        key.verify_sig(message, signature).map_err(|_| SignatureError::Wrong)
    }

    /// Whether every signature is its key's over its message, all keys being Ed25519: about 24 µs each for many, 41 µs
    /// for one. False says that at least one is not, or that a key is of another kind.
    ///
    /// A little more is taken than by [`verify`](Self::verify): whoever holds a key can build signatures that are refused
    /// alone and pass, with some luck, among others. Nobody else can, and what is judged again is judged alone.
    pub fn verify_together(claims: &[(&Self, &[u8], &[u8])]) -> bool {
        let mut messages = Vec::with_capacity(claims.len());
        let mut signatures = Vec::with_capacity(claims.len());
        let mut keys = Vec::with_capacity(claims.len());
        for (key, message, signature) in claims {
            let Kind::Ed25519(key) = &key.kind else { return false };
            let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
            messages.push(*message);
            signatures.push(signature);
            keys.push(**key);
        }
        ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok()
    }

    /// Fabric's name of the key: SHA-256 of the uncompressed point, or of the Ed25519 key. Key files are called by it.
    pub fn ski(&self) -> [u8; 32] {
        sha256(&[&self.bytes])
    }

    /// Whether it is an Ed25519 key.
    pub fn is_ed25519(&self) -> bool {
        matches!(self.kind, Kind::Ed25519(_))
    }

    /// What kind of key it is, in words.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::P256(_) => "ECDSA P-256",
            Kind::P384(_) => "ECDSA P-384",
            Kind::Ed25519(_) => "Ed25519",
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.algorithm())
    }
}
