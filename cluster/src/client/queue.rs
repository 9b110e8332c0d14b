//! The queue of one stream. It is the body of the stream's request: HTTP/2 polls it when the peer reads.

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

use super::api::{SendError, Urgency};
use super::gathering::Gathering;
use super::statistics::QueueStatistics;
use crate::wire::Pieces;

/// Maximum size in bytes of the small messages that are given to HTTP/2 together.
const TOGETHER_BYTES: usize = 32 << 10;

/// The permits of a message, in its queue and at its destination, until this is dropped.
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

/// A queued message.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: Pieces,
    pub(super) room: Room,
    /// Notified when the message is given to the connection, or is dropped.
    pub(super) told: Option<oneshot::Sender<Result<(), SendError>>>,
    pub(super) since: Instant,
}

/// The queued messages of one stream.
pub(super) struct Queue {
    /// The generation of the destination's connection that the stream is on.
    pub(super) generation: u64,
    figures: Arc<QueueStatistics>,
    /// Of the connection.
    gathering: Arc<Gathering>,
    state: Mutex<State>,
    /// Notified once when the queue is closed.
    closed: Notify,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    waker: Option<Waker>,
    /// Whether the waker will be woken together with those of other streams.
    is_gathered: bool,
    /// Whether the queue is closed: queued messages are sent, then the stream ends.
    is_finished: bool,
    /// Whether the stream ended although this side did not end it.
    is_cut: bool,
    /// The reason for which the queue was aborted: it is closed, and nothing more is sent.
    aborted: Option<SendError>,
}

/// Result of putting a message into a queue.
pub(super) enum Put {
    /// The message is queued.
    Taken,
    /// The queue is closed.
    Closed(Item),
}

impl Queue {
    pub(super) fn new(generation: u64, figures: Arc<QueueStatistics>, gathering: Arc<Gathering>) -> Arc<Self> {
        Arc::new(Self { generation, figures, gathering, state: Mutex::default(), closed: Notify::new() })
    }

    /// Locks the state. No code panics or waits while it is locked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, item: Item, urgency: Urgency) -> Put {
        let waker = {
            let mut state = self.state();
            if state.is_finished || state.aborted.is_some() {
                return Put::Closed(item);
            }
            state.items.push_back(item);
            self.figures.has_length(state.items.len());
            match urgency {
                Urgency::Now => state.waker.take(),
                Urgency::Soon if std::mem::replace(&mut state.is_gathered, true) => None,
                // kept, because a message that is sent at once takes along those before it
                Urgency::Soon => state.waker.clone(),
            }
        };
        match (waker, urgency) {
            (Some(waker), Urgency::Now) => waker.wake(),
            (Some(waker), Urgency::Soon) => self.gathering.add(waker),
            (None, _) => {}
        }
        Put::Taken
    }

    /// Marks the stream as ended.
    fn cut(&self) {
        let mut state = self.state();
        state.is_cut = !state.is_finished && state.aborted.is_none();
        state.is_finished = true;
        drop(state);
        self.closed.notify_one();
    }

    /// Returns whether all messages were sent before the stream ended, and this side ended it.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state();
        state.is_finished && !state.is_cut && state.aborted.is_none() && state.items.is_empty()
    }

    /// Closes the queue: queued messages are sent, then the stream ends.
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

    /// Ends the stream for this reason and drops queued messages. Returns the number of dropped messages.
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
            // the requester may not wait any more
            let _ = told.send(Err(why.clone()));
        }
        dropped
    }

    /// Waits until the queue is closed. For one waiter, once.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Returns whether the queue is closed.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.state();
        state.is_finished || state.aborted.is_some()
    }

    /// Returns the reason for which the queue was aborted, if it was.
    pub(super) fn why_aborted(&self) -> Option<SendError> {
        self.state().aborted.clone()
    }

    /// Returns since when the first message has been queued.
    pub(super) fn first_since(&self) -> Option<Instant> {
        self.state().items.front().map(|item| item.since)
    }
}

/// The body of a stream's request.
pub(super) struct StepBody {
    queue: Arc<Queue>,
    /// Updated when a message was given to the connection.
    progress: Arc<Progress>,
}

impl StepBody {
    pub(super) fn new(queue: Arc<Queue>, progress: Arc<Progress>) -> Self {
        Self { queue, progress }
    }
}

/// The time when a connection last accepted a message from any of its streams.
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

/// Messages that were given to HTTP/2. They keep their permits until the socket has accepted them.
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
                state.is_gathered = false;
                return Poll::Pending;
            }
            self.queue.figures.has_length(state.items.len());
        }
        self.progress.note(now);
        self.queue.figures.sent(count, bytes, waited);
        for told in told {
            // the requester may not wait any more
            let _ = told.send(Ok(()));
        }
        Poll::Ready(Some(Ok(Frame::data(Leaving { pieces, _room: room }))))
    }
}

impl Drop for StepBody {
    /// Closes the queue, since nothing more will be sent. The task of the stream learns the reason, and aborts the
    /// queue with it.
    fn drop(&mut self) {
        self.queue.cut();
    }
}
