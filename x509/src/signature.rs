//! Verifies signatures over certificates and revocation lists (`checkSignature` of Go's `crypto/x509`).

use aws_lc_rs::digest::{self, Digest};
use ed25519_dalek::Verifier;

use crate::algorithm::{Hash, SignatureAlgorithm};
use crate::certificate::Certificate;
use crate::crl::RevocationList;
use crate::key::PublicKey;
use crate::rsa::{self, Padding};
use crate::{ecdsa, extension};

/// Bit of the key usage that lets a key sign certificates.
const KEY_CERT_SIGN: u16 = 1 << 5;

/// A signature is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The issuer may not sign certificates, by its basic constraints or key usage.
    #[error("invalid signature: parent certificate cannot sign this kind of certificate")]
    NotAnIssuer,
    /// The algorithm or the kind of key is unknown.
    #[error("cannot verify signature: algorithm unimplemented")]
    Algorithm,
    /// The algorithm is known but never accepted here: MD5, and SHA-1 in certificates.
    #[error("cannot verify signature: insecure algorithm")]
    Insecure,
    /// The key is of another kind than the algorithm requires.
    #[error("the signature algorithm asks for another kind of key than the issuer's")]
    Key,
    /// The issuer's RSA key is too small or too large, or its modulus or exponent is invalid.
    #[error("the issuer's RSA key is insecure")]
    WeakKey,
    /// The signature is by another key, or over other bytes.
    #[error("the signature does not verify")]
    Wrong,
    /// The signature was not verified, because the budget of a [`Memo`](crate::Memo) is used up.
    #[error("the signature was not checked, because too much work had been done before")]
    WorkLimit,
}

impl Certificate {
    /// Verifies that `issuer`'s key made this certificate's signature, and that the issuer may sign (`CheckSignatureFrom`).
    ///
    /// # Errors
    /// The signature is not valid, or the issuer may not sign.
    pub fn check_signature_from(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        issuer.check_may_sign()?;
        self.check_signature_by(issuer.public_key.as_ref())
    }

    /// Checks that this certificate's holder may sign certificates.
    pub(crate) fn check_may_sign(&self) -> Result<(), SignatureError> {
        let usage = self.extensions.key_usage;
        let may_sign = match self.extensions.basic_constraints {
            Some(extension::BasicConstraints { is_ca, .. }) => is_ca,
            None => self.version != 3,
        };
        if !may_sign || (usage != 0 && usage & KEY_CERT_SIGN == 0) {
            return Err(SignatureError::NotAnIssuer);
        }
        Ok(())
    }

    /// Verifies that this key made the certificate's signature.
    pub(crate) fn check_signature_by(&self, key: Option<&PublicKey>) -> Result<(), SignatureError> {
        check(self.algorithm, &self.tbs, &self.signature, key, Sha1::Refused)
    }
}

impl RevocationList {
    /// Verifies that `issuer`'s key made the list's signature (`CheckCRLSignature`). Does not check whether the issuer may sign.
    ///
    /// # Errors
    /// The signature is not valid.
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        check(self.algorithm, &self.tbs, &self.signature, issuer.public_key.as_ref(), Sha1::Taken)
    }
}

/// Whether signatures over SHA-1 are accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sha1 {
    Taken,
    Refused,
}

fn check(
    algorithm: SignatureAlgorithm,
    signed: &[u8],
    signature: &[u8],
    key: Option<&PublicKey>,
    sha1: Sha1,
) -> Result<(), SignatureError> {
    match algorithm {
        SignatureAlgorithm::Unknown => return Err(SignatureError::Algorithm),
        SignatureAlgorithm::Insecure => return Err(SignatureError::Insecure),
        SignatureAlgorithm::RsaPkcs1(Hash::Sha1)
        | SignatureAlgorithm::RsaPss(Hash::Sha1)
        | SignatureAlgorithm::Ecdsa(Hash::Sha1)
            if sha1 == Sha1::Refused =>
        {
            return Err(SignatureError::Insecure);
        }
        _ => {}
    }
    let verifies = match (key, algorithm) {
        (Some(PublicKey::Rsa { modulus, exponent }), SignatureAlgorithm::RsaPkcs1(hash)) => {
            return rsa::verify(modulus, *exponent, Padding::Pkcs1, hash, signed, signature);
        }
        (Some(PublicKey::Rsa { modulus, exponent }), SignatureAlgorithm::RsaPss(hash)) => {
            return rsa::verify(modulus, *exponent, Padding::Pss, hash, signed, signature);
        }
        (Some(PublicKey::Ec { curve, point }), SignatureAlgorithm::Ecdsa(hash)) => {
            ecdsa::Signature::parse_strict(signature)
                .is_some_and(|signature| signature.verifies(*curve, point, hash.digest(signed).as_ref()))
        }
        (Some(PublicKey::Ed25519(key)), SignatureAlgorithm::Ed25519) => verifies_ed25519(key, signed, signature),
        (Some(PublicKey::Dsa) | None, _) => return Err(SignatureError::Algorithm),
        _ => return Err(SignatureError::Key),
    };
    if verifies { Ok(()) } else { Err(SignatureError::Wrong) }
}

/// Verifies as Go's `ed25519.Verify` does: s below the order, R compared as bytes, no cofactor, and any encoding of any point as
/// the key, including points of small order and unreduced coordinates.
fn verifies_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(key) else { return false };
    let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
    key.verify(message, &signature).is_ok()
}

impl Hash {
    /// Returns the digest of a message.
    pub(crate) fn digest(self, message: &[u8]) -> Digest {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message)
    }
}

#[cfg(test)]
mod tests;
