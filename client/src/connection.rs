//! Connects to an orderer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orderer_core::crypto::sha256;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::transport::Channel;

use super::endpoint::HttpEndpoint;
use super::error_text::describe;
use super::http2_preface::{Connector, ServerPreface};
use super::{ClientError, OrdererClient};
use crate::tls::{ServerTrust, client_config};

/// HTTP/2 flow-control windows in bytes, of one stream and of one connection: a subscriber that falls behind for a
/// moment must not block the orderer's connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// An orderer's address, and how to connect to it.
#[derive(Clone, Debug)]
pub struct OrdererTarget {
    /// HOST:PORT.
    pub address: String,
    /// TLS of the client; `None` for plaintext.
    pub tls: Option<ClientTls>,
    /// Time limit for connecting, until the orderer has sent its first frame.
    pub connect_timeout: Duration,
}

/// A client's TLS configuration.
#[derive(Clone, Debug)]
pub struct ClientTls {
    roots: PathBuf,
    name: Option<String>,
    config: Arc<ClientConfig>,
    /// SHA-256 of the client's certificate, if it has one.
    hash: Option<[u8; 32]>,
}

impl ClientTls {
    /// Trusts the authorities in `roots` (PEM), and expects the server's certificate to have the name `name` if one
    /// is given.
    pub fn new(roots: &Path, name: Option<String>) -> Result<Self, ClientError> {
        Ok(Self { roots: roots.to_owned(), name, config: config(roots, None)?, hash: None })
    }

    /// Adds a client certificate, for mutual TLS.
    pub fn show(self, certificate: &Path, key: &Path) -> Result<Self, ClientError> {
        let config = config(&self.roots, Some((certificate, key)))?;
        let shown = CertificateDer::from_pem_file(certificate).ok();
        Ok(Self { config, hash: shown.map(|certificate| sha256(&[certificate.as_ref()])), ..self })
    }
}

fn config(roots: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, ClientError> {
    Ok(client_config(&ServerTrust::Authorities(vec![roots.to_owned()]), own, b"h2", Duration::ZERO)?)
}

impl OrdererTarget {
    /// Opens a new connection and waits for the orderer's first frame, so that later failures are no failed
    /// handshakes.
    pub async fn connect(&self) -> Result<OrdererClient<Channel>, ClientError> {
        let failed = |problem: String| ClientError::Connect { address: self.address.clone(), problem };
        let no_address = || ClientError::Address(self.address.clone());
        let (scheme, endpoint) = match &self.tls {
            None => ("http", HttpEndpoint::plain(&self.address)),
            Some(tls) => ("https", HttpEndpoint::secured(&self.address, Arc::clone(&tls.config), tls.name.as_deref())?),
        };
        let origin = format!("{scheme}://{}", self.address).parse().map_err(|_| no_address())?;
        // the connector does TLS
        let transport = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .map_err(|_| no_address())?
            .origin(origin)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (connector, mut greeting) = Connector::new(endpoint);
        let connected = async {
            let channel = transport.connect_with_connector(connector).await;
            if let Err(error) = &channel
                && *greeting.borrow() == ServerPreface::Awaited
            {
                return Err(failed(describe(error, self.tls.is_some())));
            }
            let greeted = greeting.wait_for(|greeting| *greeting != ServerPreface::Awaited).await;
            match greeted.as_deref() {
                Ok(ServerPreface::Failed(why)) => Err(failed(why.clone())),
                _ => channel.map_err(|error| failed(describe(&error, self.tls.is_some()))),
            }
        };
        let in_time = tokio::time::timeout(self.connect_timeout, connected).await;
        let silent = |_| Err(failed(format!("it says nothing within {:?}", self.connect_timeout)));
        Ok(OrdererClient::new(in_time.unwrap_or_else(silent)?))
    }

    /// Returns the SHA-256 of the client's certificate, which binds a Deliver request to its connection.
    pub fn certificate_hash(&self) -> Option<[u8; 32]> {
        self.tls.as_ref()?.hash
    }
}
