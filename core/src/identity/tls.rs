//! TLS certificates in a configuration: those of its consenters.

use std::sync::Arc;

use orderer_x509::{self as x509, Certificate, Memo, Options, Pool, Purpose, VerifyError};

use super::certificate::{CertificateError, from_pem, name_of};
use super::msp_manager::MspManager;

/// A TLS certificate in a configuration is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsCertificateError {
    /// The certificate cannot be parsed.
    #[error("that cannot be read: {0}")]
    Unreadable(#[from] CertificateError),
    /// The certificate was not issued by a TLS authority of any of the organizations.
    // begins with Fabric's text
    #[error(
        "with serial number {serial}: x509: {cause} (certificate {certificate} was not issued by a TLS certificate authority of an \
         ordering organization)"
    )]
    UnknownAuthority {
        /// Serial number in decimal.
        serial: String,
        /// Subject and serial number.
        certificate: String,
        /// Error of the verification.
        cause: Box<VerifyError>,
    },
}

/// TLS authorities of some organizations.
#[derive(Debug)]
pub struct TlsAuthorities {
    roots: Pool,
    intermediates: Pool,
    /// Times at which the authorities' validity starts, in seconds since 1970, sorted.
    beginnings: Vec<i64>,
}

impl TlsAuthorities {
    /// Collects the TLS authorities of the organizations with these MSP IDs.
    pub fn of<'a>(msps: &MspManager, ids: impl Iterator<Item = &'a String>) -> Self {
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

    /// Verifies that one of the authorities issued this certificate, in PEM, for TLS clients or servers. The certificate may
    /// have expired since: it must have been valid at one time.
    ///
    /// # Errors
    /// The certificate cannot be parsed, or was not valid at any time.
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
            Some(cause) => {
                let (serial, certificate) = (decimal(certificate.serial()), name_of(&certificate));
                Err(TlsCertificateError::UnknownAuthority { serial, certificate, cause: Box::new(cause) })
            }
            None => Ok(()),
        }
    }
}

/// Maximum length in bytes of a serial number that is printed. RFC 5280 permits 20; the time to convert one grows with the
/// square of its length, and the certificate is anybody's.
const MAX_PRINTED_SERIAL_BYTES: usize = 64;

/// Formats an unsigned big-endian number in decimal, as Go formats serial numbers. Of a longer one it states the length.
fn decimal(number: &[u8]) -> String {
    if number.len() > MAX_PRINTED_SERIAL_BYTES {
        return format!("of {} bytes", number.len());
    }
    x509_parser::num_bigint::BigUint::from_bytes_be(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn serial_numbers_are_decimal_as_in_go() {
        let longest = "1461501637330902918203684832716283019655932542975";
        for (bytes, text) in [
            (&[][..], "0"),
            (&[0, 0], "0"),
            (&[0, 255], "255"),
            (&[1, 0], "256"),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], "18446744073709551616"),
            (&[255; 20], longest),
            (&[1; 65], "of 65 bytes"),
        ] {
            assert_eq!(decimal(bytes), text);
        }
    }
}
