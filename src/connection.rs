//! Connections: accepted, secured, and handed to the server that speaks on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use orderer_actors::observe::{ConnectionObserved, Observed};
use orderer_core::crypto::sha256;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::tls::ListenerTls;

/// So many handshakes are under way at once; more connections wait their turn.
const HANDSHAKES_MAX: usize = 256;
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A client's connection.
#[derive(Debug)]
pub enum Connection {
    /// Plaintext.
    Plain(TcpStream, ConnectInfo),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>, ConnectInfo),
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    /// Its address.
    pub peer: SocketAddr,
    /// SHA-256 of its TLS certificate in DER, if it showed one.
    pub tls_certificate_hash: Option<[u8; 32]>,
    /// Counts it as open, until the last request on it is gone.
    pub open: Option<Arc<ConnectionObserved>>,
}

impl Default for ConnectInfo {
    fn default() -> Self {
        Self { peer: (Ipv4Addr::UNSPECIFIED, 0).into(), tls_certificate_hash: None, open: None }
    }
}

/// Accepts connections until `stopping`; each is ready to be spoken on when it comes out of the stream. A client that does
/// not finish its handshake within `handshake_limit` is dropped, and disturbs nobody meanwhile.
pub fn accept(
    listener: TcpListener,
    tls: Option<Arc<ListenerTls>>,
    handshake_limit: Duration,
    stopping: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(64);
    tokio::spawn(async move {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(target: "orderer.connection", %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // answers are small and must not wait for more to send
            let _ = socket.set_nodelay(true);
            let Some(tls) = &tls else {
                let (ready, stopping) = (ready.clone(), stopping.clone());
                tokio::spawn(async move {
                    // a server would wait for ever for the first bytes of a client, at shutdown as well
                    let mut first = [0];
                    let first = tokio::time::timeout(handshake_limit, socket.peek(&mut first));
                    let speaks = tokio::select! {
                        spoke = first => matches!(spoke, Ok(Ok(1))),
                        () = stopping.cancelled() => false,
                    };
                    if speaks {
                        let info = ConnectInfo { peer, tls_certificate_hash: None, open: None };
                        let _ = ready.send(Ok(Connection::Plain(socket, info))).await;
                    }
                });
                continue;
            };
            let Some(config) = tls.config() else {
                tracing::warn!(target: "orderer.connection", %peer, "connection refused: no client root is known");
                continue;
            };
            let (ready, acceptor) = (ready.clone(), TlsAcceptor::from(config));
            let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
            tokio::spawn(async move {
                match tokio::time::timeout(handshake_limit, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => {
                        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                        let tls_certificate_hash = certificate.map(|c| sha256(&[c.as_ref()]));
                        let info = ConnectInfo { peer, tls_certificate_hash, open: None };
                        let _ = ready.send(Ok(Connection::Tls(Box::new(stream), info))).await;
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(target: "orderer.connection", %peer, %error, "TLS handshake failed");
                    }
                    Err(_) => {
                        tracing::warn!(target: "orderer.connection", %peer, limit = ?handshake_limit, "TLS handshake took too long");
                    }
                }
                drop(permit);
            });
        }
    });
    ReceiverStream::new(connections)
}

impl Connection {
    /// Counts it as a client's connection.
    #[must_use]
    pub fn counted_by(mut self, observed: &Arc<Observed>) -> Self {
        let (Self::Plain(_, info) | Self::Tls(_, info)) = &mut self;
        info.open = Some(Arc::new(observed.connection()));
        self
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        match self {
            Self::Plain(_, info) | Self::Tls(_, info) => info.clone(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket, _) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket, _) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket, _) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket, _) => socket.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket, _) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket, _) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
