//! A client of a node's endpoints for operators, over HTTP with or without TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Method, Request, header};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ClientError;
use super::error_text::describe;

/// Time limit for connecting, the TLS handshake included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for a response: a node joins a channel while the request waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// Default maximum size in bytes of a response; the largest is a block.
const ANSWER_MAX_BYTES: usize = 1 << 30;

/// The address of an endpoint.
#[derive(Clone)]
pub struct HttpEndpoint {
    address: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    answer_max_bytes: usize,
}

/// A response.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub struct RequestBody {
    content_type: String,
    body: Vec<u8>,
}

impl RequestBody {
    /// Creates a form with a file as its only part. `boundary` must not occur in the file: a random text does not.
    pub fn form(part: &str, file: &[u8], boundary: &str) -> Self {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{part}\"; filename=\"{part}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let body = [head.as_bytes(), file, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
        Self { content_type: format!("multipart/form-data; boundary={boundary}"), body }
    }
}

impl HttpEndpoint {
    /// Connects without TLS. `address` is HOST:PORT.
    pub fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None, answer_max_bytes: ANSWER_MAX_BYTES }
    }

    /// Connects with TLS to a server of this name; by default that of the address's host.
    pub fn secured(address: &str, config: Arc<ClientConfig>, name: Option<&str>) -> Result<Self, ClientError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = name.unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']'));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| ClientError::ServerName(name.to_owned()))?;
        Ok(Self { tls: Some((config, name)), ..Self::plain(address) })
    }

    /// Limits the size of a response.
    #[must_use]
    pub fn with_max_response_bytes(self, bytes: usize) -> Self {
        Self { answer_max_bytes: bytes, ..self }
    }

    /// Returns the address as HOST:PORT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends one request, over a connection of its own.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        content: Option<RequestBody>,
    ) -> Result<HttpResponse, ClientError> {
        self.session().await?.request(method, path, content).await
    }

    /// Opens a connection for several requests, one after the other.
    pub async fn session(&self) -> Result<HttpSession, ClientError> {
        let stream = self.connect().await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.failed(describe(&e, self.tls.is_some())))?;
        // ends with the connection
        tokio::spawn(connection);
        Ok(HttpSession { endpoint: self.clone(), sender })
    }

    fn failed(&self, problem: String) -> ClientError {
        ClientError::Endpoint { address: self.address.clone(), problem }
    }

    /// Opens a connection, for a caller that uses another protocol than HTTP/1.
    pub async fn connect(&self) -> Result<Box<dyn Connection>, ClientError> {
        let failed = |problem: String| ClientError::Endpoint { address: self.address.clone(), problem };
        self.open().await.map_err(failed)
    }

    /// Opens a connection; an error describes the cause.
    pub(super) async fn open(&self) -> Result<Box<dyn Connection>, String> {
        let connected = async {
            let socket = TcpStream::connect(&self.address).await;
            let socket = socket.map_err(|e| describe(&e, self.tls.is_some()))?;
            // requests are small and must not wait for more to send
            let _ = socket.set_nodelay(true);
            let Some((config, name)) = &self.tls else { return Ok(Box::new(socket) as Box<dyn Connection>) };
            let secured = TlsConnector::from(Arc::clone(config)).connect(name.clone(), socket).await;
            Ok(Box::new(secured.map_err(|e| describe(&e, true))?) as Box<dyn Connection>)
        };
        let in_time = tokio::time::timeout(CONNECT_LIMIT, connected).await;
        in_time.unwrap_or_else(|_| Err("it does not answer".to_owned()))
    }

    /// Returns whether the endpoint uses TLS.
    pub(super) fn is_secured(&self) -> bool {
        self.tls.is_some()
    }
}

/// A connection to an endpoint for requests one after the other.
pub struct HttpSession {
    endpoint: HttpEndpoint,
    sender: SendRequest<Body>,
}

impl HttpSession {
    /// Sends a request that changes nothing; over a new connection if the server has closed this one.
    pub async fn get(&mut self, path: &str) -> Result<HttpResponse, ClientError> {
        if self.sender.ready().await.is_err() {
            *self = self.endpoint.session().await?;
        }
        self.request(Method::GET, path, None).await
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        content: Option<RequestBody>,
    ) -> Result<HttpResponse, ClientError> {
        let Self { endpoint, sender } = self;
        let failed = |problem: String| endpoint.failed(problem);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &endpoint.address);
        let mut body = Vec::new();
        if let Some(content) = content {
            request = request.header(header::CONTENT_TYPE, content.content_type);
            body = content.body;
        }
        let request = request.body(Body::from(body)).map_err(|e| failed(e.to_string()))?;
        let secured = endpoint.tls.is_some();
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| failed(describe(&e, secured)))?;
            let status = response.status().as_u16();
            let body = to_bytes(Body::new(response.into_body()), endpoint.answer_max_bytes).await;
            Ok(HttpResponse { status, body: body.map_err(|e| failed(describe(&e, secured)))? })
        };
        let in_time = tokio::time::timeout(ANSWER_LIMIT, answered).await;
        in_time.unwrap_or_else(|_| Err(failed("it took the request and does not answer".to_owned())))
    }
}

/// A connection, with or without TLS.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_file_as_it_is() {
        let form = RequestBody::form("config-block", b"\r\n--x\0", "b0undary");
        let text = String::from_utf8_lossy(&form.body);
        assert!(text.starts_with("--b0undary\r\nContent-Disposition: form-data; name=\"config-block\"; filename="));
        assert!(text.ends_with("\r\n\r\n\r\n--x\0\r\n--b0undary--\r\n"), "{text:?}");
        assert_eq!(form.content_type, "multipart/form-data; boundary=b0undary");
    }
}
