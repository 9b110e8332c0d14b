//! The messages of a gRPC stream as bytes: a byte for compression, four for the length, the message.
//!
//! Each message is assembled in memory of its own, which grows as its bytes arrive; a slice of what the connection
//! read would retain that whole buffer. The bytes stay charged to the connection until the message is answered. The
//! whole message has to arrive at a minimum rate: a byte now and then does not keep the stream alive.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use crate::admission::{
    Admission, Charge, LargeMessages, Peer, Permit, Phase, QueueFull, RejectionCounters, RejectionReason, StreamHold,
    Turn, Waiting, now_ms,
};

const PREFIX_BYTES: usize = 5;
/// Bytes charged for a message from its first byte on, beside its own: memory that is allocated ahead of its bytes while it arrives;
/// then entries in queues and the response.
const MESSAGE_OVERHEAD_BYTES: usize = 2 << 10;
/// Time that any message has to arrive, beside that for its bytes.
const MESSAGE_GRACE: Duration = Duration::from_secs(20);
/// Minimum rate: a message gets one more second for each of these bytes that have arrived.
const LEAST_BYTES_A_SECOND: usize = 64 << 10;

/// One message, and the memory charged for it.
#[derive(Debug)]
pub(super) struct IncomingMessage {
    pub(super) bytes: Bytes,
    /// Released when the message is answered.
    pub(super) charge: Charge,
}

/// A request's body, whose bytes are taken over from the connection's charge.
pub(super) struct Arriving {
    body: tonic::body::Body,
    peer: Arc<Peer>,
}

impl Arriving {
    pub(super) fn new(body: tonic::body::Body, peer: &Arc<Peer>) -> Self {
        Self { body, peer: Arc::clone(peer) }
    }

    /// Returns the next bytes; `None` behind the last.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(Bytes, Charge), Status>>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        let charge = self.peer.take(data.len());
                        return Poll::Ready(Some(Ok((data, charge))));
                    }
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Arriving {
    /// Releases the charge of bytes that have arrived and are no longer needed.
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(_))) = self.poll_bytes(&mut cx) {}
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    /// Releases bytes as they are handed over, since the service that reads them is not known.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.poll_bytes(cx).map(|next| next.map(|read| read.map(|(data, _)| Frame::data(data))))
    }
}

/// Reads messages from a request's body.
pub(super) struct MessageReader {
    body: Arriving,
    /// The request is in progress until this is dropped.
    hold: StreamHold,
    large: LargeMessages,
    refusals: RejectionCounters,
    max_bytes: usize,
    ended: bool,
    /// Bytes read beyond the previous message.
    chunk: Bytes,
    /// Charged for `chunk` and for the message that has begun.
    charge: Charge,
    prefix: BytesMut,
    begun: Option<Begun>,
    /// The wait for a large message's turn.
    waiting: Option<Waiting>,
    clock: Option<Clock>,
}

/// A message that is being assembled.
struct Begun {
    length: usize,
    bytes: BytesMut,
    permit: Option<Permit>,
}

/// The start of a message's arrival, and the timer for its minimum rate.
struct Clock {
    began: Instant,
    began_ms: u64,
    /// Milliseconds in which the node had read nothing for lack of memory before the message began.
    blocked_ms: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Returns when a message that began at `began` must have more than `arrived` bytes.
fn deadline(began: Instant, arrived: usize) -> Instant {
    let seconds = u32::try_from(arrived / LEAST_BYTES_A_SECOND).unwrap_or(u32::MAX);
    began + MESSAGE_GRACE + Duration::from_secs(u64::from(seconds))
}

impl Clock {
    fn start(peer: &Peer) -> Self {
        Self { began: Instant::now(), began_ms: now_ms(), blocked_ms: peer.blocked_ms(), timer: None }
    }

    /// Returns since when the client has to send the rest, without the time in which the node read nothing.
    fn clients_since(&self, peer: &Peer) -> u64 {
        (self.began_ms + peer.blocked_ms().saturating_sub(self.blocked_ms)).min(now_ms())
    }

