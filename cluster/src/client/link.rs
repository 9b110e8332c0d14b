//! The link to one peer of one channel: two queues, and the streams that they are sent on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::api::{ConnectionState, LastError, PeerEvents, PeerStatus, SendError, Urgency};
use super::connection_state::ConnectionObserver;
use super::destination::Destination;
use super::queue::{Item, Put, Queue, Room, StepBody};
use super::statistics::QueueStatistics;
use super::stream::{self, Ended};
use crate::membership::{ConsenterId, PinnedKey};
use crate::settings::ClientSettings;
use crate::wire::Pieces;

const LOG: &str = "orderer.common.cluster";
/// Estimated memory of a message beyond its own bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 512;

/// Indices of the kinds of requests.
const CONSENSUS: usize = 0;
const SUBMIT: usize = 1;
/// Fabric's names of the kinds.
const KINDS: [&str; 2] = ["consensus", "transaction"];

/// The peer that a link leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkPeer {
    pub(super) id: ConsenterId,
    pub(super) endpoint: String,
    /// The peer's server key, or why there is none.
    pub(super) key: Result<PinnedKey, String>,
}

/// The link to one peer of one channel. Dropping it lets its streams end.
pub(super) struct Link {
    whom: LinkPeer,
    channel: Arc<str>,
    /// `None` if the peer cannot be connected to.
    destination: Option<Arc<Destination>>,
    lanes: [Lane; 2],
    last_error: Mutex<Option<LastError>>,
    events: Arc<dyn PeerEvents>,
    settings: Arc<ClientSettings>,
    runtime: Handle,
    own: Weak<Self>,
}

/// The queue for one kind of requests, whichever stream it is sent on.
struct Lane {
    /// Permits in bytes; a small message takes at least its share of the maximum number of messages.
    room: Arc<Semaphore>,
    /// Locked by the message that waits for permits, so that messages wait in order.
    turn: tokio::sync::Mutex<()>,
    /// The queue of the open stream.
    queue: Mutex<Option<Arc<Queue>>>,
    figures: Arc<QueueStatistics>,
}

