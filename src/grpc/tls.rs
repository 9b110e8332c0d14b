//! TLS settings for a listener, from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Where the pieces are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those that lead to its root, in PEM.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub private_key: PathBuf,
    /// If clients must show a certificate: the roots that it must lead to.
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
    /// Clients must show a certificate, but none could be good enough.
    #[error("ClientAuthRequired is set, but no client root certificate was found")]
    NoClientRoots,
    /// Certificate and key do not fit, or the library refuses them.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// The client roots are refused.
    #[error("TLS client roots: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Reads the files and makes the settings of a gRPC listener.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificates = certificates("TLS certificate", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.private_key).map_err(|e| TlsError::File {
        what: "TLS private key",
        path: files.private_key.clone(),
        problem: e.to_string(),
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &files.client_roots {
        None => builder.with_no_client_auth(),
        Some(paths) => builder.with_client_cert_verifier(client_verifier(paths, provider)?),
    };
    let mut config = builder.with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn client_verifier(
    paths: &[PathBuf],
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in paths {
        for certificate in certificates("TLS client root", path)? {
            roots.add(certificate)?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoClientRoots);
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem: String| TlsError::File { what, path: path.to_owned(), problem };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
    let certificates = read.map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() { Err(failed("no certificate in PEM found".to_owned())) } else { Ok(certificates) }
}
