//! Reads certificates from PEM as Fabric's MSPs do.

use std::sync::Arc;

use bytes::Bytes;
use orderer_x509::{self as x509, ParseError, pem};

/// Bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is no PEM block.
    #[error("no PEM block found")]
    NotPem,
    /// The content of the first block is not a certificate.
    #[error("the certificate does not parse: {0}")]
    Malformed(#[from] ParseError),
}

/// Parses the first PEM block, regardless of its label and of the bytes after it, as Fabric does.
pub(super) fn from_pem(text: &[u8]) -> Result<Arc<x509::Certificate>, CertificateError> {
    let (block, _) = pem::decode(text).ok_or(CertificateError::NotPem)?;
    from_der(&block.contents)
}

/// Parses a certificate in DER.
pub(super) fn from_der(der: &Bytes) -> Result<Arc<x509::Certificate>, CertificateError> {
    Ok(Arc::new(x509::Certificate::parse(der)?))
}

/// Returns subject and serial number, by which an operator finds the certificate.
pub(super) fn name_of(certificate: &x509::Certificate) -> String {
    format!("'{}' (serial number {})", certificate.subject(), crate::crypto::hex(certificate.serial()))
}
