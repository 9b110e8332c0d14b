//! A socket for TLS handshakes: what it reads is charged to the node's memory for clients, since TLS buffers it until
//! a message is whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::admission::Peer;

/// Charges what it reads to a connection until [`settle`](Self::settle) is called or it is dropped; then it releases
/// all of it. While the connection has no capacity, reads wait.
#[derive(Debug)]
pub struct Metered {
    socket: TcpStream,
    /// The charged connection; `None` when the handshake is over.
    peer: Option<Arc<Peer>>,
    charged: usize,
}

impl Metered {
    /// Charges what is read to this connection.
    pub fn new(socket: TcpStream, peer: Arc<Peer>) -> Self {
        Self { socket, peer: Some(peer), charged: 0 }
    }

    /// Ends the handshake: releases what was charged, and charges nothing from now on.
    pub fn settle(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.account().release(self.charged);
        }
    }

    /// Returns the socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.settle();
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, peer, charged } = self.get_mut();
        let Some(peer) = peer else { return Pin::new(socket).poll_read(cx, buf) };
        // a handshake that waits here in vain is closed when its time is over
        if peer.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(socket).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        *charged += bytes;
        peer.account().charge(bytes);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::admission::Budget;

    /// Returns the two ends of a connection, and its peer, charged to this budget.
    async fn connected(budget: &Budget) -> (TcpStream, Metered, Arc<Peer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
        let (socket, address) = listener.accept().await.expect("a connection");
        let peer = Arc::new(Peer::new(address, budget));
        (client, Metered::new(socket, Arc::clone(&peer)), peer)
    }

    #[tokio::test]
    async fn what_is_read_is_charged_until_the_handshake_is_over() {
        let budget = Budget::new(1 << 20);
        let (mut client, mut metered, _peer) = connected(&budget).await;
        let before = budget.used();
        client.write_all(&[1; 1000]).await.expect("it is sent");
        let mut bytes = [0; 600];
        metered.read_exact(&mut bytes).await.expect("it comes");
        assert_eq!(budget.used(), before + 600);
        metered.settle();
        assert_eq!(budget.used(), before);
        metered.read_exact(&mut bytes[..400]).await.expect("the rest comes");
        assert_eq!(budget.used(), before, "what TLS reads afterwards is counted behind it");
    }

    #[tokio::test]
    async fn a_handshake_waits_while_there_is_no_room_and_gives_its_own_back() {
        let budget = Budget::new(1 << 20);
        let (mut client, mut metered, _peer) = connected(&budget).await;
        let before = budget.used();
        let mut bytes = [0; 100];
        client.write_all(&[1; 100]).await.expect("it is sent");
        metered.read_exact(&mut bytes).await.expect("it comes");
        let others = budget.account([10, 0, 0, 1].into());
        others.charge(2 << 20);
        client.write_all(&[1; 100]).await.expect("it is sent");
        {
            let mut read = std::pin::pin!(metered.read_exact(&mut bytes));
            assert!(futures_util::poll!(read.as_mut()).is_pending());
            others.release(2 << 20);
            read.await.expect("there is room again");
        }
        assert_eq!(budget.used(), before + 200);
        drop(metered);
        assert_eq!(budget.used(), before);
    }
}
