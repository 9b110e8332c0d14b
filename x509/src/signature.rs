//! Signatures over certificates and revocation lists.

use crate::certificate::Certificate;
use crate::crl::RevocationList;

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The issuer may not sign certificates: basic constraints or key usage.
    #[error("the issuer's certificate may not sign certificates")]
    NotAnIssuer,
    /// Algorithm that is never verified.
    #[error("the signature algorithm is not supported, or insecure")]
    Algorithm,
    /// The key is of another kind, or too small.
    #[error("the issuer's key does not fit the signature algorithm")]
    Key,
    /// It is another's, or over other bytes.
    #[error("the signature does not verify")]
    Wrong,
}

impl Certificate {
    /// Whether `issuer`'s key made this certificate's signature, and may (`CheckSignatureFrom`).
    ///
    /// # Errors
    /// It did not, or may not.
    pub fn check_signature_from(&self, _issuer: &Certificate) -> Result<(), SignatureError> {
        todo!()
    }
}

impl RevocationList {
    /// Whether `issuer`'s key made the list's signature (`CheckCRLSignature`). Whether it may is not asked.
    ///
    /// # Errors
    /// It did not.
    pub fn check_signature(&self, _issuer: &Certificate) -> Result<(), SignatureError> {
        todo!()
    }
}
