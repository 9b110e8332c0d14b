//! Checks that the other end of a connection speaks HTTP/2, before anything of consequence is sent to it.
//!
//! For the client a connection is established before the server has sent a byte: under TLS 1.3 also one that the
//! server rejects for lack of a client certificate. An HTTP/2 server begins with SETTINGS. Until those have come,
//! nothing was ordered.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tower_service::Service;

use super::endpoint::{Connection, HttpEndpoint};
use super::error_text::describe;

/// A frame's header: three bytes of length, then its type.
const HEADER_BYTES: usize = 9;
const TYPE_AT: usize = 3;
const SETTINGS: u8 = 4;
/// The first byte of a TLS alert record.
const TLS_ALERT: u8 = 21;

/// The other end's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerPreface {
    /// Nothing yet.
    Awaited,
    /// HTTP/2 SETTINGS.
    Settings,
    /// Something else, or nothing at all, with a description.
    Failed(String),
}

/// Opens connections to an endpoint, and reports the greeting of the latest one.
pub(super) struct Connector {
    endpoint: HttpEndpoint,
    told: watch::Sender<ServerPreface>,
}

impl Connector {
    pub(super) fn new(endpoint: HttpEndpoint) -> (Self, watch::Receiver<ServerPreface>) {
        let (told, greeting) = watch::channel(ServerPreface::Awaited);
        (Self { endpoint, told }, greeting)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<PrefaceStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (endpoint, told) = (self.endpoint.clone(), self.told.clone());
        Box::pin(async move {
            let stream = endpoint.open().await.map_err(io::Error::other)?;
            let head = Head { is_secured: endpoint.is_secured(), bytes: Vec::with_capacity(HEADER_BYTES) };
            Ok(TokioIo::new(PrefaceStream { stream, awaited: Some((head, told)) }))
        })
    }
}

/// A connection that inspects the first bytes it receives.
pub(super) struct PrefaceStream {
    stream: Box<dyn Connection>,
    /// `None` when the other end has greeted.
    awaited: Option<(Head, watch::Sender<ServerPreface>)>,
}

/// The first bytes received.
struct Head {
    is_secured: bool,
    bytes: Vec<u8>,
}

impl Head {
    /// Classifies these bytes and those before them; no bytes are the end.
    fn read(&mut self, more: &[u8]) -> ServerPreface {
        if more.is_empty() {
            return ServerPreface::Failed(self.cut().to_owned());
        }
        self.bytes.extend(more.iter().take(HEADER_BYTES - self.bytes.len().min(HEADER_BYTES)));
        let failed = |why: &str| ServerPreface::Failed(why.to_owned());
        match &self.bytes[..] {
            [TLS_ALERT, ..] if !self.is_secured => failed("it wants TLS: give --tls and --cafile"),
            [b'H', b'T', b'T', b'P', ..] => failed("it uses HTTP/1 and not gRPC: this may be the wrong port"),
            bytes if bytes.len() < HEADER_BYTES => ServerPreface::Awaited,
            bytes if bytes[TYPE_AT] == SETTINGS => ServerPreface::Settings,
            _ => failed("it does not speak gRPC: this may be the wrong port"),
        }
    }

    fn ended(&self, error: &io::Error) -> ServerPreface {
        let is_cut = matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        );
        let why = if is_cut { self.cut().to_owned() } else { describe(error, self.is_secured) };
        ServerPreface::Failed(why)
    }

    fn cut(&self) -> &'static str {
        if self.is_secured {
            "it closes the connection behind the TLS handshake: it may want another client certificate"
        } else {
            "it closes the connection without a word: it may want TLS"
        }
    }
}

impl PrefaceStream {
    fn hear(&mut self, said: impl FnOnce(&mut Head) -> ServerPreface) {
        let Some((head, told)) = &mut self.awaited else { return };
        let greeting = said(head);
        if greeting != ServerPreface::Awaited {
            told.send_replace(greeting);
            self.awaited = None;
        }
    }

    /// Reads once more after a failed write, because the server may have sent the cause before.
    fn hear_last_words(&mut self, cx: &mut Context<'_>, error: &io::Error) {
        if self.awaited.is_none() {
            return;
        }
        let mut bytes = [0; HEADER_BYTES];
        let mut last = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(cx, &mut last) {
            Poll::Ready(Ok(())) => self.hear(|head| head.read(last.filled())),
            Poll::Ready(Err(why)) => self.hear(|head| head.ended(&why)),
            Poll::Pending => {}
        }
        self.hear(|head| head.ended(error));
    }
}

impl Drop for PrefaceStream {
    fn drop(&mut self) {
        self.hear(|head| ServerPreface::Failed(head.cut().to_owned()));
    }
}

impl AsyncRead for PrefaceStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) => this.hear(|head| head.read(&buf.filled()[before..])),
            Poll::Ready(Err(error)) => this.hear(|head| head.ended(error)),
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for PrefaceStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Err(error)) = &written {
            this.hear_last_words(cx, error);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if let Poll::Ready(Err(error)) = &flushed {
            this.hear_last_words(cx, error);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(is_secured: bool, parts: &[&[u8]]) -> ServerPreface {
        let mut head = Head { is_secured, bytes: Vec::new() };
        parts.iter().fold(ServerPreface::Awaited, |_, part| head.read(part))
    }

    #[test]
    fn only_settings_are_a_greeting() {
        assert_eq!(said(false, &[&[0, 0, 6, 4, 0], &[0, 0, 0, 0, 9, 9]]), ServerPreface::Settings);
        assert_eq!(said(true, &[&[0, 0, 6, 4, 0, 0, 0, 0]]), ServerPreface::Awaited);
        for (secured, parts, why) in [
            (false, &[&[21, 3, 3, 0, 2, 2, 50][..]][..], "it wants TLS"),
            (false, &[b"HTTP/1.1 400 Bad Request"], "wrong port"),
            (true, &[b"SSH-2.0-OpenSSH"], "wrong port"),
            (false, &[&[0, 0], &[]], "it may want TLS"),
            (true, &[&[]], "another client certificate"),
        ] {
            let ServerPreface::Failed(words) = said(secured, parts) else { panic!("{parts:?}") };
            assert!(words.contains(why), "{words}");
        }
    }
}
