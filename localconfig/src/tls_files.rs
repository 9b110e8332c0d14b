//! A listener's certificate, key and client roots, in files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const KEY: &str = "TLS private key";

/// Paths of a listener's files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate and its intermediates, in PEM.
    pub certificate: PathBuf,
    /// The certificate's key in PEM.
    pub private_key: PathBuf,
    /// Verification of clients.
    pub clients: Clients<PathBuf>,
    /// How much earlier than now clients' certificates are verified.
    pub time_shift: Duration,
}

/// Whether clients have to present a certificate, and its roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients<R> {
    /// A certificate is requested, and verified against no root; a client that presents one must have its key.
    Anybody,
    /// A client without a certificate is accepted, but may not use everything that is served.
    MayShow(Vec<R>),
    /// A client without a certificate is rejected.
    MustShow(Vec<R>),
}

impl<R> Clients<R> {
    /// Returns the roots, if clients are verified against any.
    pub fn roots(&self) -> &[R] {
        match self {
            Self::Anybody => &[],
            Self::MayShow(roots) | Self::MustShow(roots) => roots,
        }
    }
}

/// Reason for which a listener cannot use TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{what} {}: {problem}", path.display())]
    File {
        /// The file's purpose.
        what: &'static str,
        /// The file's path.
        path: PathBuf,
        /// The error.
        problem: String,
    },
    /// Certificate and key do not match, or the TLS library rejects them.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// A client root is no certificate.
    #[error("TLS client roots: {0}")]
    Root(#[from] orderer_x509::ParseError),
}

/// The content of the files.
pub struct Material {
    /// The server's certificate and its intermediates.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// Verification of clients, with the roots themselves.
    pub clients: Clients<CertificateDer<'static>>,
}

impl Material {
    /// Reads the files and checks that key and certificate match. Performs blocking I/O.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let no_key = |problem: String| TlsError::File { what: KEY, path: files.private_key.clone(), problem };
        let key = PrivateKeyDer::from_pem_file(&files.private_key)
            .map_err(|error| no_key(why_no_key(&files.private_key, &error)))?;
        let certificates_read = certificates("TLS certificate", &files.certificate)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Err(rustls::Error::InconsistentKeys(_)) =
            CertifiedKey::from_der(certificates_read.clone(), key.clone_key(), &provider)
        {
            return Err(no_key(not_of(&files.certificate)));
        }
        let mut roots = Vec::new();
        for path in files.clients.roots() {
            roots.extend(certificates("TLS client root", path)?);
        }
        let clients = match &files.clients {
            Clients::Anybody => Clients::Anybody,
            Clients::MayShow(_) => Clients::MayShow(roots),
            Clients::MustShow(_) => Clients::MustShow(roots),
        };
        Ok(Self { certificates: certificates_read, key, clients })
    }
}

/// Describes a key that belongs to another certificate.
pub fn not_of(certificate: &Path) -> String {
    format!("it is not the key of the certificate {}", certificate.display())
}

/// Describes why the file contains no usable key. Performs blocking I/O: reads the file again.
pub fn why_no_key(path: &Path, error: &rustls_pki_types::pem::Error) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let has = |word: &str| text.windows(word.len()).any(|part| part == word.as_bytes());
    if has("ENCRYPTED") {
        return "the key is encrypted, and nobody is there to type its password: decrypt it with openssl pkey"
            .to_owned();
    }
    if has("-----BEGIN CERTIFICATE") {
        return "there is a certificate in it and no key".to_owned();
    }
    error.to_string()
}

/// Reads the certificates of a PEM file, at least one; `what` names the file in errors. Performs blocking I/O.
pub fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem: String| TlsError::File { what, path: path.to_owned(), problem };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
    let certificates = read.map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() { Err(failed("no certificate in PEM found".to_owned())) } else { Ok(certificates) }
}
