//! Certificates for display: their fields, whatever authority issued them.

use bytes::Bytes;
use fabric_proto::lenient::decode;
use fabric_proto::msp::SerializedIdentity;
use orderer_x509::Certificate;

use super::certificate::{CertificateError, from_der, from_pem};
use crate::crypto::{hex, sha256};
use crate::types::UnixSeconds;

/// Fields of a certificate for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Subject, such as `C=US, OU=client, CN=User1@org1.example.com`.
    pub subject: String,
    /// Subject of the issuer.
    pub issuer: String,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Start of the validity.
    pub not_before: UnixSeconds,
    /// End of the validity.
    pub not_after: UnixSeconds,
    /// Organizational units in the subject.
    pub organizational_units: Vec<String>,
    /// SHA-256 of the signed part in hexadecimal; equal for equal certificates, whatever form their
    /// signature has.
    pub fingerprint: String,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text.
    pub fn of_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        from_pem(pem).map(|certificate| Self::of(&certificate))
    }

    /// Reads a certificate in DER.
    pub fn of_der(der: &[u8]) -> Result<Self, CertificateError> {
        from_der(&Bytes::copy_from_slice(der)).map(|certificate| Self::of(&certificate))
    }

    fn of(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: hex(certificate.serial()),
            not_before: UnixSeconds(certificate.not_before()),
            not_after: UnixSeconds(certificate.not_after()),
            organizational_units: certificate.subject().organizational_units().map(str::to_owned).collect(),
            fingerprint: hex(&sha256(&[certificate.raw_tbs()])),
        }
    }
}

/// Returns the MSP ID and the certificate of a serialized identity, as far as they can be parsed.
pub fn describe(serialized: &[u8]) -> Option<(String, Option<CertificateInfo>)> {
    let identity = decode::<SerializedIdentity>(Bytes::copy_from_slice(serialized)).ok()?;
    Some((identity.mspid, CertificateInfo::of_pem(&identity.id_bytes).ok()))
}
