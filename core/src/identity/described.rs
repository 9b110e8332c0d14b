//! Certificates for people: what stands in them, whoever issued them.

use fabric_proto::msp::SerializedIdentity;
use prost::Message as _;

use super::certificate::{Certificate, CertificateError};
use crate::channel::UnixSeconds;
use crate::crypto::hex;

/// What people look at in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Such as `C=US, OU=client, CN=User1@org1.example.com`.
    pub subject: String,
    /// The same of its authority.
    pub issuer: String,
    /// In hexadecimal.
    pub serial: String,
    /// Valid from.
    pub not_before: UnixSeconds,
    /// Valid until.
    pub not_after: UnixSeconds,
    /// Those in the subject.
    pub organizational_units: Vec<String>,
    /// The same for the same certificate, in hexadecimal.
    pub fingerprint: String,
}

impl CertificateFacts {
    /// Of the first certificate of a PEM text.
    pub fn of_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        Certificate::from_pem(pem).map(|certificate| Self::of(&certificate))
    }

    /// Of a certificate in DER.
    pub fn of_der(der: &[u8]) -> Result<Self, CertificateError> {
        Certificate::from_der(der).map(|certificate| Self::of(&certificate))
    }

    fn of(certificate: &Certificate) -> Self {
        let name = |der: &[u8]| {
            use x509_parser::prelude::FromDer as _;
            x509_parser::x509::X509Name::from_der(der).map(|(_, name)| name.to_string()).unwrap_or_default()
        };
        Self {
            subject: certificate.subject.clone(),
            issuer: name(&certificate.issuer_der),
            serial: hex(&certificate.serial),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            organizational_units: certificate.organizational_units.clone(),
            fingerprint: hex(&certificate.tbs_hash),
        }
    }
}

/// The MSP's name and the certificate of a serialized identity, as far as they can be read.
pub fn describe(serialized: &[u8]) -> Option<(String, Option<CertificateFacts>)> {
    let identity = SerializedIdentity::decode(serialized).ok()?;
    Some((identity.mspid, CertificateFacts::of_pem(&identity.id_bytes).ok()))
}
