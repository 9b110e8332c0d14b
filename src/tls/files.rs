//! Certificate, key and client roots of a listener, in files.

use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Where the pieces are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those that lead to its root, in PEM.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub private_key: PathBuf,
    /// If clients must show a certificate: roots that it may lead to, beside those of the channels' organizations.
    pub client_roots: Option<Vec<PathBuf>>,
}

/// Why a listener cannot be secured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{what} {}: {problem}", path.display())]
    File {
        /// Which file.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Certificate and key do not fit, or the library refuses them.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// The client roots are refused.
    #[error("TLS client roots: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What is in the files.
pub(super) struct Material {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// If clients must show a certificate.
    pub(super) client_roots: Option<Vec<CertificateDer<'static>>>,
}

impl Material {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_file(&files.private_key).map_err(|e| TlsError::File {
            what: "TLS private key",
            path: files.private_key.clone(),
            problem: e.to_string(),
        })?;
        let client_roots = match &files.client_roots {
            None => None,
            Some(paths) => {
                let mut roots = Vec::new();
                for path in paths {
                    roots.extend(certificates("TLS client root", path)?);
                }
                Some(roots)
            }
        };
        Ok(Self { certificates: certificates("TLS certificate", &files.certificate)?, key, client_roots })
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem: String| TlsError::File { what, path: path.to_owned(), problem };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
    let certificates = read.map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() { Err(failed("no certificate in PEM found".to_owned())) } else { Ok(certificates) }
}
