//! Streams of clients, as they go along: each has a cell that it writes to, and its entry here is removed with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use orderer_core::types::ChannelId;
use serde::Serialize;

use super::method::Method;
use crate::status::now_ms;

/// One stream's figures.
#[derive(Debug)]
struct StreamStats {
    kind: Method,
    peer: SocketAddr,
    started_ms: u64,
    bytes: AtomicU64,
    messages: AtomicU64,
    in_work: AtomicU64,
    position: AtomicU64,
    blocked_ms: AtomicU64,
    /// Since when the client does not take what is offered, in milliseconds since 1970; 0: it does.
    blocked_since_ms: AtomicU64,
    /// The stream's last request; a stream may request one channel after the other.
    request: Mutex<Option<DeliverRequest>>,
}

/// A request on a Deliver stream.
#[derive(Clone, Debug)]
pub struct DeliverRequest {
    /// The channel.
    pub channel: ChannelId,
    /// The MSP ID of the subscriber.
    pub msp_id: String,
    /// The subject of the certificate.
    pub subject: String,
    /// Whether only headers are sent.
    pub headers_only: bool,
}

/// All open streams.
#[derive(Debug, Default)]
pub struct StreamRegistry {
    open: Mutex<BTreeMap<u64, Arc<StreamStats>>>,
    next: AtomicU64,
}

/// A stream's entry among them, removed when it is dropped.
#[derive(Debug)]
pub struct StreamHandle {
    id: u64,
    cell: Arc<StreamStats>,
    of: Arc<StreamRegistry>,
}

/// A stream, for views.
#[derive(Clone, Debug, Serialize)]
pub struct StreamView {
    id: u64,
    kind: &'static str,
    /// Its address.
    pub peer: String,
    /// The channel whose blocks it delivers.
    pub channel: Option<String>,
    /// The MSP ID of the subscriber.
    pub msp_id: Option<String>,
    /// The subject of the certificate.
    pub subject: Option<String>,
    started_ms: u64,
    bytes: u64,
    messages: u64,
    content: Option<&'static str>,
    position: Option<u64>,
    height: Option<u64>,
    behind: Option<u64>,
    blocked_ms: u64,
    /// Duration for which the client has not read what is offered, in milliseconds.
    pub blocked_now_ms: Option<u64>,
    in_work: u64,
}

impl StreamRegistry {
    /// A new stream's place.
    pub fn open(self: &Arc<Self>, kind: Method, peer: SocketAddr) -> StreamHandle {
        let cell = Arc::new(StreamStats {
            kind,
            peer,
            started_ms: now_ms(),
            bytes: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            in_work: AtomicU64::new(0),
            position: AtomicU64::new(0),
            blocked_ms: AtomicU64::new(0),
            blocked_since_ms: AtomicU64::new(0),
            request: Mutex::new(None),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&cell));
        StreamHandle { id, cell, of: Arc::clone(self) }
    }

    fn cells(&self) -> Vec<(u64, Arc<StreamStats>)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(id, cell)| (*id, Arc::clone(cell))).collect()
    }

    /// Returns the number of open streams.
    pub fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns all streams, the slowest first. `height` returns the number of a channel's blocks.
    pub fn all(&self, height: impl Fn(&ChannelId) -> Option<u64>) -> Vec<StreamView> {
        self.shown(|_| true, height)
    }

    /// Returns the streams that deliver the blocks of a channel of this height, the slowest first.
    pub fn of_channel(&self, channel: &ChannelId, height: u64) -> Vec<StreamView> {
        let is_it = |request: Option<&DeliverRequest>| request.is_some_and(|request| request.channel == *channel);
        self.shown(is_it, |_| Some(height))
    }

    fn shown(
        &self,
        wanted: impl Fn(Option<&DeliverRequest>) -> bool,
        height: impl Fn(&ChannelId) -> Option<u64>,
    ) -> Vec<StreamView> {
        let cells = self.cells();
        let wanted = cells.iter().filter(|(_, cell)| wanted(cell.request().as_ref()));
        let mut shown: Vec<_> = wanted.map(|(id, cell)| cell.shown(*id, &height)).collect();
        // who blocks now, then who has blocked, then who is behind
        shown.sort_by_key(|s| std::cmp::Reverse((s.blocked_now_ms, s.blocked_ms, s.behind)));
        shown
    }
}

