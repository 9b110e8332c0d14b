//! One connection as admission sees it: its phase, the memory it holds, and whether it must close.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use super::budget::{Account, Budget, Charge};
use super::outgoing::OutgoingToPeer;
use super::{now_ms, site};

/// Bytes charged for an open connection beside those it receives: buffers of TLS and HTTP/2, tables, a task.
pub(super) const CONNECTION_BYTES: usize = 32 << 10;
/// Bytes charged for an open stream.
pub(super) const STREAM_BYTES: usize = 10 << 10;

/// How far a connection has proven itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Nothing is known of the client: TCP, or a TLS handshake in progress.
    Handshake,
    /// The client's protocol is not known yet.
    Greeting,
    /// The client speaks HTTP, and has proven nothing else.
    Stranger,
    /// The client has sent something signed by an identity that a channel knows.
    Known,
}

impl Phase {
    /// Returns the phase's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Greeting => "greeting",
            Self::Stranger => "stranger",
            Self::Known => "known",
        }
    }
}

/// A client's connection: its address, its phase, and what the node holds for it.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    account: Account,
    phase: AtomicU8,
    /// When the connection was accepted, in milliseconds.
    came: u64,
    /// When the connection entered its phase, in milliseconds.
    since: AtomicU64,
    /// When a request last began while no other was open, or last ended, in milliseconds.
    last_request: AtomicU64,
    streams: AtomicUsize,
    /// Bytes of DATA that have arrived and that no stream has consumed.
    held: AtomicUsize,
    outgoing: OutgoingToPeer,
    closing: AtomicBool,
    /// Since when the node reads nothing from the connection for lack of memory; 0 while it reads.
    blocked_since: AtomicU64,
    /// Total milliseconds of such waits.
    blocked_ms: AtomicU64,
    turns: Mutex<Vec<Weak<Turn>>>,
}

/// Since when a stream can do nothing before its client acts: sends the rest of a message, or accepts a response.
#[derive(Debug, Default)]
pub struct Turn {
    client_since: AtomicU64,
}

impl Turn {
    /// Records that the client has to act, since the given time in milliseconds.
    pub fn of_client(&self, since: u64) {
        self.client_since.store(since, Ordering::Relaxed);
    }

    /// Records that the client does not have to act.
    pub fn of_node(&self) {
        self.client_since.store(0, Ordering::Relaxed);
    }

    /// Moves the start on by the time in which the node read nothing, since the client could not act.
    fn put_off(&self, time: u64, now: u64) {
        let moved = |since: u64| (since > 0).then(|| since.saturating_add(time).min(now));
        let _ = self.client_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
    }

    fn since(&self) -> Option<u64> {
        Some(self.client_since.load(Ordering::Relaxed)).filter(|&since| since > 0)
    }
}

impl Peer {
    /// Creates a peer for a connection that has just been accepted, and charges its cost.
    pub fn new(address: SocketAddr, budget: &Budget) -> Self {
        let account = budget.account(address.ip());
        account.charge(CONNECTION_BYTES);
        Self {
            address,
            account,
            phase: AtomicU8::new(Phase::Handshake as u8),
            came: now_ms(),
            since: AtomicU64::new(now_ms()),
            last_request: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            outgoing: OutgoingToPeer::default(),
            closing: AtomicBool::new(false),
            blocked_since: AtomicU64::new(0),
            blocked_ms: AtomicU64::new(0),
            turns: Mutex::default(),
        }
    }

    /// Returns the client's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the key of the address whose limits the connection shares.
    pub(crate) fn site(&self) -> IpAddr {
        site(self.address.ip())
    }

    /// Returns the connection's part of the budget.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Returns what is on its way to the client.
    pub(super) fn outgoing(&self) -> &OutgoingToPeer {
        &self.outgoing
    }

