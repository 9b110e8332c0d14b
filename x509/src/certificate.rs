//! Certificates.

use bytes::Bytes;

use crate::algorithm::SignatureAlgorithm;
use crate::extension::Extensions;
use crate::key::PublicKey;
use crate::name::Name;

/// Why Go does not parse a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A part of it.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A certificate that Go's parser takes. Cloning shares its bytes.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(crate) raw: Bytes,
    pub(crate) tbs: Bytes,
    pub(crate) raw_issuer: Bytes,
    pub(crate) raw_subject: Bytes,
    pub(crate) raw_spki: Bytes,
    pub(crate) version: u8,
    pub(crate) serial: Bytes,
    pub(crate) issuer: Name,
    pub(crate) subject: Name,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) raw_algorithm: Bytes,
    pub(crate) signature: Bytes,
    pub(crate) extensions: Extensions,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// Go refuses it.
    pub fn parse(_der: &Bytes) -> Result<Self, ParseError> {
        todo!()
    }

    /// The whole certificate.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The part that the issuer signed.
    pub fn raw_tbs(&self) -> &Bytes {
        &self.tbs
    }

    /// DER of the issuer's name.
    pub fn raw_issuer(&self) -> &Bytes {
        &self.raw_issuer
    }

    /// DER of the subject's name.
    pub fn raw_subject(&self) -> &Bytes {
        &self.raw_subject
    }

    /// DER of the `SubjectPublicKeyInfo`.
    pub fn raw_spki(&self) -> &Bytes {
        &self.raw_spki
    }

    /// 1 to 3.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Content octets of the serial number.
    pub fn serial(&self) -> &Bytes {
        &self.serial
    }

    /// Who issued it.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// Whose it is.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// Beginning of its validity, in seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last second of its validity, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Its key, if it is of a kind that Go knows.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// How it is signed.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The issuer's signature.
    pub fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// Its extensions.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether it says that it is an authority's.
    pub fn is_ca(&self) -> bool {
        self.extensions.basic_constraints.is_some_and(|constraints| constraints.is_ca)
    }

    /// The same certificate with the lower of the two forms of its ECDSA signature, as Fabric keeps it; itself if it has that
    /// already or is signed otherwise. Everything behind the signature in the outer sequence is dropped when it is changed.
    ///
    /// # Errors
    /// The signature is no ECDSA signature for the issuer's curve.
    pub fn with_low_s(&self, _curve: crate::Curve) -> Result<Self, ParseError> {
        todo!()
    }
}