impl StreamStats {
    fn request(&self) -> std::sync::MutexGuard<'_, Option<DeliverRequest>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, id: u64, height: &impl Fn(&ChannelId) -> Option<u64>) -> StreamView {
        let request = self.request().clone();
        let height = request.as_ref().and_then(|request| height(&request.channel));
        let position = request.as_ref().map(|_| self.position.load(Ordering::Relaxed));
        let since = self.blocked_since_ms.load(Ordering::Relaxed);
        let behind = height.zip(position).map(|(height, position)| height.saturating_sub(position));
        // a client that is offered nothing is not slow
        let blocked_now_ms = (since > 0).then(|| now_ms().saturating_sub(since));
        let content = request.as_ref().map(|request| if request.headers_only { "headers" } else { "blocks" });
        StreamView {
            id,
            kind: match self.kind {
                Method::Broadcast => "broadcast",
                Method::Deliver => "deliver",
                Method::Step => "step",
            },
            peer: self.peer.to_string(),
            channel: request.as_ref().map(|request| request.channel.to_string()),
            msp_id: request.as_ref().map(|request| request.msp_id.clone()),
            subject: request.map(|request| request.subject),
            started_ms: self.started_ms,
            bytes: self.bytes.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
            content,
            position,
            height,
            behind,
            blocked_ms: self.blocked_ms.load(Ordering::Relaxed) + blocked_now_ms.unwrap_or(0),
            blocked_now_ms,
            in_work: self.in_work.load(Ordering::Relaxed),
        }
    }
}

impl StreamHandle {
    /// The stream asks for blocks from `first` on.
    pub fn set_request(&self, request: DeliverRequest, first: u64) {
        self.cell.position.store(first, Ordering::Relaxed);
        *self.cell.request() = Some(request);
    }

    /// Counts one more message of `bytes` bytes.
    pub fn count(&self, bytes: usize) {
        self.cell.messages.fetch_add(1, Ordering::Relaxed);
        self.cell.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Sets the number of envelopes that are not answered yet.
    pub fn set_in_flight(&self, envelopes: usize) {
        self.cell.in_work.store(envelopes as u64, Ordering::Relaxed);
    }

    /// A block is offered to the client, until [`block_sent`](Self::block_sent).
    pub fn block_offered(&self) {
        self.cell.blocked_since_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Records that the client has read what was offered; `next` comes after it.
    pub fn block_sent(&self, next: u64) {
        let since = self.cell.blocked_since_ms.swap(0, Ordering::Relaxed);
        if since > 0 {
            self.cell.blocked_ms.fetch_add(now_ms().saturating_sub(since), Ordering::Relaxed);
        }
        self.cell.position.store(next, Ordering::Relaxed);
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.of.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_shown_until_it_ends_and_the_slowest_is_first() {
        let streams = Arc::new(StreamRegistry::default());
        let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let channel = ChannelId::parse("app").unwrap();
        let request = |msp_id: &str| DeliverRequest {
            channel: channel.clone(),
            msp_id: msp_id.to_owned(),
            subject: String::new(),
            headers_only: false,
        };
        let (quick, slow) = (streams.open(Method::Deliver, peer), streams.open(Method::Deliver, peer));
        let _broadcast = streams.open(Method::Broadcast, peer);
        quick.set_request(request("Quick"), 0);
        slow.set_request(request("Slow"), 0);
        quick.count(100);
        quick.block_offered();
        quick.block_sent(1);
        slow.block_offered();
        let shown = streams.shown(|_| true, |_| Some(5));
        let msps: Vec<_> = shown.iter().map(|s| (s.msp_id.as_deref(), s.position, s.behind)).collect();
        assert_eq!(msps, [(Some("Slow"), Some(0), Some(5)), (Some("Quick"), Some(1), Some(4)), (None, None, None)]);
        drop(slow);
        assert_eq!(streams.cells().iter().filter(|(_, cell)| cell.kind == Method::Deliver).count(), 1);
    }
}