    /// Returns whether a message of which `arrived` bytes have come is too slow; if not, the task is woken when it
    /// may be.
    fn is_up(&mut self, arrived: usize, cx: &mut Context<'_>) -> bool {
        let deadline = deadline(self.began, arrived);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
        false
    }
}

impl MessageReader {
    /// Reads the messages of a request on the connection of `hold`; rejects messages larger than `max_bytes`.
    pub(super) fn new(body: tonic::body::Body, max_bytes: usize, hold: StreamHold, admission: &Admission) -> Self {
        Self {
            body: Arriving::new(body, hold.peer()),
            charge: hold.peer().take(0),
            hold,
            large: admission.large.clone(),
            refusals: admission.refusals.clone(),
            max_bytes,
            ended: false,
            chunk: Bytes::new(),
            prefix: BytesMut::new(),
            begun: None,
            waiting: None,
            clock: None,
        }
    }

    /// Lowers the maximum message size from here on.
    pub(super) fn limit(&mut self, max_bytes: usize) {
        self.max_bytes = self.max_bytes.min(max_bytes);
    }

    /// Sets the maximum message size from here on, whatever it was before.
    pub(super) fn limit_is(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Returns the connection.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        self.hold.peer()
    }

    /// Returns whether the stream waits for its client or for the node.
    pub(super) fn turn(&self) -> &Turn {
        self.hold.turn()
    }

    /// Stops the clock of a message that has begun, because nothing is read for now.
    pub(super) fn pause(&mut self) {
        self.clock = None;
    }

