//! A connection's bytes: TCP, with TLS above it or not.
//!
//! This crate opens the sockets itself, and not rskafka, for one option. A request above its 8 KiB buffer goes out as two small
//! writes; with Nagle's algorithm the second waits for the acknowledgement of the first, which the broker's kernel delays by 40
//! ms (tests/one_broker.rs measures both).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::Address;

/// A write that is not acknowledged ends after this long: a request whose caller gave up is still being written by
/// rskafka, and must not hold its memory until the kernel's own quarter of an hour is over.
const UNACKNOWLEDGED_AT_MOST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) async fn connect(address: &Address) -> io::Result<TcpStream> {
        // every address of the name is tried in turn
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
        tcp.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&tcp).set_tcp_user_timeout(Some(UNACKNOWLEDGED_AT_MOST))?;
        Ok(tcp)
    }

    pub(crate) async fn secure(tcp: TcpStream, address: &Address, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| rustls::Error::General(format!("{} is no name a certificate can have", address.host)))
            .map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        Ok(Self::Tls(Box::new(tls)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_read(cx, buf),
            Self::Tls(inner) => Pin::new(inner).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_write(cx, buf),
            Self::Tls(inner) => Pin::new(inner).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_flush(cx),
            Self::Tls(inner) => Pin::new(inner).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_shutdown(cx),
            Self::Tls(inner) => Pin::new(inner).poll_shutdown(cx),
        }
    }
}
