//! Connections: accepted, secured, and handed to the server that speaks on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use orderer_actors::observe::{ConnectionObserved, Observed};
use orderer_core::crypto::sha256;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::admission::{ConnectionTable, Inbound, Peer, Phase, Place};
use crate::tls::{ListenerTls, wants_tls, why_it_failed};

/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// When as many have come as one in so many of those that may be open, connections that were accepted have their turn.
const TURN_PART: usize = 8;
/// Connections that have not said what they speak are looked for so often.
const SILENT_LOOK: Duration = Duration::from_millis(250);
/// A client that is not let in may read why for so long,
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);
/// while so many kilobytes of it are taken.
const LAST_WORDS_MAX_READS: usize = 64;
/// Whether a client has left from which nothing is read, for want of memory, is looked at so often.
const LEFT_LOOK: Duration = Duration::from_millis(500);
/// Connections that are ready for the server.
const READY_MAX: usize = 64;

/// A client's connection. What it reads is charged to the node's budget, and waits while there is no room.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    info: ConnectInfo,
    inbound: Inbound,
    place: Place,
    /// While there is no room to read: when to look whether the client has left.
    look: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
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
    /// What it holds; `None` for requests that come from within the process.
    pub admitted: Option<Arc<Peer>>,
}

impl Default for ConnectInfo {
    fn default() -> Self {
        Self { peer: (Ipv4Addr::UNSPECIFIED, 0).into(), tls_certificate_hash: None, open: None, admitted: None }
    }
}

/// Accepts connections until `stopping`; each is ready to be spoken on when it comes out of the stream. Accepting waits for
/// no client (when too many come, for those that were told to close, and for a moment): each shakes hands in a task of its own, and one that has not said within `handshake_limit` what it speaks is
/// closed, whether it is silent or sends a byte now and then.
pub fn accept(
    listener: TcpListener,
    tls: Option<Arc<ListenerTls>>,
    handshake_limit: Duration,
    table: Arc<ConnectionTable>,
    stopping: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(READY_MAX);
    tokio::spawn(close_silent(Arc::clone(&table), handshake_limit, stopping.clone()));
    tokio::spawn(async move {
        let mut accepted_in_turn = 0_usize;
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
            let place = tokio::select! {
                place = table.enter(peer) => place,
                () = stopping.cancelled() => return,
            };
            let Some(place) = place else {
                tracing::debug!(target: "orderer.connection", %peer, "connection refused: the node has as many as it may");
                continue;
            };
            // answers are small and must not wait for more to send
            let _ = socket.set_nodelay(true);
            let (ready, tls, stopping) = (ready.clone(), tls.clone(), stopping.clone());
            tokio::spawn(async move {
                let admitted = Arc::clone(place.peer());
                let secured = tokio::select! {
                    secured = tokio::time::timeout(handshake_limit, shake_hands(socket, tls, peer)) => secured,
                    () = std::future::poll_fn(|cx| admitted.poll_closing(cx)) => {
                        tracing::debug!(target: "orderer.connection", %peer, "connection closed before it said anything: others need its place");
                        return;
                    }
                    () = stopping.cancelled() => return,
                };
                match secured {
                    Ok(Some((socket, tls_certificate_hash))) => {
                        admitted.reaches(Phase::Greeting);
                        let info = ConnectInfo { peer, tls_certificate_hash, open: None, admitted: Some(admitted) };
                        let inbound = Inbound::default();
                        let connection = Connection { socket, info, inbound, place, look: None };
                        let _ = ready.send(Ok(connection)).await;
                    }
                    Ok(None) => {}
                    Err(_) => {
                        tracing::debug!(target: "orderer.connection", %peer, limit = ?handshake_limit, "handshake took too long");
                    }
                }
            });
            // those who are here have their turn before more come, who may have to take their places
            accepted_in_turn = (accepted_in_turn + 1) % (table.max() / TURN_PART).max(1);
            if accepted_in_turn == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    ReceiverStream::new(connections)
}

/// Closes connections whose time to greet is over, and at the end all that have not greeted.
async fn close_silent(table: Arc<ConnectionTable>, limit: Duration, stopping: CancellationToken) {
    while !stopping.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(SILENT_LOOK) => table.close_silent(limit),
            () = stopping.cancelled() => {}
        }
    }
    table.close_silent(Duration::ZERO);
}

