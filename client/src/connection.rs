//! Where an orderer is, and how it is reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use orderer_core::crypto::sha256;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::trouble::in_words;
use super::{ClientError, Orderer};

/// What a node may send on one stream, and on one connection, before it is read: a follower that falls behind for a
/// moment must not stop the orderer's connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// An orderer's address.
#[derive(Clone, Debug)]
pub struct Target {
    /// HOST:PORT.
    pub address: String,
    /// `None` for plaintext.
    pub tls: Option<ClientTls>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

/// TLS as a client uses it.
#[derive(Clone, Debug)]
pub struct ClientTls {
    roots: Vec<u8>,
    name: Option<String>,
    own: Option<Own>,
}

/// What the client shows.
#[derive(Clone, Debug)]
struct Own {
    certificate: Vec<u8>,
    key: Vec<u8>,
    hash: [u8; 32],
}

impl ClientTls {
    /// Trusts the authorities in `roots` (PEM), and expects the server to be called `name` if one is given.
    pub fn new(roots: &Path, name: Option<String>) -> Result<Self, ClientError> {
        const WHAT: &str = "--cafile";
        let pem = read(WHAT, roots)?;
        first_certificate(WHAT, roots, &pem)?;
        Ok(Self { roots: pem, name, own: None })
    }

    /// Shows this certificate, for mutual TLS.
    pub fn show(mut self, certificate: &Path, key: &Path) -> Result<Self, ClientError> {
        const WHAT: &str = "--certfile";
        let pem = read(WHAT, certificate)?;
        let hash = sha256(&[first_certificate(WHAT, certificate, &pem)?.as_ref()]);
        self.own = Some(Own { certificate: pem, key: read("--keyfile", key)?, hash });
        Ok(self)
    }
}

impl Target {
    /// A new connection.
    pub async fn connect(&self) -> Result<Orderer<Channel>, ClientError> {
        let failed = |error: tonic::transport::Error| {
            let problem = in_words(&error, self.tls.is_some());
            ClientError::Connect { address: self.address.clone(), problem }
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address))
            .map_err(|_| ClientError::Address(self.address.clone()))?
            .connect_timeout(self.connect_timeout)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .tcp_nodelay(true);
        if let Some(tls) = &self.tls {
            let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.roots));
            if let Some(name) = &tls.name {
                config = config.domain_name(name);
            }
            if let Some(own) = &tls.own {
                config = config.identity(Identity::from_pem(&own.certificate, &own.key));
            }
            endpoint = endpoint.tls_config(config).map_err(failed)?;
        }
        Ok(Orderer::over(endpoint.connect().await.map_err(failed)?))
    }

    /// SHA-256 of the certificate that the client shows: what binds a Deliver request to its connection.
    pub fn certificate_hash(&self) -> Option<[u8; 32]> {
        Some(self.tls.as_ref()?.own.as_ref()?.hash)
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|cause| ClientError::File { what, path: path.to_owned(), cause })
}

fn first_certificate(what: &'static str, path: &Path, pem: &[u8]) -> Result<CertificateDer<'static>, ClientError> {
    let first = CertificateDer::pem_slice_iter(pem).next().and_then(Result::ok);
    first.ok_or_else(|| ClientError::NoCertificate { what, path: PathBuf::from(path) })
}