impl Lane {
    fn new(settings: &ClientSettings) -> Self {
        Self {
            room: Arc::new(Semaphore::new(capacity(settings))),
            turn: tokio::sync::Mutex::default(),
            queue: Mutex::default(),
            figures: Arc::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Option<Arc<Queue>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the maximum number of bytes in a queue.
fn capacity(settings: &ClientSettings) -> usize {
    settings.queue_bytes.clamp(settings.queue_messages.max(1), u32::MAX as usize)
}

/// Returns the permits that a message takes of its queue and of its destination. One that is too large takes all.
fn cost(settings: &ClientSettings, bytes: usize) -> (u32, u32) {
    let capacity = capacity(settings);
    let least = capacity / settings.queue_messages.max(1);
    let all = settings.destination_bytes.clamp(1, u32::MAX as usize);
    let part = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    (part(bytes.clamp(least, capacity)), part(bytes.saturating_add(MESSAGE_OVERHEAD_BYTES).min(all)))
}

impl Link {
    pub(super) fn new(
        whom: LinkPeer,
        channel: &Arc<str>,
        destination: Option<Arc<Destination>>,
        events: &Arc<dyn PeerEvents>,
        settings: &Arc<ClientSettings>,
        runtime: &Handle,
    ) -> Arc<Self> {
        let link = Arc::new_cyclic(|own| Self {
            whom,
            channel: Arc::clone(channel),
            destination,
            lanes: [Lane::new(settings), Lane::new(settings)],
            last_error: Mutex::default(),
            events: Arc::clone(events),
            settings: Arc::clone(settings),
            runtime: runtime.clone(),
            own: Weak::clone(own),
        });
        if let Some(destination) = &link.destination {
            let watcher: Weak<dyn ConnectionObserver> = Weak::clone(&link.own) as Weak<dyn ConnectionObserver>;
            destination.watch(&watcher);
        }
        link
    }

    pub(super) fn whom(&self) -> &LinkPeer {
        &self.whom
    }

    /// Sends a message of the consensus protocol, as [`Peers::consensus`](super::Peers::consensus).
    pub(super) fn consensus(&self, payload: Bytes, metadata: Bytes, urgency: Urgency) -> Result<(), SendError> {
        let message = Pieces::consensus(&self.channel, payload, metadata);
        let sent = self.send_now(message, urgency);
        if sent.is_err() {
            self.lanes[CONSENSUS].figures.dropped(1);
        }
        sent
    }

    fn send_now(&self, message: Pieces, urgency: Urgency) -> Result<(), SendError> {
        let (destination, _) = self.destination()?;
        self.relieve(CONSENSUS);
        let (queue, whole) = cost(&self.settings, bytes::Buf::remaining(&message));
        let lane = &self.lanes[CONSENSUS];
        let overflow = |_| SendError::Overflow;
        let room = Room::new(
            Arc::clone(&lane.room).try_acquire_many_owned(queue).map_err(overflow)?,
            Arc::clone(destination.room(CONSENSUS)).try_acquire_many_owned(whole).map_err(overflow)?,
        );
        self.put(CONSENSUS, Item { message, room, told: None, since: Instant::now() }, urgency)
    }

    /// Forwards a transaction, as [`Peers::submit`](super::Peers::submit).
    pub(super) fn submit(
        self: Arc<Self>,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), SendError>> {
        Box::pin(async move {
            let message = Pieces::submit(&self.channel, last_validation_seq, envelope);
            let mut is_queued = false;
            let sent = timeout(self.settings.rpc_timeout, self.send_in_turn(message, &mut is_queued)).await;
            let sent = sent.unwrap_or(Err(SendError::Timeout));
            if sent.is_err() {
                self.relieve(SUBMIT);
                // a message that was put into a queue is counted there
                self.lanes[SUBMIT].figures.dropped(usize::from(!is_queued));
            }
            sent
        })
    }

    async fn send_in_turn(&self, message: Pieces, is_queued: &mut bool) -> Result<(), SendError> {
        self.destination()?;
        self.relieve(SUBMIT);
        let lane = &self.lanes[SUBMIT];
        let turn = lane.turn.lock().await;
        let (destination, _) = self.destination()?;
        let (queue, whole) = cost(&self.settings, bytes::Buf::remaining(&message));
        // semaphores are never closed
        let closed = |_| SendError::Overflow;
        let queue = Arc::clone(&lane.room).acquire_many_owned(queue).await.map_err(closed)?;
        let whole = Arc::clone(destination.room(SUBMIT)).acquire_many_owned(whole).await.map_err(closed)?;
        let (tell, told) = oneshot::channel();
        let room = Room::new(queue, whole);
        self.put(SUBMIT, Item { message, room, told: Some(tell), since: Instant::now() }, Urgency::Now)?;
        *is_queued = true;
        drop(turn);
        told.await.unwrap_or_else(|_| Err(SendError::Aborted("the stream ended".to_owned())))
    }

    /// Returns the destination, and the generation of its current connection.
    fn destination(&self) -> Result<(&Destination, u64), SendError> {
        let failed =
            |reason: String| SendError::NotConnected { id: self.whom.id, endpoint: self.whom.endpoint.clone(), reason };
        let destination = match (&self.destination, &self.whom.key) {
            (Some(destination), _) => destination,
            (None, Err(why)) => return Err(failed(why.clone())),
            (None, Ok(_)) => return Err(failed("communication has been shut down".to_owned())),
        };
        let generation = destination.generation(&self.channel).map_err(failed)?;
        Ok((destination, generation))
    }

    /// Puts a message into the queue of the open stream, or of a new one.
    fn put(&self, kind: usize, mut item: Item, urgency: Urgency) -> Result<(), SendError> {
        let lane = &self.lanes[kind];
        let mut current = lane.queue();
        // repeated if the connection was lost or reopened meanwhile
        for _ in 0..3 {
            let (destination, generation) = self.destination()?;
            if let Some(queue) = current.as_ref().filter(|queue| queue.generation == generation) {
                match queue.put(item, urgency) {
                    Put::Taken => return Ok(()),
                    Put::Closed(back) => item = back,
                }
            }
            if let Some(before) = current.take() {
                before.finish();
            }
            *current = self.open(kind, destination, generation);
        }
        Err(SendError::Aborted("its streams end at once".to_owned()))
    }

    /// Opens a stream on the connection of this generation, if that still exists.
    fn open(&self, kind: usize, destination: &Destination, generation: u64) -> Option<Arc<Queue>> {
        let opening = destination.opening(generation)?;
        let queue = Queue::new(generation, Arc::clone(&self.lanes[kind].figures), opening.gathering);
        let body = StepBody::new(Arc::clone(&queue), opening.progress);
        let (link, endpoint) = (Weak::clone(&self.own), self.whom.endpoint.clone());
        let (of_stream, grace) = (Arc::clone(&queue), self.settings.rpc_timeout);
        tracing::debug!(
            target: LOG,
            "Created new stream to {endpoint} for channel {} and {}s",
            self.channel,
            KINDS[kind]
        );
        self.runtime.spawn(async move {
            let ended = stream::run(opening.sender, body, of_stream, &endpoint, grace).await;
            if let Some(link) = link.upgrade() {
                link.stream_ended(kind, ended);
            }
        });
        Some(queue)
    }

    fn stream_ended(&self, kind: usize, ended: Ended) {
        let (why, dropped, is_unauthorized) = match ended {
            Ended::Aborted(why, dropped) => (why, dropped, false),
            Ended::Unauthorized(why, dropped) => (why, dropped, true),
            Ended::Finished => {
                tracing::debug!(target: LOG, "Stream to {} for channel {} has ended", self.whom.endpoint, self.channel);
                return;
            }
        };
        tracing::debug!(
            target: LOG,
            "Stream to {} for channel {} and {}s is aborted, {dropped} messages are dropped: {why}",
            self.whom.endpoint,
            self.channel,
            KINDS[kind]
        );
        self.failed(why.to_string());
        self.events.unreachable(self.whom.id);
        if is_unauthorized {
            self.events.estranged(self.whom.id);
        }
    }

    fn failed(&self, text: String) {
        let error = LastError { at: SystemTime::now(), text };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Ends a stream that has accepted nothing for too long, and also its connection if that has accepted nothing from
    /// any stream meanwhile.
    fn relieve(&self, kind: usize) {
        let queue = self.lanes[kind].queue().clone();
        let Some((queue, since)) = queue.and_then(|queue| queue.first_since().map(|since| (queue, since))) else {
            return;
        };
        if since.elapsed() < self.settings.rpc_timeout {
            return;
        }
        let limit = self.settings.rpc_timeout;
        tracing::warn!(
            target: LOG,
            "Stream to {} for channel {} was forcibly terminated because timeout ({limit:?}) expired",
            self.whom.endpoint,
            self.channel
        );
        queue.abort(&SendError::Timeout);
        if let Some(destination) = &self.destination
            && destination.last_progress(queue.generation).is_some_and(|last| last.elapsed() >= limit)
        {
            destination.reset(queue.generation, "it takes nothing that is sent");
        }
    }

    pub(super) fn status(&self) -> PeerStatus {
        let own = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (connection, of_connection) = match &self.destination {
            Some(destination) => {
                let status = destination.status();
                (status.connection, status.last_error)
            }
            None => match &self.whom.key {
                Ok(_) => (ConnectionState::Closed, None),
                Err(why) => {
                    (ConnectionState::Impossible, Some(LastError { at: SystemTime::UNIX_EPOCH, text: why.clone() }))
                }
            },
        };
        let last_error = [own, of_connection].into_iter().flatten().max_by_key(|error| error.at);
        let of_lane = |lane: &Lane| {
            let is_open = lane.queue().as_ref().is_some_and(|queue| !queue.is_closed());
            lane.figures.read(is_open, self.settings.queue_messages)
        };
        PeerStatus {
            id: self.whom.id,
            endpoint: self.whom.endpoint.clone(),
            connection,
            last_error,
            consensus: of_lane(&self.lanes[CONSENSUS]),
            submit: of_lane(&self.lanes[SUBMIT]),
        }
    }
}

impl ConnectionObserver for Link {
    fn connected(&self) {
        self.events.connected(self.whom.id);
    }

    fn renewed(&self) {
        let Ok((_, generation)) = self.destination() else { return };
        for lane in &self.lanes {
            let mut current = lane.queue();
            if current.as_ref().is_some_and(|queue| queue.generation != generation)
                && let Some(before) = current.take()
            {
                before.finish();
            }
        }
    }

    fn lost(&self) {
        self.events.unreachable(self.whom.id);
    }

    fn has_other_key(&self) {
        self.events.estranged(self.whom.id);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for lane in &self.lanes {
            if let Some(queue) = lane.queue().take() {
                queue.finish();
            }
        }
    }
}
