//! Opens a connection in one attempt: TCP, TLS, and the first frame of HTTP/2.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use orderer_x509::Certificate;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use super::connection_tasks::ConnectionTasks;
use super::error_text::describe;
use crate::tls::{ExpectedServer, Identity, Roots, client_config};

/// Interval between pings on a connection on which nothing is received. Fabric closes connections of clients that ping
/// more often than once a minute (`ServerMinInterval`); the other five seconds allow for network delays.
const PING_INTERVAL: Duration = Duration::from_secs(65);
/// Maximum time for the response to a ping, and for the peer's TCP to acknowledge sent data.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of bytes that HTTP/2 buffers for a stream, besides the message that is being sent.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// An open connection for requests with bodies of this type. It is open as long as `driver` is polled.
pub(crate) struct DialedConnection<B> {
    pub(crate) sender: http2::SendRequest<B>,
    pub(crate) driver: Driver,
    /// Common name in the server's certificate; empty if there is none.
    pub(super) name: String,
    /// End of that certificate's validity, in seconds since 1970; 0 if it cannot be parsed.
    pub(super) certificate_expires: i64,
}

/// Drives the connection, and resolves to the reason for its end.
pub(crate) type Driver = Pin<Box<dyn Future<Output = String> + Send>>;

/// Connects to a server, without a time limit. `window_bytes` is the number of bytes that the server may send before
/// they are read, on the connection and on each of its streams; `None` uses hyper's default.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(crate) async fn dial<B>(
    server: ExpectedServer,
    port: u16,
    identity: &Identity,
    roots: &Roots,
    window_bytes: Option<u32>,
) -> Result<DialedConnection<B>, String>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let host = server.host.clone();
    let config = client_config(server, identity, roots).map_err(|error| describe(&error))?;
    let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|error| describe(&error))?;
    over(config, &host, socket, window_bytes).await
}

/// Performs the TLS and HTTP/2 handshakes on a TCP connection to this host, like [`dial`].
pub(super) async fn over<B>(
    config: ClientConfig,
    host: &str,
    socket: TcpStream,
    window_bytes: Option<u32>,
) -> Result<DialedConnection<B>, String>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("'{host}' is no host name"))?;
    tune(&socket);
    let secured = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| describe(&error))?;
    let shown = secured.get_ref().1.peer_certificates().and_then(|shown| shown.first());
    let certificate = shown.and_then(|der| Certificate::parse(&Bytes::copy_from_slice(der)).ok());
    let (greeted, greeting) = oneshot::channel();
    let tasks = ConnectionTasks::default();
    let until_dropped = tasks.ended_with_this();
    let stream = TokioIo::new(PrefaceStream { stream: secured, told: Some(greeted) });
    let mut builder = http2::Builder::new(tasks.clone());
    if let Some(window) = window_bytes {
        builder.initial_stream_window_size(window).initial_connection_window_size(window);
    }
    let (sender, connection) = builder
        .timer(TokioTimer::new())
        // with it, hyper would ping to measure the bandwidth
        .adaptive_window(false)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .handshake(stream)
        .await
        .map_err(|error| describe(&error))?;
    let mut driver: Driver = Box::pin(async move {
        let _until_dropped = until_dropped;
        match connection.await {
            Ok(()) => "it closed the connection".to_owned(),
            Err(error) => describe(&error),
        }
    });
    // under TLS 1.3 a server rejects this node's certificate only after the handshake
    tokio::select! {
        biased;
        why = &mut driver => return Err(why),
        Ok(()) = greeting => {}
    }
    Ok(DialedConnection {
        sender,
        driver,
        name: certificate.as_ref().and_then(|shown| shown.subject().common_name()).unwrap_or_default().to_owned(),
        certificate_expires: certificate.map_or(0, |shown| shown.not_after()),
    })
}

/// Sets socket options so that messages are sent without delay and a vanished peer is detected. Errors are ignored,
/// because the connection works without them.
fn tune(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(PING_TIMEOUT));
}

/// A connection that reports when the first bytes were received.
struct PrefaceStream<S> {
    stream: S,
    told: Option<oneshot::Sender<()>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before
            && let Some(told) = self.told.take()
        {
            // the dialing future may have been dropped
            let _ = told.send(());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefaceStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
