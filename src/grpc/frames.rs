//! The messages of a gRPC stream as bytes: a byte for compression, four for the length, the message.
//!
//! A message that came in one piece is a slice of what the connection read; it is not copied. A large one is let in only
//! when the node-wide budget has room for it, so that no number of clients with large messages can fill the memory.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSemaphore;
use tonic::Status;

const PREFIX_BYTES: usize = 5;
/// Messages up to this size are let in without asking: a stream holds one of them at most.
const SMALL_BYTES: usize = 64 * 1024;
/// A client that stops in the middle of a large message gives its room back after this time.
const STALL_LIMIT: Duration = Duration::from_secs(20);

/// Memory for messages that are larger than small, counted in bytes, for the whole node.
#[derive(Clone, Debug)]
pub struct IngressBudget {
    room: Arc<Semaphore>,
    bytes: u32,
}

impl IngressBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: u32) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }
}

/// One message, and the room it takes.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: Bytes,
    /// Given back when the message is answered.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// Reads messages off a request's body.
pub(super) struct MessageReader {
    body: tonic::body::Body,
    ended: bool,
    chunks: VecDeque<Bytes>,
    buffered: usize,
    max_bytes: usize,
    budget_bytes: u32,
    waiting_for_room: PollSemaphore,
    room: Option<OwnedSemaphorePermit>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl MessageReader {
    pub(super) fn new(body: tonic::body::Body, max_bytes: usize, budget: &IngressBudget) -> Self {
        Self {
            body,
            ended: false,
            chunks: VecDeque::new(),
            buffered: 0,
            max_bytes,
            budget_bytes: budget.bytes,
            waiting_for_room: PollSemaphore::new(Arc::clone(&budget.room)),
            room: None,
            stall: None,
        }
    }

    /// The next message; `None` when the client has sent all it wanted to.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, Status>>> {
        loop {
            let wanted = match self.wanted() {
                Ok(wanted) => wanted,
                Err(status) => return Poll::Ready(Some(Err(status))),
            };
            if let Some(length) = wanted {
                if self.buffered >= PREFIX_BYTES + length {
                    self.stall = None;
                    let room = self.room.take();
                    return Poll::Ready(Some(Ok(Incoming { bytes: self.take(length), room })));
                }
                if length > SMALL_BYTES && self.room.is_none() {
                    let bytes = u32::try_from(length).unwrap_or(u32::MAX).min(self.budget_bytes);
                    self.room = ready!(self.waiting_for_room.poll_acquire_many(cx, bytes));
                    self.stall = Some(Box::pin(sleep(STALL_LIMIT)));
                }
            }
            if self.ended {
                let cut_short = self.buffered > 0;
                let end = cut_short.then(|| Err(Status::internal("the stream ended in the middle of a message")));
                self.chunks.clear();
                self.buffered = 0;
                return Poll::Ready(end);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.buffered += data.len();
                        self.chunks.push_back(data);
                        if let Some(stall) = &mut self.stall {
                            stall.as_mut().reset(tokio::time::Instant::now() + STALL_LIMIT);
                        }
                    }
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => {
                    if let Some(stall) = &mut self.stall
                        && stall.as_mut().poll(cx).is_ready()
                    {
                        let status = Status::deadline_exceeded("a large message stopped in its middle");
                        return Poll::Ready(Some(Err(status)));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// The next message, for who has nothing else to poll.
    pub(super) async fn next(&mut self) -> Option<Result<Incoming, Status>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Length of the message that begins, if its prefix is here.
    fn wanted(&self) -> Result<Option<usize>, Status> {
        if self.buffered < PREFIX_BYTES {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX_BYTES];
        let bytes = self.chunks.iter().flat_map(|chunk| chunk.iter()).copied();
        prefix.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        if prefix[0] != 0 {
            return Err(Status::unimplemented("compressed messages are not accepted"));
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > self.max_bytes {
            let text = format!("received message larger than max ({length} vs. {})", self.max_bytes);
            return Err(Status::resource_exhausted(text));
        }
        Ok(Some(length))
    }

    /// Takes the message behind the prefix; it is here.
    fn take(&mut self, length: usize) -> Bytes {
        self.buffered -= PREFIX_BYTES + length;
        self.skip(PREFIX_BYTES);
        match self.chunks.front_mut() {
            Some(front) if front.len() >= length => {
                let message = front.split_to(length);
                if front.is_empty() {
                    self.chunks.pop_front();
                }
                message
            }
            _ => {
                let mut message = BytesMut::with_capacity(length);
                while message.len() < length {
                    let Some(mut chunk) = self.chunks.pop_front() else { break };
                    let part = chunk.split_to(usize::min(chunk.len(), length - message.len()));
                    message.extend_from_slice(&part);
                    if !chunk.is_empty() {
                        self.chunks.push_front(chunk);
                    }
                }
                message.freeze()
            }
        }
    }

    fn skip(&mut self, mut bytes: usize) {
        while bytes > 0
            && let Some(front) = self.chunks.front_mut()
        {
            let part = usize::min(bytes, front.len());
            front.advance(part);
            bytes -= part;
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
    }
}

/// A message that ends a stream with the given status, after which nothing follows.
pub(super) fn trailers(status: &Status) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    // a status whose text is no header value still ends the stream
    let _ = status.add_header(&mut trailers);
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use proptest::prelude::*;

    struct Pieces(VecDeque<Bytes>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn frame(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    fn read(stream: &[u8], cuts: &[usize], max: usize) -> Vec<Result<Bytes, tonic::Code>> {
        let mut pieces = VecDeque::new();
        let mut rest = stream;
        for cut in cuts {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push_back(Bytes::copy_from_slice(piece));
            rest = after;
        }
        pieces.push_back(Bytes::copy_from_slice(rest));
        let body = tonic::body::Body::new(Pieces(pieces));
        let mut reader = MessageReader::new(body, max, &IngressBudget::new(1 << 20));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut read = Vec::new();
            while let Some(message) = reader.next().await {
                let failed = message.is_err();
                read.push(message.map(|m| m.bytes).map_err(|s| s.code()));
                if failed {
                    break;
                }
            }
            read
        })
    }

    proptest! {
        #[test]
        fn messages_survive_however_the_stream_is_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
            cuts in prop::collection::vec(0usize..120, 0..20),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
            let expected: Vec<_> = messages.into_iter().map(|m| Ok(Bytes::from(m))).collect();
            prop_assert_eq!(read(&stream, &cuts, 1000), expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(stream in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&stream, &[7, 1, 30], 100);
        }
    }

    #[test]
    fn a_message_above_the_limit_is_refused_before_it_is_read() {
        assert_eq!(read(&[0, 0, 0, 1, 0], &[], 255), [Err(tonic::Code::ResourceExhausted)]);
    }

    #[test]
    fn a_stream_that_ends_in_a_message_is_an_error() {
        assert_eq!(read(&frame(b"hello")[..7], &[], 255), [Err(tonic::Code::Internal)]);
    }
}