    /// Returns the bytes of blocks that are on their way to the client.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Returns the connection's phase.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Handshake,
            1 => Phase::Greeting,
            2 => Phase::Stranger,
            _ => Phase::Known,
        }
    }

    /// Advances the phase. Never goes back.
    pub fn reaches(&self, phase: Phase) {
        if self.phase.load(Ordering::Relaxed) < phase as u8
            && self.phase.fetch_max(phase as u8, Ordering::Relaxed) < phase as u8
        {
            self.since.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Marks the connection as that of another orderer which a channel names as a consenter: it is known, and not
    /// subject to what others hold. What it may hold itself stays bounded.
    pub fn favour(&self) {
        self.reaches(Phase::Known);
        self.account.favour();
    }

    /// Returns whether the connection is favoured.
    pub fn is_favoured(&self) -> bool {
        self.account.is_favoured()
    }

    /// Returns when the connection was accepted, in milliseconds.
    pub(super) fn came(&self) -> u64 {
        self.came
    }

    /// Returns the milliseconds since the connection entered its phase.
    pub(super) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.since.load(Ordering::Relaxed))
    }

    /// Returns the milliseconds since a request last began while no other was open, or last ended.
    pub(super) fn last_request_age(&self, now: u64) -> u64 {
        now.saturating_sub(self.last_request.load(Ordering::Relaxed))
    }

    /// Returns the number of requests in progress.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Polls for capacity to read more. The time until then does not count against the client.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.room_is(self.account.poll_room(cx), now_ms())
    }

    pub(super) fn room_is(&self, room: Poll<()>, now: u64) -> Poll<()> {
        let since = self.blocked_since.load(Ordering::Relaxed);
        match room {
            Poll::Pending if since == 0 => {
                self.blocked_since.store(now.max(1), Ordering::Relaxed);
                self.account.begins_to_wait();
            }
            Poll::Ready(()) if since > 0 => {
                let time = now.saturating_sub(since);
                self.blocked_since.store(0, Ordering::Relaxed);
                self.account.waits_no_more();
                self.blocked_ms.fetch_add(time, Ordering::Relaxed);
                for turn in self.turns().iter().filter_map(Weak::upgrade) {
                    turn.put_off(time, now);
                }
            }
            _ => {}
        }
        room
    }

    /// Returns since when the node reads nothing from the connection for lack of memory.
    pub(super) fn blocked_since(&self) -> Option<u64> {
        Some(self.blocked_since.load(Ordering::Relaxed)).filter(|&since| since > 0)
    }

    /// Returns the total milliseconds in which the node read nothing for lack of memory, up to the last completed
    /// wait.
    pub fn blocked_ms(&self) -> u64 {
        self.blocked_ms.load(Ordering::Relaxed)
    }

    fn turns(&self) -> MutexGuard<'_, Vec<Weak<Turn>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges DATA that has arrived.
    pub fn arrived(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.account.charge(bytes);
    }

    /// Consumes bytes that have arrived for a stream; they stay charged until the result is dropped.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Charge {
        let before =
            self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
        let counted = before.unwrap_or_default().min(bytes);
        if counted < bytes {
            self.account.charge(bytes - counted);
        }
        Charge::taking_over(self, bytes)
    }

    /// Tells the connection to close. Its memory is released when its tasks have ended. Returns whether it was not
    /// closing before.
    pub(super) fn close(&self) -> bool {
        let is_new = !self.closing.swap(true, Ordering::Relaxed);
        self.account.wake();
        is_new
    }

    /// Returns whether the connection was told to close.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Polls whether the connection was told to close; otherwise the task is woken when it is.
    pub fn poll_closing(&self, cx: &Context<'_>) -> Poll<()> {
        self.account.register(cx);
        if self.is_closing() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Begins a request.
    pub fn begin(self: &Arc<Self>) -> StreamHold {
        if self.streams.fetch_add(1, Ordering::Relaxed) == 0 {
            self.last_request.store(now_ms(), Ordering::Relaxed);
        }
        self.account.charge(STREAM_BYTES);
        let turn = Arc::<Turn>::default();
        let mut turns = self.turns();
        if turns.len() == turns.capacity() {
            turns.retain(|turn| turn.strong_count() > 0);
        }
        turns.push(Arc::downgrade(&turn));
        drop(turns);
        StreamHold { peer: Arc::clone(self), turn }
    }

    /// Returns the bytes charged for messages and responses.
    pub(super) fn holds(&self) -> usize {
        self.account.used().saturating_sub(CONNECTION_BYTES + self.streams() * STREAM_BYTES)
    }

    /// Returns the earliest time since when one of its streams waits for the client, if one does.
    pub(super) fn owes_since(&self) -> Option<u64> {
        self.turns().iter().filter_map(|turn| turn.upgrade()?.since()).min()
    }

    fn ended(&self) {
        self.last_request.store(now_ms(), Ordering::Relaxed);
        self.account.release(STREAM_BYTES);
        if self.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            // what came for streams that had ended is dropped with the last of them
            self.account.release(self.held.swap(0, Ordering::Relaxed));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.blocked_since().is_some() {
            self.account.waits_no_more();
        }
        self.account.release(CONNECTION_BYTES + self.held.load(Ordering::Relaxed));
    }
}

