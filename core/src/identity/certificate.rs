//! A certificate, with what an MSP wants to know of it found once.

use bytes::Bytes;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::channel::UnixSeconds;
use crate::crypto::sha256;

/// Larger certificates are refused before they are parsed; real ones have about 1 KiB.
const CERTIFICATE_MAX_BYTES: usize = 64 * 1024;

/// Why bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is no PEM block.
    #[error("no PEM block found")]
    NotPem,
    /// More than any real certificate has.
    #[error("certificate of {0} bytes is larger than {CERTIFICATE_MAX_BYTES}")]
    TooLarge(usize),
    /// The content of the block is not X.509.
    #[error("certificate does not parse: {0}")]
    Malformed(String),
}

/// A parsed certificate. It keeps its DER: what is compared and hashed is the original.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) der: Bytes,
    /// Hash of the part that the issuer signed: the same for two certificates that differ only in how the issuer's
    /// signature is written.
    pub(super) tbs_hash: [u8; 32],
    pub(super) subject: String,
    pub(super) subject_der: Bytes,
    pub(super) issuer_der: Bytes,
    pub(super) serial: Bytes,
    pub(super) organizational_units: Vec<String>,
    pub(super) not_before: UnixSeconds,
    pub(super) not_after: UnixSeconds,
    pub(super) is_ca: bool,
    /// How many intermediates may follow below this CA.
    pub(super) path_limit: Option<u32>,
    /// False only if there is a key usage that lacks it.
    pub(super) may_sign_certificates: bool,
    pub(super) subject_key_id: Option<Bytes>,
    pub(super) authority_key_id: Option<Bytes>,
    pub(super) public_key_der: Bytes,
}

impl Certificate {
    /// Reads the first PEM block, whatever its label says, as the reference does.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        if pem.len() > CERTIFICATE_MAX_BYTES {
            return Err(CertificateError::TooLarge(pem.len()));
        }
        let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| CertificateError::NotPem)?;
        Self::from_der(&block.contents)
    }

    /// Reads DER.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = |e: &dyn std::fmt::Display| CertificateError::Malformed(e.to_string());
        let (rest, x509) = X509Certificate::from_der(der).map_err(|e| malformed(&e))?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed("bytes follow the certificate".to_owned()));
        }
        let mut certificate = Self {
            tbs_hash: sha256(&[x509.tbs_certificate.as_ref()]),
            subject: x509.subject().to_string(),
            subject_der: Bytes::copy_from_slice(x509.subject().as_raw()),
            issuer_der: Bytes::copy_from_slice(x509.issuer().as_raw()),
            serial: Bytes::copy_from_slice(x509.raw_serial()),
            organizational_units: x509
                .subject()
                .iter_organizational_unit()
                .filter_map(|ou| ou.as_str().ok().map(str::to_owned))
                .collect(),
            not_before: UnixSeconds(x509.validity().not_before.timestamp()),
            not_after: UnixSeconds(x509.validity().not_after.timestamp()),
            is_ca: false,
            path_limit: None,
            may_sign_certificates: true,
            subject_key_id: None,
            authority_key_id: None,
            public_key_der: Bytes::copy_from_slice(x509.public_key().raw),
            der: Bytes::copy_from_slice(der),
        };
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    certificate.is_ca = constraints.ca;
                    certificate.path_limit = constraints.path_len_constraint;
                }
                ParsedExtension::KeyUsage(usage) => certificate.may_sign_certificates = usage.key_cert_sign(),
                ParsedExtension::SubjectKeyIdentifier(id) => {
                    certificate.subject_key_id = Some(Bytes::copy_from_slice(id.0));
                }
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    certificate.authority_key_id = id.key_identifier.as_ref().map(|k| Bytes::copy_from_slice(k.0));
                }
                _ => {}
            }
        }
        Ok(certificate)
    }

    /// Whether this certificate's key made the signature of `child`. A signature with SHA-1 does not count.
    pub(super) fn signed(&self, child: &Self) -> bool {
        if child.issuer_der != self.subject_der {
            return false;
        }
        if let (Some(wanted), Some(have)) = (&child.authority_key_id, &self.subject_key_id)
            && wanted != have
        {
            return false;
        }
        let (Ok((_, parent)), Ok((_, child))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&child.der))
        else {
            return false;
        };
        !is_sha1(&child.signature_algorithm.algorithm.to_id_string())
            && child.verify_signature(Some(parent.public_key())).is_ok()
    }

    /// Whether `time` lies within the certificate's validity.
    pub(super) fn is_valid_at(&self, time: UnixSeconds) -> bool {
        self.not_before <= time && time <= self.not_after
    }
}

/// RSA or ECDSA with SHA-1.
pub(super) fn is_sha1(algorithm: &str) -> bool {
    matches!(algorithm, "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1")
}
