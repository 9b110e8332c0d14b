//! Algorithms of signatures in certificates and revocation lists.

/// Digests that occur in signature algorithms.
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

/// How a certificate or a list is signed, as Go tells it from the `AlgorithmIdentifier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSA with PKCS #1 v1.5 padding.
    RsaPkcs1(Hash),
    /// RSA with PSS padding, whose parameters are all as Go asks.
    RsaPss(Hash),
    /// ECDSA over whatever curve the key is on.
    Ecdsa(Hash),
    /// Ed25519.
    Ed25519,
    /// Known and never verified: MD2, MD5, DSA.
    Insecure,
    /// Anything else. A certificate with it parses; its signature never verifies.
    Unknown,
}
