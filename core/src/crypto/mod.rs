//! Keys, signatures and hashes. Libraries do the mathematics; this module decides which signatures are accepted, as
//! Fabric does.
//!
//! One P-256 verification takes about 50 µs, one Ed25519 verification 41 µs, a P-256 signature 17 µs, SHA-256 of 1
//! KiB 0.6 µs.

mod public_key;
mod signing;

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;

pub use public_key::{HashFamily, PublicKey, SignatureError, has_strict_form};
pub use signing::{SigningIdentity, SigningKey};

/// Returns the SHA-256 digest of the concatenated parts.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Returns lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Signs on behalf of one identity.
pub trait Signer: Send + Sync {
    /// Returns the serialized `msp.SerializedIdentity` of the signer.
    fn creator(&self) -> &Bytes;
    /// Signs `message` itself, not a hash of it. Takes about 20 µs for P-256 if the key is in memory. If it is in hardware, this
    /// blocks until that has signed, or has failed to for too long.
    fn sign(&self, message: &[u8]) -> Result<Bytes, SignError>;
}

/// A signature cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key cannot sign.
    #[error("make a signature with the {0} key")]
    Key(&'static str),
    /// The key cannot be used now: it is in hardware that does not answer. The text says why.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

impl SignError {
    /// Creates the error of a key that cannot be used now.
    pub fn unavailable(cause: &str) -> Self {
        Self::Unavailable(cause.into())
    }

    /// Returns whether a later attempt may succeed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Bytes are not a key that this node can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no PKCS#8 or SEC1 key in PEM.
    #[error("no private key in PEM found (PKCS#8 'PRIVATE KEY' or SEC1 'EC PRIVATE KEY')")]
    NotPem,
    /// The bytes do not parse.
    #[error("key does not parse: {0}")]
    Malformed(String),
    /// The key is encrypted with a password.
    #[error("the key is encrypted: decrypt it with openssl pkey")]
    Encrypted,
    /// The key's algorithm is not one that Fabric signs with.
    #[error("key algorithm {0} is not supported")]
    Unsupported(String),
    /// The private key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The certificate does not parse.
    #[error("certificate does not parse: {0}")]
    Certificate(String),
}
