//! Certificate, key and client roots of a listener, in files.

use std::path::{Path, PathBuf};

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const KEY: &str = "TLS private key";

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
    /// A client root is no certificate.
    #[error("TLS client roots: {0}")]
    Root(#[from] orderer_x509::ParseError),
}

/// What is in the files.
pub struct Material {
    /// The server's certificate, and those that lead to its root.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// What is asked of clients, with the roots themselves.
    pub clients: Clients<CertificateDer<'static>>,
}

impl Material {
    /// Reads the files and checks that key and certificate belong together. Blocks.
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

/// What to say of a key that belongs to another certificate.
pub fn not_of(certificate: &Path) -> String {
    format!("it is not the key of the certificate {}", certificate.display())
}

/// Why the file holds no usable key, in words for who put it there. Reads the file again; blocks.
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

/// Reads every certificate of a PEM file, of which there is at least one; `what` names the file in errors. Blocks.
pub fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem: String| TlsError::File { what, path: path.to_owned(), problem };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
    let certificates = read.map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() { Err(failed("no certificate in PEM found".to_owned())) } else { Ok(certificates) }
}
