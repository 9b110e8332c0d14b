//! Signatures over certificates and revocation lists (`checkSignature` of Go's `crypto/x509`).

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

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The issuer may not sign certificates: basic constraints or key usage.
    #[error("invalid signature: parent certificate cannot sign this kind of certificate")]
    NotAnIssuer,
    /// Algorithm that is not known, or a key that is not.
    #[error("cannot verify signature: algorithm unimplemented")]
    Algorithm,
    /// Algorithm that is known and never verified here: MD5, and SHA-1 in certificates.
    #[error("cannot verify signature: insecure algorithm")]
    Insecure,
    /// The key is of another kind.
    #[error("the signature algorithm asks for another kind of key than the issuer's")]
    Key,
    /// The issuer's RSA key is too small or too large, or its modulus or exponent is none of an RSA key.
    #[error("the issuer's RSA key is insecure")]
    WeakKey,
    /// It is another's, or over other bytes.
    #[error("the signature does not verify")]
    Wrong,
}

impl Certificate {
    /// Whether `issuer`'s key made this certificate's signature, and may (`CheckSignatureFrom`).
    ///
    /// # Errors
    /// It did not, or may not.
    pub fn check_signature_from(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        issuer.check_may_sign()?;
        self.check_signature_by(issuer.public_key.as_ref())
    }

    /// Whether this certificate's holder may sign certificates.
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

    /// Whether this key made the certificate's signature.
    pub(crate) fn check_signature_by(&self, key: Option<&PublicKey>) -> Result<(), SignatureError> {
        check(self.algorithm, &self.tbs, &self.signature, key, Sha1::Refused)
    }
}

impl RevocationList {
    /// Whether `issuer`'s key made the list's signature (`CheckCRLSignature`). Whether it may is not asked.
    ///
    /// # Errors
    /// It did not.
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        check(self.algorithm, &self.tbs, &self.signature, issuer.public_key.as_ref(), Sha1::Taken)
    }
}

/// Whether signatures over SHA-1 count.
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

/// As Go's `ed25519.Verify`: s below the order, R compared as bytes, no cofactor, and any encoding of any point as the key, also
/// those of small order and those whose coordinate is not reduced.
fn verifies_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(key) else { return false };
    let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
    key.verify(message, &signature).is_ok()
}

impl Hash {
    /// The digest of a message.
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