    /// Polls for the next message; `None` when the client has sent everything.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<IncomingMessage, Status>>> {
        loop {
            match self.put_together(cx) {
                Ok(Put::Whole(incoming)) => return Poll::Ready(Some(Ok(incoming))),
                Ok(Put::NeedsMore) => {}
                // the client is not the one that delays others
                Ok(Put::NeedsTurn) => {
                    self.clock = None;
                    return Poll::Pending;
                }
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
            if self.ended {
                let cut_short = self.has_begun();
                (self.chunk, self.begun) = (Bytes::new(), None);
                self.prefix.clear();
                let end = cut_short.then(|| Err(Status::internal("the stream ended in the middle of a message")));
                return Poll::Ready(end);
            }
            match self.body.poll_bytes(cx) {
                Poll::Ready(Some(Ok((data, charge)))) => {
                    self.chunk = data;
                    self.charge.join(charge);
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => return self.wait_for_client(cx),
            }
        }
    }

    /// Returns the next message, for a caller that has nothing else to poll.
    ///
    /// # Cancel safety
    /// No part of a message is lost.
    pub(super) async fn next(&mut self) -> Option<Result<IncomingMessage, Status>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn has_begun(&self) -> bool {
        !self.prefix.is_empty() || self.begun.is_some()
    }

    fn wait_for_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<IncomingMessage, Status>>> {
        if !self.has_begun() {
            return Poll::Pending;
        }
        let arrived = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
        let clock = self.clock.get_or_insert_with(|| Clock::start(self.hold.peer()));
        self.hold.turn().of_client(clock.clients_since(self.hold.peer()));
        if clock.is_up(arrived, cx) {
            self.refusals.count(RejectionReason::Slow);
            return Poll::Ready(Some(Err(Status::deadline_exceeded("a message took too long to arrive"))));
        }
        if let Some(Begun { permit: Some(permit), .. }) = &self.begun {
            permit.arrived(arrived);
            if permit.gives_way(cx) {
                self.refusals.count(RejectionReason::Turn);
                let text = "a large message came too slowly while others waited; try again later";
                return Poll::Ready(Some(Err(Status::resource_exhausted(text))));
            }
        }
        Poll::Pending
    }

    /// Continues with the message that has begun, or begins the next.
    fn put_together(&mut self, cx: &mut Context<'_>) -> Result<Put, Status> {
        if self.begun.is_none() {
            let missing = (PREFIX_BYTES - self.prefix.len()).min(self.chunk.len());
            self.prefix.extend_from_slice(&self.chunk[..missing]);
            self.chunk.advance(missing);
            if self.prefix.len() < PREFIX_BYTES {
                return Ok(Put::NeedsMore);
            }
            let length = self.length()?;
            let mut permit = None;
            // Raft must not wait for clients that send large envelopes
            if LargeMessages::concerns(length) && !self.hold.peer().is_favoured() {
                let peer = self.hold.peer();
                let is_stranger = peer.phase() < Phase::Known;
                let waiting = self.waiting.get_or_insert_with(|| self.large.wait(length, peer.site(), is_stranger));
                let Poll::Ready(turn) = waiting.poll(cx) else { return Ok(Put::NeedsTurn) };
                self.waiting = None;
                permit = Some(turn.map_err(|QueueFull| {
                    self.refusals.count(RejectionReason::Turn);
                    Status::resource_exhausted("too many large messages wait for their turn; try again later")
                })?);
            }
            self.charge.grow(MESSAGE_OVERHEAD_BYTES);
            self.begun = Some(Begun { length, bytes: BytesMut::new(), permit });
        }
        let Some(begun) = &mut self.begun else { return Ok(Put::NeedsMore) };
        let missing = begun.length - begun.bytes.len();
        let part = missing.min(self.chunk.len());
        if begun.bytes.capacity() - begun.bytes.len() < part {
            // at most twice what has arrived or what is charged beside it, and never more than the message
            begun.bytes.reserve(missing.min(part + begun.bytes.len().max(MESSAGE_OVERHEAD_BYTES)));
        }
        begun.bytes.extend_from_slice(&self.chunk[..part]);
        self.chunk.advance(part);
        if part < missing {
            return Ok(Put::NeedsMore);
        }
        let (bytes, length) = (std::mem::take(&mut begun.bytes).freeze(), begun.length);
        (self.begun, self.clock) = (None, None);
        self.prefix.clear();
        if self.chunk.is_empty() {
            self.chunk = Bytes::new();
        }
        let charge = self.charge.split(PREFIX_BYTES + length + MESSAGE_OVERHEAD_BYTES);
        Ok(Put::Whole(IncomingMessage { bytes, charge }))
    }

    /// Returns the length of the message whose prefix is complete.
    fn length(&self) -> Result<usize, Status> {
        let [compressed, a, b, c, d] = self.prefix[..] else { return Ok(0) };
        if compressed != 0 {
            return Err(Status::unimplemented("compressed messages are not accepted"));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.max_bytes {
            let text = format!("received message larger than max ({length} vs. {})", self.max_bytes);
            return Err(Status::resource_exhausted(text));
        }
        Ok(length)
    }
}

enum Put {
    Whole(IncomingMessage),
    NeedsMore,
    NeedsTurn,
}

/// Encodes the given status as the trailers that end a stream.
pub(super) fn trailers(status: &Status) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    // a status whose text is no header value still ends the stream
    let _ = status.add_header(&mut trailers);
    trailers
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// A body that comes in these pieces.
    pub(in crate::grpc) struct Pieces(pub(in crate::grpc) VecDeque<Bytes>);

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
        let admission = Admission::of_memory(64 << 20);
        let budget = &admission.budget;
        let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), budget));
        let mut reader = MessageReader::new(body, max, peer.begin(), &admission);
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
            drop((reader, peer));
            assert_eq!(budget.used(), 0, "everything is released");
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
    fn a_trickle_gains_a_message_no_time() {
        let began = Instant::now();
        let after = |arrived| (deadline(began, arrived) - began).as_secs();
        assert_eq!((after(0), after(30), after(64 << 10), after(100 << 20)), (20, 20, 21, 1620));
    }

    #[test]
    fn a_stream_that_ends_in_a_message_is_an_error() {
        assert_eq!(read(&frame(b"hello")[..7], &[], 255), [Err(tonic::Code::Internal)]);
    }
}
