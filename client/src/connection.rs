//! Where an orderer is, and how it is reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orderer_core::crypto::sha256;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::transport::Channel;

use super::endpoint::Endpoint;
use super::greeting::{Connector, Greeting};
use super::trouble::in_words;
use super::{ClientError, Orderer};
use crate::tls::{Trust, client_config};

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
    /// How long connecting may take, until the orderer has said its first word.
    pub connect_timeout: Duration,
}

/// TLS as a client uses it.
#[derive(Clone, Debug)]
pub struct ClientTls {
    roots: PathBuf,
    name: Option<String>,
    config: Arc<ClientConfig>,
    /// Of the certificate that the client shows.
    hash: Option<[u8; 32]>,
}

impl ClientTls {
    /// Trusts the authorities in `roots` (PEM), and expects the server to be called `name` if one is given.
    pub fn new(roots: &Path, name: Option<String>) -> Result<Self, ClientError> {
        Ok(Self { roots: roots.to_owned(), name, config: config(roots, None)?, hash: None })
    }

    /// Shows this certificate, for mutual TLS.
    pub fn show(self, certificate: &Path, key: &Path) -> Result<Self, ClientError> {
        let config = config(&self.roots, Some((certificate, key)))?;
        let shown = CertificateDer::from_pem_file(certificate).ok();
        Ok(Self { config, hash: shown.map(|certificate| sha256(&[certificate.as_ref()])), ..self })
    }
}

fn config(roots: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, ClientError> {
    Ok(client_config(&Trust::Authorities(vec![roots.to_owned()]), own, b"h2", Duration::ZERO)?)
}

impl Target {
    /// A new connection, on which the orderer has greeted: what fails behind it is no failed handshake.
    pub async fn connect(&self) -> Result<Orderer<Channel>, ClientError> {
        let failed = |problem: String| ClientError::Connect { address: self.address.clone(), problem };
        let no_address = || ClientError::Address(self.address.clone());
        let (scheme, endpoint) = match &self.tls {
            None => ("http", Endpoint::plain(&self.address)),
            Some(tls) => ("https", Endpoint::secured(&self.address, Arc::clone(&tls.config), tls.name.as_deref())?),
        };
        let origin = format!("{scheme}://{}", self.address).parse().map_err(|_| no_address())?;
        // TLS is the connector's
        let transport = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .map_err(|_| no_address())?
            .origin(origin)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (connector, mut greeting) = Connector::new(endpoint);
        let connected = async {
            let channel = transport.connect_with_connector(connector).await;
            if let Err(error) = &channel
                && *greeting.borrow() == Greeting::Awaited
            {
                return Err(failed(in_words(error, self.tls.is_some())));
            }
            let greeted = greeting.wait_for(|greeting| *greeting != Greeting::Awaited).await;
            match greeted.as_deref() {
                Ok(Greeting::Failed(why)) => Err(failed(why.clone())),
                _ => channel.map_err(|error| failed(in_words(&error, self.tls.is_some()))),
            }
        };
        let in_time = tokio::time::timeout(self.connect_timeout, connected).await;
        let silent = |_| Err(failed(format!("it says nothing within {:?}", self.connect_timeout)));
        Ok(Orderer::over(in_time.unwrap_or_else(silent)?))
    }

    /// SHA-256 of the certificate that the client shows: what binds a Deliver request to its connection.
    pub fn certificate_hash(&self) -> Option<[u8; 32]> {
        self.tls.as_ref()?.hash
    }
}
