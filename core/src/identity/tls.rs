//! TLS certificates that a configuration names: those of its consenters.

use super::certificate::{Certificate, CertificateError};
use super::chain::Authorities;
use super::msps::Msps;

/// Why a TLS certificate in a configuration is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsCertificateError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] CertificateError),
    /// No organization's TLS authority issued it.
    #[error("certificate '{0}' was not issued by a TLS certificate authority of an ordering organization")]
    UnknownAuthority(String),
}

/// The TLS authorities of some organizations.
#[derive(Debug)]
pub struct TlsAuthorities(Authorities);

impl TlsAuthorities {
    /// Those of the organizations with these MSP ids.
    pub fn of<'a>(msps: &Msps, ids: impl Iterator<Item = &'a String>) -> Self {
        let listed = ids.filter_map(|id| msps.get(id)).flat_map(|msp| msp.tls_roots());
        let certificates = listed.filter_map(|der| Certificate::from_der(der).ok());
        let (roots, intermediates) = certificates.partition(|ca| ca.issuer_der == ca.subject_der);
        Self(Authorities::new(roots, intermediates))
    }

    /// Whether one of them issued this certificate, in PEM. That it may have expired since does not matter here.
    pub fn check(&self, pem: &[u8]) -> Result<(), TlsCertificateError> {
        let certificate = Certificate::from_pem(pem)?;
        if self.0.is_anchored(&certificate) {
            Ok(())
        } else {
            Err(TlsCertificateError::UnknownAuthority(certificate.subject))
        }
    }
}
