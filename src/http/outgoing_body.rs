//! The body of a response, which counts as outgoing memory until the client has accepted it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::admission::{Held, OpenStream, Outgoing, Peer, StreamHold};

/// A response body whose frames count as outgoing memory of the connection until the socket has accepted them.
pub(super) struct OutgoingBody {
    body: Body,
    outgoing: Outgoing,
    peer: Arc<Peer>,
    /// Memory reserved for frames that are not handed over yet, of a body whose size is known.
    waiting: Option<Held>,
    _hold: (StreamHold, OpenStream),
}

impl OutgoingBody {
    pub(super) fn new(body: Body, outgoing: Outgoing, peer: Arc<Peer>, hold: (StreamHold, OpenStream)) -> Self {
        let bytes = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let waiting = bytes.map(|bytes| outgoing.reserve(&peer, bytes));
        Self { body, outgoing, peer, waiting, _hold: hold }
    }
}

impl http_body::Body for OutgoingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let next = next.map(|frame| frame.map(|frame| frame.map_data(|data| self.outgoing.frame(&self.peer, data))));
        self.waiting = None;
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
