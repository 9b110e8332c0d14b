//! Connections: accepts them, secures them, and hands them to a server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use orderer_actors::observer::{ConnectionObserver, NodeObserver};
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
use crate::tls::{ListenerTls, Metered, wants_tls, why_it_failed};

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Divisor of the maximum number of connections: after accepting this part of it, the accept loop yields to the
/// connections that were accepted.
const TURN_PART: usize = 8;
/// Interval at which connections whose protocol is not known yet are checked.
const SILENT_LOOK: Duration = Duration::from_millis(250);
/// Time for a rejected client to read the alert that says why.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);
/// Maximum number of reads, of 1 KiB each, that are discarded meanwhile.
const LAST_WORDS_MAX_READS: usize = 64;
/// Interval at which a connection that is not read, for lack of memory, is checked for a client that has left.
const LEFT_LOOK: Duration = Duration::from_millis(500);
/// Bytes that are read from a connection before others have their turn on the thread: about 0.1 ms of work. A client
/// that sends as fast as it can would otherwise be served for milliseconds at a time.
const TURN_BYTES: usize = 128 << 10;
/// Maximum number of connections that are ready for the server.
const READY_MAX: usize = 64;

/// A client's connection. What it reads is charged to the node's budget, and waits while that has no capacity.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    info: ConnectInfo,
    inbound: Inbound,
    place: Place,
    /// While there is no capacity to read: when to check whether the client has left.
    look: Option<Pin<Box<Sleep>>>,
    /// Bytes that were read since others last had their turn.
    turn_bytes: usize,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<Metered>>),
}

/// The client of a connection.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    /// The client's address.
    pub peer: SocketAddr,
    /// SHA-256 of the client's TLS certificate in DER, if it presented one.
    pub tls_certificate_hash: Option<[u8; 32]>,
    /// That certificate. Whether it was verified against any root depends on the listener.
    pub tls_certificate: Option<Bytes>,
    /// Counts the connection as open, until the last request on it is dropped.
    pub open: Option<Arc<ConnectionObserver>>,
    /// The connection's admission state; `None` for requests from within the process.
    pub admitted: Option<Arc<Peer>>,
}

impl Default for ConnectInfo {
    fn default() -> Self {
        Self {
            peer: (Ipv4Addr::UNSPECIFIED, 0).into(),
            tls_certificate_hash: None,
            tls_certificate: None,
            open: None,
            admitted: None,
        }
    }
}

