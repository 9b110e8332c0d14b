//! One attempt to connect: TCP, TLS, and the first word of HTTP/2.

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

use super::tasks::Tasks;
use super::words::in_words;
use crate::tls::{ExpectedServer, Identity, Roots, client_config};

/// Between pings on a connection on which nothing comes. Fabric closes connections of who pings more often than once a minute
/// (`ServerMinInterval`); what is more allows for the network's delays.
const PING_INTERVAL: Duration = Duration::from_secs(65);
/// How long an answer to a ping may take, and the other side's TCP to acknowledge what was sent.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What a stream may buffer inside of HTTP/2 beside the message in work.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// A connection that is open, for requests with bodies of this kind. It lives while `driver` is polled.
pub(crate) struct Dialed<B> {
    pub(crate) sender: http2::SendRequest<B>,
    pub(crate) driver: Driver,
    /// Common name in the server's certificate.
    pub(super) name: String,
    /// The end of its validity, in seconds since 1970.
    pub(super) certificate_expires: i64,
}

/// Says why the connection ended.
pub(crate) type Driver = Pin<Box<dyn Future<Output = String> + Send>>;

/// Connects; does not watch the time. The server may send so many bytes that nobody has read yet, on the connection and on a stream
/// of it; `None`: as hyper has it. Dropping the future closes what is open.
pub(crate) async fn dial<B>(
    server: ExpectedServer,
    port: u16,
    identity: &Identity,
    roots: &Roots,
    window_bytes: Option<u32>,
) -> Result<Dialed<B>, String>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let host = server.host.clone();
    let config = client_config(server, identity, roots).map_err(|error| in_words(&error))?;
    let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|error| in_words(&error))?;
    over(config, &host, socket, window_bytes).await
}

/// The same on a TCP connection to this host.
pub(super) async fn over<B>(
    config: ClientConfig,
    host: &str,
    socket: TcpStream,
    window_bytes: Option<u32>,
) -> Result<Dialed<B>, String>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("'{host}' is no host name"))?;
    tune(&socket);
    let secured = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| in_words(&error))?;
    let shown = secured.get_ref().1.peer_certificates().and_then(|shown| shown.first());
    let certificate = shown.and_then(|der| Certificate::parse(&Bytes::copy_from_slice(der)).ok());
    let (greeted, greeting) = oneshot::channel();
    let tasks = Tasks::default();
    let until_dropped = tasks.ended_with_this();
    let stream = TokioIo::new(Greeted { stream: secured, told: Some(greeted) });
    let mut builder = http2::Builder::new(tasks.clone());
    if let Some(window) = window_bytes {
        builder.initial_stream_window_size(window).initial_connection_window_size(window);
    }
    let (sender, connection) = builder
        .timer(TokioTimer::new())
        // it would ping to measure the bandwidth
        .adaptive_window(false)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .handshake(stream)
        .await
        .map_err(|error| in_words(&error))?;
    let mut driver: Driver = Box::pin(async move {
        let _until_dropped = until_dropped;
        match connection.await {
            Ok(()) => "it closed the connection".to_owned(),
            Err(error) => in_words(&error),
        }
    });
    // under TLS 1.3 a server that refuses this node's certificate says so behind the handshake
    tokio::select! {
        biased;
        why = &mut driver => return Err(why),
        Ok(()) = greeting => {}
    }
    Ok(Dialed {
        sender,
        driver,
        name: certificate.as_ref().and_then(|shown| shown.subject().common_name()).unwrap_or_default().to_owned(),
        certificate_expires: certificate.map_or(0, |shown| shown.not_after()),
    })
}

/// Messages leave at once, and a machine that is gone is noticed. Without either, a connection works all the same.
fn tune(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(PING_TIMEOUT));
}

/// A connection that tells when the first bytes came.
struct Greeted<S> {
    stream: S,
    told: Option<oneshot::Sender<()>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before
            && let Some(told) = self.told.take()
        {
            // who dials may have given up
            let _ = told.send(());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
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
