//! A client of a node's endpoints for operators, over HTTP with or without TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Method, Request, header};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ClientError;

/// Connecting, and the handshake, may take so long together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// And an answer so long: a node joins a channel while the request waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// No answer is larger: the largest is a block.
const ANSWER_MAX_BYTES: usize = 1 << 30;

/// Where an endpoint is.
#[derive(Clone)]
pub struct Endpoint {
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// What is sent with a request.
#[derive(Clone, Debug)]
pub struct Content {
    content_type: String,
    body: Vec<u8>,
}

impl Content {
    /// A form with a file as its only part. `boundary` must not occur in the file: a random text does not.
    pub fn form(part: &str, file: &[u8], boundary: &str) -> Self {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{part}\"; filename=\"{part}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let body = [head.as_bytes(), file, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
        Self { content_type: format!("multipart/form-data; boundary={boundary}"), body }
    }
}

impl Endpoint {
    /// Without TLS. `address` is HOST:PORT.
    pub fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None }
    }

    /// With TLS: trusts the authorities in `roots`, shows the certificate and key in `own`, and judges the server's
    /// certificate as if it were `behind` earlier.
    pub fn secured(
        address: &str,
        roots: &Path,
        own: Option<(&Path, &Path)>,
        behind: Duration,
    ) -> Result<Self, ClientError> {
        let mut trusted = RootCertStore::empty();
        for root in certificates("--ca-file", roots)? {
            trusted.add(root).map_err(|cause| tls_file("--ca-file", roots, &cause))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(trusted), Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|cause| tls_file("--ca-file", roots, &cause))?;
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Behind(behind)))
            .with_safe_default_protocol_versions()
            .map_err(|cause| tls_file("--ca-file", roots, &cause))?
            .with_webpki_verifier(verifier);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("--client-cert", certificate)?;
                let der = PrivateKeyDer::from_pem_file(key).map_err(|cause| tls_file("--client-key", key, &cause))?;
                builder.with_client_auth_cert(chain, der).map_err(|cause| tls_file("--client-key", key, &cause))?
            }
        };
        Ok(Self { address: address.to_owned(), tls: Some(Arc::new(config)) })
    }

    /// Asks once, over a connection of its own.
    pub async fn ask(&self, method: Method, path: &str, content: Option<Content>) -> Result<Answer, ClientError> {
        let failed = |problem: String| ClientError::Endpoint { address: self.address.clone(), problem };
        let connected = tokio::time::timeout(CONNECT_LIMIT, self.connect()).await;
        let stream = connected.map_err(|_| failed("it does not answer".to_owned()))??;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(chain_of(&e)))?;
        // ends with the connection
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.address);
        let mut body = Vec::new();
        if let Some(content) = content {
            request = request.header(header::CONTENT_TYPE, content.content_type);
            body = content.body;
        }
        let request = request.body(Body::from(body)).map_err(|e| failed(e.to_string()))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| failed(chain_of(&e)))?;
            let status = response.status().as_u16();
            let body = to_bytes(Body::new(response.into_body()), ANSWER_MAX_BYTES).await;
            Ok(Answer { status, body: body.map_err(|e| failed(chain_of(&e)))? })
        };
        let in_time = tokio::time::timeout(ANSWER_LIMIT, answered).await;
        in_time.unwrap_or_else(|_| Err(failed("it took the request and does not answer".to_owned())))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let failed = |e: std::io::Error| ClientError::Endpoint { address: self.address.clone(), problem: chain_of(&e) };
        let stream = TcpStream::connect(&self.address).await.map_err(failed)?;
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ClientError::Address(self.address.clone()))?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(failed)?;
        Ok(Box::new(stream))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A clock that is so much behind.
#[derive(Debug)]
struct Behind(Duration);

impl TimeProvider for Behind {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since.saturating_sub(self.0)))
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|cause| tls_file(what, path, &cause))?.collect();
    let read = read.map_err(|cause| tls_file(what, path, &cause))?;
    if read.is_empty() { Err(ClientError::NoCertificate { what, path: path.to_owned() }) } else { Ok(read) }
}

fn tls_file(what: &'static str, path: &Path, cause: &dyn std::error::Error) -> ClientError {
    ClientError::TlsFile { what, path: path.to_owned(), problem: chain_of(cause) }
}

fn chain_of(error: &dyn std::error::Error) -> String {
    orderer_actors::chain_state::chain_text(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_file_as_it_is() {
        let form = Content::form("config-block", b"\r\n--x\0", "b0undary");
        let text = String::from_utf8_lossy(&form.body);
        assert!(text.starts_with("--b0undary\r\nContent-Disposition: form-data; name=\"config-block\"; filename="));
        assert!(text.ends_with("\r\n\r\n\r\n--x\0\r\n--b0undary--\r\n"), "{text:?}");
        assert_eq!(form.content_type, "multipart/form-data; boundary=b0undary");
    }
}
