//! TLS certificates that a configuration names: those of its consenters.

use std::sync::Arc;

use orderer_x509::{self as x509, Certificate, Memo, Options, Pool, Purpose, VerifyError};

use super::certificate::{CertificateError, from_pem, name_of};
use super::msps::Msps;

/// Why a TLS certificate in a configuration is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsCertificateError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] CertificateError),
    /// No organization's TLS authority issued it.
    #[error(
        "certificate {certificate} was not issued by a TLS certificate authority of an ordering organization: {cause}"
    )]
    UnknownAuthority {
        /// Subject and serial number.
        certificate: String,
        /// Why.
        cause: VerifyError,
    },
}

/// The TLS authorities of some organizations.
#[derive(Debug)]
pub struct TlsAuthorities {
    roots: Pool,
    intermediates: Pool,
    /// When each of them begins to be valid.
    beginnings: Vec<i64>,
}

impl TlsAuthorities {
    /// Those of the organizations with these MSP ids.
    pub fn of<'a>(msps: &Msps, ids: impl Iterator<Item = &'a String>) -> Self {
        let (mut roots, mut intermediates) = (Vec::<Arc<Certificate>>::new(), Vec::<Arc<Certificate>>::new());
        for msp in ids.filter_map(|id| msps.get(id)) {
            roots.extend(msp.tls_roots().iter().cloned());
            intermediates.extend(msp.tls_intermediates().iter().cloned());
        }
        let mut beginnings: Vec<i64> = roots.iter().chain(&intermediates).map(|ca| ca.not_before()).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        Self { roots: Pool::new(roots), intermediates: Pool::new(intermediates), beginnings }
    }

    /// Whether one of them issued this certificate, in PEM, for TLS clients or servers. That it may have expired since does not
    /// matter: there must be a time at which it was good.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn check(&self, pem: &[u8], memo: &mut Memo) -> Result<(), TlsCertificateError> {
        let certificate = from_pem(pem)?;
        let own = certificate.not_before();
        let later = self.beginnings.iter().copied().filter(|at| (own..=certificate.not_after()).contains(at));
        let mut refused = None;
        for at in std::iter::once(own).chain(later) {
            for purpose in [Purpose::ClientAuth, Purpose::ServerAuth] {
                let options = Options { at, purpose };
                match x509::verify_with(&certificate, &self.roots, &self.intermediates, &options, memo) {
                    Ok(_) => return Ok(()),
                    Err(cause) => refused = refused.or(Some(cause)),
                }
            }
        }
        match refused {
            Some(cause) => Err(TlsCertificateError::UnknownAuthority { certificate: name_of(&certificate), cause }),
            None => Ok(()),
        }
    }
}
