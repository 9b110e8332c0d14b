//! Revocation lists.

use bytes::Bytes;

use crate::algorithm::SignatureAlgorithm;

/// Why Go does not parse a revocation list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// A part of it.
    #[error("{0}")]
    Malformed(&'static str),
}

/// One certificate on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Content octets of the serial number, minimal.
    pub serial: Bytes,
}

/// A revocation list that Go's lenient `ParseCRL` takes.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// The part that is signed.
    pub(crate) tbs: Bytes,
    /// The outer algorithm, by which it is verified.
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) signature: Bytes,
    /// The value of the first authority key identifier extension.
    pub(crate) authority_key_id: Option<Bytes>,
    pub(crate) revoked: Vec<RevokedCertificate>,
}

impl RevocationList {
    /// Reads a list in PEM (label `X509 CRL`, at the very beginning) or DER.
    ///
    /// # Errors
    /// Go refuses it.
    pub fn parse(_bytes: &Bytes) -> Result<Self, CrlError> {
        todo!()
    }

    /// How it is signed.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Whose certificates it revokes: body of its authority key identifier extension, not interpreted.
    pub fn authority_key_id_extension(&self) -> Option<&Bytes> {
        self.authority_key_id.as_ref()
    }

    /// What it revokes.
    pub fn revoked(&self) -> &[RevokedCertificate] {
        &self.revoked
    }
}