/// Accepts connections until `stopping`, and yields each after its TLS handshake. Each handshake runs in a task of its
/// own, so that the accept loop does not wait for clients; only when there are too many connections, it waits for a
/// moment until some of those that were told to close have gone. A client whose protocol is not known within
/// `handshake_limit` is disconnected, whether it is silent or sends a byte now and then.
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
                    tracing::warn!(target: "orderer.connection", %error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = tokio::select! {
                place = table.enter(peer) => place,
                () = stopping.cancelled() => return,
            };
            let Some(place) = place else {
                tracing::debug!(target: "orderer.connection", %peer, "connection rejected: the maximum number of connections is reached");
                continue;
            };
            // responses are small and must not wait for more to send
            let _ = socket.set_nodelay(true);
            let (ready, tls, stopping) = (ready.clone(), tls.clone(), stopping.clone());
            tokio::spawn(async move {
                let admitted = Arc::clone(place.peer());
                let secured = tokio::select! {
                    secured = tokio::time::timeout(handshake_limit, shake_hands(socket, tls, &admitted)) => secured,
                    () = std::future::poll_fn(|cx| admitted.poll_closing(cx)) => {
                        tracing::debug!(target: "orderer.connection", %peer, "idle connection closed: its place is needed for others");
                        return;
                    }
                    () = stopping.cancelled() => return,
                };
                match secured {
                    Ok(Some((socket, tls_certificate))) => {
                        admitted.reaches(Phase::Greeting);
                        let tls_certificate_hash = tls_certificate.as_ref().map(|der| sha256(&[der]));
                        let admitted = Some(admitted);
                        let info = ConnectInfo { peer, tls_certificate_hash, tls_certificate, open: None, admitted };
                        let inbound = Inbound::default();
                        let connection = Connection { socket, info, inbound, place, look: None, turn_bytes: 0 };
                        let _ = ready.send(Ok(connection)).await;
                    }
                    Ok(None) => {}
                    Err(_) => {
                        tracing::debug!(target: "orderer.connection", %peer, limit = ?handshake_limit, "TLS handshake timed out");
                    }
                }
            });
            // accepted connections have their turn before more come, which may have to take their places
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

/// Waits for the first byte and, if `tls` is set, performs the TLS handshake. Returns the connection with the
/// certificate that the client presented. Returns `None` if the client leaves, speaks the wrong protocol or fails the
/// handshake; all but the first are logged.
async fn shake_hands(
    socket: TcpStream,
    tls: Option<Arc<ListenerTls>>,
    admitted: &Arc<Peer>,
) -> Option<(Socket, Option<Bytes>)> {
    let peer = admitted.address();
    // nothing is set up for a silent client
    let mut first = [0];
    if !matches!(socket.peek(&mut first).await, Ok(1)) {
        return None;
    }
    let Some(tls) = tls else {
        if wants_tls(first[0]) {
            tracing::warn!(target: "orderer.connection", %peer, "connection rejected: the client uses TLS, and this port does not");
            return None;
        }
        return Some((Socket::Plain(socket), None));
    };
    let Some(config) = tls.config() else {
        tracing::warn!(target: "orderer.connection", %peer, "connection rejected: no client root certificate is known");
        return None;
    };
    match TlsAcceptor::from(config).accept(Metered::new(socket, Arc::clone(admitted))).into_fallible().await {
        Ok(mut stream) => {
            stream.get_mut().0.settle();
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = certificate.map(|der| Bytes::copy_from_slice(der));
            Some((Socket::Tls(Box::new(stream)), certificate))
        }
        Err((error, socket)) => {
            let why = why_it_failed(&error);
            tracing::warn!(target: "orderer.connection", %peer, "TLS handshake failed: {why}");
            let _ = tokio::time::timeout(LAST_WORDS_LIMIT, read_out(socket)).await;
            None
        }
    }
}

/// Discards what a rejected client still sends, so that it receives the TLS alert with the reason: closing a socket
/// with unread bytes resets the connection, and the client could lose the alert.
async fn read_out(mut socket: Metered) {
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
    /// Counts this as a client's connection.
    #[must_use]
    pub fn counted_by(mut self, observer: &Arc<NodeObserver>) -> Self {
        self.info.open = Some(Arc::new(observer.connection()));
        self
    }

    /// Returns the client.
    pub fn info(&self) -> &ConnectInfo {
        &self.info
    }

    /// Returns the certificate that the client presented.
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
    /// Returns whether the client has closed the connection, as far as that is known without reading what it had sent
    /// before.
    fn is_left(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0.socket(),
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
        let Self { socket, inbound, place, look, turn_bytes, .. } = self.get_mut();
        let peer = place.peer();
        if peer.is_closing() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if peer.poll_room(cx).is_pending() {
            // it may have been told to close between the check and the wait; and others must not wait for a client
            // that has left
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
        if *turn_bytes >= TURN_BYTES {
            *turn_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(socket).poll_read(cx, buf) else {
            *turn_bytes = 0;
            return peer.poll_closing(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()));
        };
        read?;
        *turn_bytes += buf.filled().len() - before;
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
    /// Returns the result of a write, or an error if the connection was told to close: a client that accepts nothing
    /// must not keep it open.
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

    /// Time limit of everything that a test waits for.
    const LIMIT: Duration = Duration::from_secs(60);

    fn plain(socket: TcpStream, place: Place) -> Connection {
        Connection {
            socket: Socket::Plain(socket),
            info: ConnectInfo::default(),
            inbound: Inbound::default(),
            look: None,
            turn_bytes: 0,
            place,
        }
    }

    /// A client that accepts nothing of what it is sent, and is told to close.
    #[tokio::test]
    async fn who_takes_nothing_can_be_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
        let (socket, peer) = listener.accept().await.expect("a connection");
        let table = Arc::new(ConnectionTable::new(Kind::Operators, 1, Budget::new(1 << 20)));
        let place = table.enter(peer).await.expect("a place");
        let mut connection = plain(socket, place);
        let writes = tokio::spawn(async move {
            loop {
                poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, &[0; 8 << 10])).await?;
            }
            #[expect(unreachable_code, reason = "says what fails")]
            Ok::<(), io::Error>(())
        });
        // the only place is needed by another, once this one has had its time
        let next = table.enter(([10, 0, 0, 1], 5).into()).await;
        let ended = tokio::time::timeout(LIMIT, writes).await.expect("it ends").expect("no panic");
        assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionAborted));
        assert!(next.is_some());
        drop(client);
    }

    /// Nothing is read from the connection, for lack of memory, and what the client had sent lies unread.
    #[tokio::test]
    async fn who_leaves_while_there_is_no_room_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
        let (socket, peer) = listener.accept().await.expect("a connection");
        let budget = Budget::new(1 << 20);
        budget.account([10, 0, 0, 1].into()).charge(2 << 20);
        let table = Arc::new(ConnectionTable::new(Kind::Clients, 1, budget));
        let place = table.enter(peer).await.expect("a place");
        let mut connection = plain(socket, place);
        client.write_all(b"something").await.expect("it is sent");
        let mut bytes = [0; 8];
        let waits = tokio::time::timeout(2 * LEFT_LOOK, connection.read(&mut bytes)).await;
        assert!(waits.is_err(), "the client is there, and waits");
        drop(client);
        let left = tokio::time::timeout(LIMIT, connection.read(&mut bytes)).await.expect("it is noticed");
        assert_eq!(left.expect_err("nothing is read").kind(), io::ErrorKind::ConnectionAborted);
    }
}
