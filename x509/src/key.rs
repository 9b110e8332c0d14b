//! Public keys, as `SubjectPublicKeyInfo` holds them.

use bytes::Bytes;

/// The curves whose keys Go parses.
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

/// A key of a kind that Go knows. A key of another kind is no error of the certificate: there is none then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA: modulus and exponent.
    Rsa {
        /// Big-endian, without leading zeros.
        modulus: Bytes,
        /// The exponent; positive.
        exponent: u64,
    },
    /// ECDSA: a point on the curve.
    Ec {
        /// Its curve.
        curve: Curve,
        /// Uncompressed: 4, x, y.
        point: Bytes,
    },
    /// Ed25519; whether it is a point is only seen when a signature is verified.
    Ed25519([u8; 32]),
    /// DSA, with which nothing is verified.
    Dsa,
}

/// Why a `SubjectPublicKeyInfo` makes Go refuse the whole certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Its structure or a value in it.
    #[error("{0}")]
    Malformed(&'static str),
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`; `Ok(None)` for a kind of key that Go does not know.
    ///
    /// # Errors
    /// Go refuses a certificate with it.
    pub fn from_spki(_der: &[u8]) -> Result<Option<Self>, KeyError> {
        todo!()
    }
}