/// A request in progress; it ends when this is dropped.
#[derive(Debug)]
pub struct StreamHold {
    peer: Arc<Peer>,
    turn: Arc<Turn>,
}

impl StreamHold {
    /// Returns the request's connection.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Returns whether the request waits for its client.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }
}

impl Drop for StreamHold {
    fn drop(&mut self) {
        self.peer.ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_charged_until_who_took_it_is_done() {
        let budget = Budget::new(1 << 20);
        let peer = Arc::new(Peer::new(([10, 0, 0, 1], 7).into(), &budget));
        let stream = peer.begin();
        let fixed = budget.used();
        peer.arrived(1000);
        assert_eq!(budget.used(), fixed + 1000);
        let mut taken = peer.take(600);
        let part = taken.split(100);
        assert_eq!((taken.bytes(), budget.used()), (500, fixed + 1000));
        drop(part);
        assert_eq!(budget.used(), fixed + 900);
        drop(taken);
        assert_eq!(budget.used(), fixed + 400);
        // the rest came for a stream that is gone
        drop(stream);
        assert_eq!(budget.used(), CONNECTION_BYTES);
        drop(peer);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_was_not_seen_arriving_is_charged_when_it_is_taken() {
        let budget = Budget::new(1 << 20);
        let peer = Arc::new(Peer::new(([10, 0, 0, 1], 7).into(), &budget));
        peer.arrived(10);
        let taken = peer.take(30);
        assert_eq!(budget.used(), CONNECTION_BYTES + 30);
        drop(taken);
        assert_eq!(budget.used(), CONNECTION_BYTES);
    }

    #[test]
    fn the_time_in_which_the_node_reads_nothing_is_not_the_clients() {
        let budget = Budget::new(1 << 20);
        let peer = Arc::new(Peer::new(([10, 0, 0, 1], 7).into(), &budget));
        let stream = peer.begin();
        stream.turn().of_client(1_000);
        let since = Peer::owes_since;
        for now in [2_000, 2_500] {
            assert!(peer.room_is(Poll::Pending, now).is_pending());
            assert_eq!((peer.blocked_since(), budget.waiting()), (Some(2_000), 1));
        }
        assert_eq!(since(&peer), Some(1_000));
        assert!(peer.room_is(Poll::Ready(()), 5_000).is_ready());
        assert_eq!((peer.blocked_since(), budget.waiting()), (None, 0));
        assert_eq!((since(&peer), peer.blocked_ms()), (Some(4_000), 3_000), "three seconds were the node's");
        // one that began in the meantime began at the earliest now
        stream.turn().of_client(6_500);
        assert!(peer.room_is(Poll::Pending, 6_000).is_pending());
        assert!(peer.room_is(Poll::Ready(()), 7_000).is_ready());
        assert_eq!(since(&peer), Some(7_000));
        stream.turn().of_node();
        assert!(peer.room_is(Poll::Pending, 7_000).is_pending());
        assert!(peer.room_is(Poll::Ready(()), 9_000).is_ready());
        assert_eq!(since(&peer), None);
    }

    #[test]
    fn a_phase_is_never_lost() {
        let peer = Peer::new(([10, 0, 0, 1], 7).into(), &Budget::new(1));
        peer.reaches(Phase::Known);
        peer.reaches(Phase::Stranger);
        assert_eq!(peer.phase(), Phase::Known);
    }
}
