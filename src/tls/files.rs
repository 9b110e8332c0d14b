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
    /// What is asked of clients.
    pub clients: Clients<PathBuf>,
}

/// Whether clients have to show a certificate, and which roots it may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients<R> {
    /// They are not asked for one.
    Anybody,
    /// Who shows none is let in all the same; some of what is served is not for them.
    MayShow(Vec<R>),
    /// Who shows none is not let in.
    MustShow(Vec<R>),
}

impl<R> Clients<R> {
    /// The roots, if clients are asked at all.
    pub fn roots(&self) -> &[R] {
        match self {
            Self::Anybody => &[],
            Self::MayShow(roots) | Self::MustShow(roots) => roots,
        }
    }
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
    pub(super) clients: Clients<CertificateDer<'static>>,
}

impl Material {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_file(&files.private_key).map_err(|e| TlsError::File {
            what: "TLS private key",
            path: files.private_key.clone(),
            problem: e.to_string(),
        })?;
        let mut roots = Vec::new();
        for path in files.clients.roots() {
            roots.extend(certificates("TLS client root", path)?);
        }
        let clients = match &files.clients {
            Clients::Anybody => Clients::Anybody,
            Clients::MayShow(_) => Clients::MayShow(roots),
            Clients::MustShow(_) => Clients::MustShow(roots),
        };
        Ok(Self { certificates: certificates("TLS certificate", &files.certificate)?, key, clients })
    }
}

pub(super) fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem: String| TlsError::File { what, path: path.to_owned(), problem };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
    let certificates = read.map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() { Err(failed("no certificate in PEM found".to_owned())) } else { Ok(certificates) }
}
