//! What waits for one stream. It is the body of the stream's request: HTTP/2 takes from it when the peer reads.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Buf;
use http_body::Frame;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use super::api::SendError;
use super::figures::Figures;
use crate::wire::Pieces;

/// Small messages that wait together are given to HTTP/2 together, up to this size.
const TOGETHER_BYTES: usize = 32 << 10;

/// The room that a message has taken, in its queue and at its destination, until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    _queue: OwnedSemaphorePermit,
    _destination: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(queue: OwnedSemaphorePermit, destination: OwnedSemaphorePermit) -> Self {
        Self { _queue: queue, _destination: destination }
    }
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: Pieces,
    pub(super) room: Room,
    /// Told when the message is given to the connection, or is not going to be.
    pub(super) told: Option<oneshot::Sender<Result<(), SendError>>>,
    pub(super) since: Instant,
}

/// See the module's description.
pub(super) struct Queue {
    /// Which connection of the destination it is for.
    pub(super) generation: u64,
    figures: Arc<Figures>,
    state: Mutex<State>,
    /// Told once when it takes no more.
    closed: Notify,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    waker: Option<Waker>,
    /// Takes no more: what is here is sent, then the stream ends.
    is_finished: bool,
    /// It has no stream any more, and that was not wanted here.
    is_cut: bool,
    /// Takes no more, and nothing is sent: why.
    aborted: Option<SendError>,
}

/// What became of a message that was put into a queue.
pub(super) enum Put {
    /// It waits there.
    Taken,
    /// The queue takes no more.
    Closed(Item),
}

impl Queue {
    pub(super) fn new(generation: u64, figures: Arc<Figures>) -> Arc<Self> {
        Arc::new(Self { generation, figures, state: Mutex::default(), closed: Notify::new() })
    }

    /// Nothing panics while it is locked, nor is anything waited for.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, item: Item) -> Put {
        let waker = {
            let mut state = self.state();
            if state.is_finished || state.aborted.is_some() {
                return Put::Closed(item);
            }
            state.items.push_back(item);
            self.figures.has_length(state.items.len());
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Put::Taken
    }

    /// The stream is gone.
    fn cut(&self) {
        let mut state = self.state();
        state.is_cut = !state.is_finished && state.aborted.is_none();
        state.is_finished = true;
        drop(state);
        self.closed.notify_one();
    }

    /// Whether all that was put here was sent before the stream ended, and it was this side that let it end.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state();
        state.is_finished && !state.is_cut && state.aborted.is_none() && state.items.is_empty()
    }

    /// Sends what is here, then ends the stream.
    pub(super) fn finish(&self) {
        let waker = {
            let mut state = self.state();
            state.is_finished = true;
            state.waker.take()
        };
        self.closed.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the stream for this reason; what waits is dropped. Says how many messages that were.
    pub(super) fn abort(&self, why: &SendError) -> usize {
        let (items, waker) = {
            let mut state = self.state();
            state.aborted.get_or_insert_with(|| why.clone());
            (std::mem::take(&mut state.items), state.waker.take())
        };
        self.closed.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
        let dropped = items.len();
        self.figures.has_length(0);
        self.figures.dropped(dropped);
        for told in items.into_iter().filter_map(|item| item.told) {
            // who asked may not wait any more
            let _ = told.send(Err(why.clone()));
        }
        dropped
    }

    /// Ready when it takes no more. For one waiter, once.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Whether it takes no more.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.state();
        state.is_finished || state.aborted.is_some()
    }

    /// Why it was aborted, if it was.
    pub(super) fn why_aborted(&self) -> Option<SendError> {
        self.state().aborted.clone()
    }

    /// Since when its first message waits.
    pub(super) fn first_since(&self) -> Option<Instant> {
        self.state().items.front().map(|item| item.since)
    }
}

/// The body of a stream's request.
pub(super) struct StepBody {
    queue: Arc<Queue>,
    /// Told when something was given to the connection.
    progress: Arc<Progress>,
}

impl StepBody {
    pub(super) fn new(queue: Arc<Queue>, progress: Arc<Progress>) -> Self {
        Self { queue, progress }
    }
}

/// When a connection last took a message from any of its streams.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Instant>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn note(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages that were given to HTTP/2. They keep their room until the socket has taken them.
pub(super) struct Leaving {
    pieces: Pieces,
    _room: Vec<Room>,
}

impl Buf for Leaving {
    fn remaining(&self) -> usize {
        self.pieces.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.pieces.advance(count);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.pieces.chunks_vectored(slices)
    }
}

impl http_body::Body for StepBody {
    type Data = Leaving;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Leaving>, Infallible>>> {
        let (mut pieces, mut room, mut told) = (Pieces::default(), Vec::new(), Vec::new());
        let (mut waited, mut bytes, mut count) = (Duration::ZERO, 0, 0);
        let now = Instant::now();
        {
            let mut state = self.queue.state();
            while let Some(next) = state.items.front() {
                let size = next.message.remaining();
                if count > 0 && bytes + size > TOGETHER_BYTES {
                    break;
                }
                let Some(item) = state.items.pop_front() else { break };
                let wait = now.saturating_duration_since(item.since);
                self.queue.figures.waited(wait);
                waited += wait;
                (bytes, count) = (bytes + size, count + 1);
                pieces.append(item.message);
                room.push(item.room);
                told.extend(item.told);
            }
            if count == 0 {
                if state.is_finished || state.aborted.is_some() {
                    return Poll::Ready(None);
                }
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.queue.figures.has_length(state.items.len());
        }
        self.progress.note(now);
        self.queue.figures.sent(count, bytes, waited);
        for told in told {
            // who asked may not wait any more
            let _ = told.send(Ok(()));
        }
        Poll::Ready(Some(Ok(Frame::data(Leaving { pieces, _room: room }))))
    }
}

impl Drop for StepBody {
    /// Nothing more is going to be sent. Who runs the stream learns why, and aborts the queue with the reason.
    fn drop(&mut self) {
        self.queue.cut();
    }
}