/// Secures a connection; a plain one has only to send its first byte. `None` if it is of no use; the log says why.
async fn shake_hands(
    socket: TcpStream,
    tls: Option<Arc<ListenerTls>>,
    peer: SocketAddr,
) -> Option<(Socket, Option<[u8; 32]>)> {
    // nothing is set up for a client that keeps silent
    let mut first = [0];
    if !matches!(socket.peek(&mut first).await, Ok(1)) {
        return None;
    }
    let Some(tls) = tls else {
        if wants_tls(first[0]) {
            tracing::warn!(target: "orderer.connection", %peer, "connection refused: the client speaks TLS, and this port does not");
            return None;
        }
        return Some((Socket::Plain(socket), None));
    };
    let Some(config) = tls.config() else {
        tracing::warn!(target: "orderer.connection", %peer, "connection refused: no client root is known");
        return None;
    };
    match TlsAcceptor::from(config).accept(socket).into_fallible().await {
        Ok(stream) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let tls_certificate_hash = certificate.map(|c| sha256(&[c.as_ref()]));
            Some((Socket::Tls(Box::new(stream)), tls_certificate_hash))
        }
        Err((error, socket)) => {
            let why = why_it_failed(&error);
            tracing::warn!(target: "orderer.connection", %peer, "TLS handshake failed: {why}");
            let _ = tokio::time::timeout(LAST_WORDS_LIMIT, read_out(socket)).await;
            None
        }
    }
}

/// Takes what the client still sends, and forgets it, until it has the alert that says why: a socket that is closed with bytes in
/// it that nobody read takes the alert back.
async fn read_out(mut socket: TcpStream) {
    let mut bytes = [0; 1024];
    if socket.shutdown().await.is_err() {
        return;
    }
    for _ in 0..LAST_WORDS_MAX_READS {
        if !matches!(socket.read(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
}

impl Connection {
    /// Counts it as a client's connection.
    #[must_use]
    pub fn counted_by(mut self, observed: &Arc<Observed>) -> Self {
        self.info.open = Some(Arc::new(observed.connection()));
        self
    }

    /// Who is at the other end.
    pub fn info(&self) -> &ConnectInfo {
        &self.info
    }

    /// The certificate that the client showed.
    pub fn shown_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.socket {
            Socket::Plain(_) => None,
            Socket::Tls(stream) => stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl Socket {
    /// Whether the client has ended the connection, as far as that is known without reading what it had sent before.
    fn is_left(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let mut ready = std::pin::pin!(socket.ready(Interest::READABLE));
        match ready.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, inbound, place, look, .. } = self.get_mut();
        let peer = place.peer();
        if peer.is_closing() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if peer.poll_room(cx).is_pending() {
            // it may have been told to close between the look and the wait; and who has left must not be waited for by others
            if peer.is_closing() || socket.is_left() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let sleep = look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LEFT_LOOK)));
            while sleep.as_mut().poll(cx).is_ready() {
                sleep.as_mut().reset(Instant::now() + LEFT_LOOK);
            }
            return Poll::Pending;
        }
        *look = None;
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(socket).poll_read(cx, buf) else {
            return peer.poll_closing(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()));
        };
        read?;
        let progress = inbound.read(&buf.filled()[before..]);
        if progress.speaks {
            peer.reaches(Phase::Stranger);
        }
        if progress.data > 0 {
            peer.arrived(progress.data);
        }
        Poll::Ready(Ok(()))
    }
}

impl Connection {
    /// What came of a write: a client that takes nothing must not keep a connection that was told to close.
    fn unless_closing<T>(&self, written: Poll<io::Result<T>>, cx: &Context<'_>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => self.place.peer().poll_closing(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into())),
            written @ Poll::Ready(_) => written,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.unless_closing(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.unless_closing(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        this.unless_closing(done, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        this.unless_closing(done, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Budget, Kind};
    use std::future::poll_fn;

    /// A client that takes nothing of what it is sent, and is told to close.
    #[tokio::test]
    async fn who_takes_nothing_can_be_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
        let (socket, peer) = listener.accept().await.expect("a connection");
        let table = Arc::new(ConnectionTable::new(Kind::Operators, 1, Budget::new(1 << 20)));
        let place = table.enter(peer).await.expect("a place");
        let mut connection = Connection {
            socket: Socket::Plain(socket),
            info: ConnectInfo::default(),
            inbound: Inbound::default(),
            look: None,
            place,
        };
        let writes = tokio::spawn(async move {
            loop {
                poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, &[0; 8 << 10])).await?;
            }
            #[expect(unreachable_code, reason = "says what fails")]
            Ok::<(), io::Error>(())
        });
        // the only place is needed by another, once this one has had its time
        let next = table.enter(([10, 0, 0, 1], 5).into()).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), writes).await.expect("it ends").expect("no panic");
        assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionAborted));
        assert!(next.is_some());
        drop(client);
    }
}
