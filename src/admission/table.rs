//! The connections of one listener: which are admitted, and which are closed when the node is full.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::budget::Budget;
use super::now_ms;
use super::peer::{CONNECTION_BYTES, Peer, Phase};

/// Divisor of the maximum: a full table closes this part of its connections at once, so that the next few find a
/// place without a search.
const CLOSE_PART: usize = 64;
/// Divisor of the maximum: the connections that may be open beyond it until those that were closed have gone.
const SURPLUS_PART: usize = 8;
/// Least number of such connections: a small table may close all of its own at once, and they need time for it.
const SURPLUS_LEAST: usize = 256;
/// Maximum time that a new connection waits for closing ones to go.
const LEAVING_LIMIT: Duration = Duration::from_millis(500);
/// Interval at which the waiting connection checks again.
const LEAVING_LOOK: Duration = Duration::from_millis(50);
/// Milliseconds that a connection has before it may have to make place: the node may not have read yet what it has
/// sent.
const GRACE_MS: u64 = 250;
/// Milliseconds that an operator's request may last before it may have to make place for another.
const REQUEST_PATIENCE_MS: u64 = 10_000;
/// Milliseconds after which a client that owes the rest of a message, or has not accepted a response, is closed if
/// others wait for memory.
const DEBT_PATIENCE_MS: u64 = 5_000;
/// Milliseconds of waiting for memory after which strangers that only hold connections and streams are closed as
/// well.
const STARVED_MS: u64 = 1_000;
/// Milliseconds of waiting after which connections are taken to wait for each other's memory: work in flight for
/// them, large blocks on their way to disk included, ends before.
const BLOCKED_PATIENCE_MS: u64 = 15_000;
/// Minimum number of bytes that such a client must hold for its connection to be closed.
const DEBT_LEAST_BYTES: usize = 4 << 10;

/// The kind of a listener's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Clients of the ordering service. A known client stays.
    Clients,
    /// Operators and their tools. A connection with a request in progress stays for a while.
    Operators,
}

impl Kind {
    /// Returns the kind's name in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Operators => "operators",
        }
    }
}

/// The connections of one listener. Admits a new connection, or rejects it, without waiting for any client.
#[derive(Debug)]
pub struct ConnectionTable {
    kind: Kind,
    max: usize,
    grace_ms: u64,
    budget: Budget,
    places: Mutex<TableState>,
    /// Notified when a connection has gone.
    gone: Notify,
    next: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
}

#[derive(Debug, Default)]
struct TableState {
    peers: HashMap<u64, Arc<Peer>>,
    /// Number of these that were told to close.
    leaving: usize,
}

impl TableState {
    /// Tells a connection to close. Returns whether it was not closing before.
    fn close(&mut self, peer: &Peer) -> bool {
        // a connection that has left is marked as closing, and is not counted again
        let is_new = peer.close();
        self.leaving += usize::from(is_new);
        is_new
    }
}

/// Reason for which there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TableFull {
    /// No other connection may be closed for it.
    Taken,
    /// Many were told to close and have not gone yet, or have just come.
    Leaving,
}

/// A snapshot of a connection and what is held for it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionSnapshot {
    /// The kind of client.
    pub kind: Kind,
    /// The client's address.
    pub address: SocketAddr,
    /// The connection's phase.
    pub phase: Phase,
    /// Number of requests in progress.
    pub streams: usize,
    /// Bytes charged to the memory for clients.
    pub incoming_bytes: usize,
    /// Bytes of blocks and responses on their way to the client.
    pub outgoing_bytes: usize,
}

/// A connection's place in the table, released when dropped.
#[derive(Debug)]
pub struct Place {
    table: Arc<ConnectionTable>,
    id: u64,
    peer: Arc<Peer>,
}

impl Place {
    /// Returns the connection.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.table.places();
        places.peers.remove(&self.id);
        if !self.peer.close() {
            places.leaving = places.leaving.saturating_sub(1);
        }
        drop(places);
        self.table.gone.notify_one();
    }
}

/// A connection that holds memory and makes no progress.
#[derive(Debug)]
struct StalledConnection {
    /// Bytes held for messages and responses.
    holds: usize,
    /// Milliseconds for which the client has owed the rest of a message, or not accepted a response. `None` if it waits
    /// for memory.
    idle_ms: Option<u64>,
    peer: Arc<Peer>,
}

/// A connection that may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EvictionCandidate {
    id: u64,
    address: IpAddr,
    /// Milliseconds since the connection entered its phase, or since its last request if that is less.
    age: u64,
}

/// Connections of one address that have open streams.
#[derive(Debug, Default)]
struct WithStreams {
    /// Total number of their streams.
    sum: usize,
    /// Number of streams, age in milliseconds and ID of each connection.
    all: Vec<(usize, u64, u64)>,
}

impl ConnectionTable {
    /// Creates a table for at most `max` connections.
    pub fn new(kind: Kind, max: usize, budget: Budget) -> Self {
        Self {
            kind,
            max,
            grace_ms: GRACE_MS,
            budget,
            places: Mutex::default(),
            gone: Notify::new(),
            next: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        }
    }

    fn places(&self) -> MutexGuard<'_, TableState> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for a new connection; `None` if it must be rejected. If many connections were told to close
    /// and have not gone yet, or have only just come, waits for a moment until one may be closed or has gone, which
    /// depends on no client.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time.
    pub async fn enter(self: &Arc<Self>, address: SocketAddr) -> Option<Place> {
        let until = tokio::time::Instant::now() + LEAVING_LIMIT;
        loop {
            let gone = self.gone.notified();
            match self.try_enter(address) {
                Ok(place) => return Some(place),
                Err(TableFull::Leaving) if tokio::time::Instant::now() < until => {
                    let _ = tokio::time::timeout(LEAVING_LOOK, gone).await;
                }
                Err(_) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            }
        }
    }

    fn try_enter(self: &Arc<Self>, address: SocketAddr) -> Result<Place, TableFull> {
        let mut places = self.places();
        if places.peers.len() >= self.max {
            let any_may_go = self.make_room(&mut places);
            if places.leaving == 0 {
                return Err(if any_may_go { TableFull::Leaving } else { TableFull::Taken });
            }
            if places.peers.len() > self.max + (self.max / SURPLUS_PART).max(SURPLUS_LEAST) {
                return Err(TableFull::Leaving);
            }
        }
        let peer = Arc::new(Peer::new(address, &self.budget));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        places.peers.insert(id, Arc::clone(&peer));
        drop(places);
        Ok(Place { table: Arc::clone(self), id, peer })
    }

    /// Closes some of the connections that have the least right to their places, unless enough are closing already.
    /// Returns whether there are any, now or in a moment.
    fn make_room(&self, places: &mut TableState) -> bool {
        if places.peers.len() - places.leaving < self.max {
            return true;
        }
        let now = now_ms();
        let staying = places.peers.iter().filter(|(_, peer)| !peer.is_closing());
        let may_go: Vec<(EvictionCandidate, bool)> = staying
            .filter_map(|(id, peer)| {
                Some((self.candidate(*id, peer, now)?, now.saturating_sub(peer.came()) >= self.grace_ms))
            })
            .collect();
        let any_may_go = !may_go.is_empty();
        let candidates =
            may_go.into_iter().filter(|(_, had_its_time)| *had_its_time).map(|(candidate, _)| candidate).collect();
        let victims = choose(candidates, self.max / CLOSE_PART + 1);
        let victims: Vec<Arc<Peer>> = victims.iter().filter_map(|id| places.peers.get(id).cloned()).collect();
        let closed = victims.iter().filter(|peer| places.close(peer)).count();
        self.closed.fetch_add(closed as u64, Ordering::Relaxed);
        any_may_go
    }

    /// Returns the connection as a candidate for closing, if it is one. A stranger's age counts, not what it has sent
    /// or requested: that is cheap, and the newest connection must not be closed for having sent less so far.
    fn candidate(&self, id: u64, peer: &Peer, now: u64) -> Option<EvictionCandidate> {
        let (phase, age) = (peer.phase(), peer.age(now));
        let (may_go, age) = match self.kind {
            Kind::Clients => (phase < Phase::Known, age),
            Kind::Operators => {
                let age = age.min(peer.last_request_age(now));
                (peer.streams() == 0 || age >= REQUEST_PATIENCE_MS, age)
            }
        };
        may_go.then(|| EvictionCandidate { id, address: peer.site(), age })
    }

    /// Closes connections whose protocol is not known after `limit`; with a limit of zero all of them.
    pub fn close_silent(&self, limit: Duration) {
        let (now, limit) = (now_ms(), u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let mut places = self.places();
        let is_silent = |peer: &&Arc<Peer>| peer.phase() <= Phase::Greeting && peer.age(now) >= limit;
        let silent: Vec<Arc<Peer>> = places.peers.values().filter(is_silent).cloned().collect();
        for peer in silent {
            places.close(&peer);
        }
    }

    /// Returns whether a connection has waited for memory for a while.
    pub(super) fn is_starved(&self) -> bool {
        let now = now_ms();
        let waits =
            |peer: &Arc<Peer>| peer.blocked_since().is_some_and(|since| now.saturating_sub(since) >= STARVED_MS);
        self.places().peers.values().any(waits)
    }

    /// Closes strangers that wait for nothing, for the cost of an open connection and its streams, until `bytes` will
    /// be released. One that has just come has its time to send something first. Returns the number of closed connections.
    pub(super) fn close_strangers(&self, bytes: usize) -> usize {
        let (now, mut places) = (now_ms(), self.places());
        let has_had_its_time = |peer: &Peer| now.saturating_sub(peer.came()) >= self.grace_ms;
        let waits_for_nothing = |peer: &Peer| !peer.is_closing() && peer.blocked_since().is_none();
        let idle = places.peers.iter().filter(|(_, peer)| has_had_its_time(peer) && waits_for_nothing(peer));
        let candidates: Vec<EvictionCandidate> = idle.filter_map(|(id, peer)| self.candidate(*id, peer, now)).collect();
        let victims = choose(candidates, bytes / CONNECTION_BYTES + 1);
        let victims: Vec<Arc<Peer>> = victims.iter().filter_map(|id| places.peers.get(id).cloned()).collect();
        let (mut released, mut closed) = (0, 0);
        for peer in victims {
            if released >= bytes {
                break;
            }
            released += peer.account().used();
            closed += usize::from(places.close(&peer));
        }
        self.closed.fetch_add(closed as u64, Ordering::Relaxed);
        closed
    }

    /// Closes connections that hold memory and make no progress, until `bytes` will be released. Returns the number
    /// of closed connections.
    pub fn close_debtors(&self, bytes: usize) -> usize {
        let (mut released, mut closed) = (0, 0);
        for StalledConnection { holds, idle_ms, peer } in self.debtors(now_ms()) {
            if released >= bytes {
                break;
            }
            self.places().close(&peer);
            let why = if idle_ms.is_some() { "its client does not go on" } else { "it waits for more, and holds most" };
            tracing::warn!(target: "orderer.connection", peer = %peer.address(), bytes = holds, idle_ms,
                "connection closed, memory for clients is short: {why}");
            released += holds;
            closed += 1;
        }
        self.closed.fetch_add(closed as u64, Ordering::Relaxed);
        closed
    }

    /// Closes connections until `count` streams will end: repeatedly, of the address with the most streams, the
    /// connection with the most, the oldest of these. Known clients keep theirs. Returns the number of closed
    /// connections.
    pub(super) fn close_those_with_most_streams(&self, count: usize) -> usize {
        let (now, mut places) = (now_ms(), self.places());
        let mut by_site: HashMap<IpAddr, WithStreams> = HashMap::new();
        for (id, peer) in &places.peers {
            let may_go = self.kind == Kind::Operators || peer.phase() < Phase::Known;
            if peer.streams() > 0 && may_go && !peer.is_closing() {
                let of_site = by_site.entry(peer.site()).or_default();
                of_site.sum += peer.streams();
                of_site.all.push((peer.streams(), peer.age(now), *id));
            }
        }
        for of_site in by_site.values_mut() {
            of_site.all.sort_unstable();
        }
        let mut busiest: BinaryHeap<_> = by_site.iter().map(|(site, of_site)| (of_site.sum, *site)).collect();
        let (mut ending, mut closed) = (0, 0);
        while ending < count
            && let Some((sum, site)) = busiest.pop()
            && let Some((streams, _, id)) = by_site.get_mut(&site).and_then(|of_site| of_site.all.pop())
        {
            if let Some(peer) = places.peers.get(&id).cloned() {
                closed += usize::from(places.close(&peer));
                ending += streams;
            }
            if sum > streams {
                busiest.push((sum - streams, site));
            }
        }
        self.closed.fetch_add(closed as u64, Ordering::Relaxed);
        closed
    }

    /// Returns connections that may be closed, with the bytes that they hold. First those whose clients do not send
    /// the rest of a message or accept a response, the longest first. Then, once one has waited for memory too long,
    /// all that wait for it: they wait for each other, and those that hold most are closed first, by address and by
    /// connection.
    fn debtors(&self, now: u64) -> Vec<StalledConnection> {
        let (mut idle, mut blocked, mut is_starved) = (Vec::new(), Vec::new(), false);
        for peer in self.places().peers.values().filter(|peer| !peer.is_closing()) {
            let (holds, has_waited) = (peer.holds(), |since: u64, limit| now.saturating_sub(since) >= limit);
            if holds < DEBT_LEAST_BYTES {
                continue;
            }
            match (peer.blocked_since(), peer.owes_since()) {
                (Some(since), _) => {
                    is_starved |= has_waited(since, BLOCKED_PATIENCE_MS);
                    blocked.push((peer.account().used_by_address(), holds, Arc::clone(peer)));
                }
                (None, Some(since)) if has_waited(since, DEBT_PATIENCE_MS) => {
                    idle.push((since, holds, Arc::clone(peer)));
                }
                _ => {}
            }
        }
        if !is_starved {
            blocked.clear();
        }
        idle.sort_by_key(|(since, ..)| *since);
        blocked.sort_by_key(|(by_address, holds, _)| Reverse((*by_address, *holds)));
        let blocked = blocked.into_iter().map(|(_, holds, peer)| StalledConnection { holds, idle_ms: None, peer });
        let idle = idle.into_iter();
        idle.map(|(since, holds, peer)| StalledConnection { holds, idle_ms: Some(now.saturating_sub(since)), peer })
            .chain(blocked)
            .collect()
    }

    /// Closes connections that accept nothing of what is on its way to them, the longest first, until `bytes` will be
    /// released. Returns the number of closed connections.
    pub fn close_stalled(&self, bytes: usize) -> usize {
        let now = now_ms();
        let peers: Vec<Arc<Peer>> = self.places().peers.values().filter(|peer| !peer.is_closing()).cloned().collect();
        let stalled = |peer: Arc<Peer>| peer.outgoing().stalled_since(now).map(|since| (since, peer));
        let mut stalled: Vec<(u64, Arc<Peer>)> = peers.into_iter().filter_map(stalled).collect();
        stalled.sort_by_key(|(since, _)| *since);
        let (mut released, mut closed) = (0, 0);
        for (_, peer) in stalled {
            if released >= bytes {
                break;
            }
            released += peer.outgoing().bytes();
            self.places().close(&peer);
            closed += 1;
        }
        self.closed.fetch_add(closed as u64, Ordering::Relaxed);
        closed
    }

    /// Returns the `count` connections that hold most.
    pub fn holders(&self, count: usize) -> Vec<ConnectionSnapshot> {
        let show = |peer: &Arc<Peer>| ConnectionSnapshot {
            kind: self.kind,
            address: peer.address(),
            phase: peer.phase(),
            streams: peer.streams(),
            incoming_bytes: peer.account().used(),
            outgoing_bytes: peer.outgoing_bytes(),
        };
        let mut all: Vec<ConnectionSnapshot> = self.places().peers.values().map(show).collect();
        all.sort_by_key(|holder| Reverse(holder.incoming_bytes + holder.outgoing_bytes));
        all.truncate(count);
        all
    }

    /// Returns the kind of this listener's clients.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        self.places().peers.len()
    }

    /// Returns the maximum number of open connections.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Returns the number of connections that were rejected, and of those that were closed to make place.
    pub fn turned_away(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.closed.load(Ordering::Relaxed))
    }
}

/// Chooses the connections to close: repeatedly, the oldest of the address with the most candidates. Of addresses
/// with as many, the one whose next is the oldest, because the newest connection has not had its time.
fn choose(candidates: Vec<EvictionCandidate>, count: usize) -> Vec<u64> {
    let mut by_address: HashMap<IpAddr, Vec<EvictionCandidate>> = HashMap::new();
    for candidate in candidates {
        by_address.entry(candidate.address).or_default().push(candidate);
    }
    for of_address in by_address.values_mut() {
        // the first to be closed is last
        of_address.sort_by_key(|c| (c.age, Reverse(c.id)));
    }
    let next = |ip: IpAddr, all: &[EvictionCandidate]| all.last().map(|c| (all.len(), c.age, ip));
    let mut busiest: BinaryHeap<_> = by_address.iter().filter_map(|(ip, all)| next(*ip, all)).collect();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count
        && let Some((.., ip)) = busiest.pop()
        && let Some(of_address) = by_address.get_mut(&ip)
        && let Some(candidate) = of_address.pop()
    {
        chosen.push(candidate.id);
        busiest.extend(next(ip, of_address));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 5).into()
    }

    fn table(kind: Kind, max: usize) -> Arc<ConnectionTable> {
        Arc::new(ConnectionTable { grace_ms: 0, ..ConnectionTable::new(kind, max, Budget::new(1 << 30)) })
    }

    #[tokio::test]
    async fn who_has_just_come_has_its_time_and_the_next_waits() {
        let table = Arc::new(ConnectionTable::new(Kind::Operators, 2, Budget::new(1 << 30)));
        let all = [1, 2].map(|last| table.try_enter(address(last)).expect("a place"));
        let busy = all[0].peer().begin();
        assert_eq!(table.try_enter(address(3)).map(|_| ()), Err(TableFull::Leaving));
        assert!(all.iter().all(|place| !place.peer().is_closing()));
        let began = now_ms();
        let third = table.enter(address(3)).await.expect("a place");
        assert!(now_ms() - began >= GRACE_MS / 2 && all[1].peer().is_closing() && !all[0].peer().is_closing());
        drop((busy, third, all));
        assert_eq!((table.open(), table.places().leaving), (0, 0));
    }

    #[test]
    fn a_stranger_that_has_just_come_is_not_closed_for_memory() {
        let new = ConnectionTable::new(Kind::Clients, 4, Budget::new(1 << 30));
        for (table, closed) in
            [(Arc::new(ConnectionTable { grace_ms: u64::MAX, ..new }), 0), (table(Kind::Clients, 4), 1)]
        {
            let place = table.try_enter(address(1)).expect("a place");
            assert_eq!((table.close_strangers(1), place.peer().is_closing()), (closed, closed == 1));
        }
    }

    #[test]
    fn who_is_known_stays_and_the_busiest_address_gives_its_oldest() {
        let table = table(Kind::Clients, 4);
        let all: Vec<Place> = [1, 2, 2, 3].map(|last| table.try_enter(address(last)).expect("a place")).into();
        all[0].peer().reaches(Phase::Known);
        let new = table.try_enter(address(1)).expect("a place");
        assert_eq!(all.iter().map(|place| place.peer().is_closing()).collect::<Vec<_>>(), [false, true, false, false]);
        drop((all, new));
        assert_eq!(table.open(), 0);
    }

    #[test]
    fn of_those_who_wait_for_each_others_memory_the_largest_of_the_largest_address_goes_first() {
        use std::task::Poll;
        let table = table(Kind::Clients, 9);
        let all: Vec<Place> = [1, 2, 2, 3, 3].map(|last| table.try_enter(address(last)).expect("a place")).into();
        let streams: Vec<_> = all.iter().map(|place| place.peer().begin()).collect();
        for (at, (stream, kilobytes)) in streams.iter().zip([900, 400, 700, 8, 9]).enumerate() {
            stream.peer().arrived(kilobytes << 10);
            // its client owes something, or its channel is stuck
            if at != 2 {
                stream.turn().of_client(1_000 - at as u64);
            }
            if at < 3 {
                assert!(stream.peer().room_is(Poll::Pending, 2_000).is_pending());
            }
        }
        let order = |now| {
            let debtors = table.debtors(now).into_iter();
            debtors.map(|debtor| debtor.holds >> 10).collect::<Vec<_>>()
        };
        assert_eq!(order(16_999), [9, 8], "who could go on and does not, the longest first");
        assert_eq!(order(17_000), [9, 8, 700, 400, 900], "fifteen seconds without room");
        assert!(streams[2].peer().room_is(Poll::Ready(()), 17_000).is_ready());
        assert_eq!(order(17_001), [9, 8, 400, 900], "it goes on");
        assert!(streams[2].peer().room_is(Poll::Pending, 17_002).is_pending());
        assert_eq!(order(17_003), [9, 8, 700, 400, 900], "the others still starve");
        for stream in &streams[..2] {
            assert!(stream.peer().room_is(Poll::Ready(()), 17_004).is_ready());
        }
        assert_eq!(order(17_005), [9, 8], "nobody does");
    }

    #[tokio::test]
    async fn a_table_of_known_clients_refuses_the_next() {
        let table = table(Kind::Clients, 2);
        let all = [table.try_enter(address(1)).expect("a place"), table.try_enter(address(1)).expect("a place")];
        for place in &all {
            place.peer().reaches(Phase::Known);
        }
        assert!(table.enter(address(2)).await.is_none());
        assert_eq!(table.turned_away(), (1, 0));
    }

    #[test]
    fn an_operators_request_is_not_cut_off_by_the_next_connection() {
        let table = table(Kind::Operators, 2);
        let all = [table.try_enter(address(1)).expect("a place"), table.try_enter(address(1)).expect("a place")];
        for place in &all {
            place.peer().reaches(Phase::Stranger);
        }
        let busy = all[0].peer().begin();
        drop(table.try_enter(address(2)).expect("a place"));
        assert!(!all[0].peer().is_closing() && all[1].peer().is_closing());
        drop(busy);
    }

    #[test]
    fn a_flood_leaves_no_more_open_than_there_may_be_and_a_few() {
        for (max, surplus) in [(80, 257), (8_000, 1_001)] {
            let table = table(Kind::Clients, max);
            let places: Vec<Place> = (0..10_000).filter_map(|_| table.try_enter(address(1)).ok()).collect();
            assert!(places.len() <= max + surplus, "{} of {max}", places.len());
        }
    }

    #[tokio::test]
    async fn who_comes_while_many_are_leaving_waits_until_one_has_gone() {
        let table = table(Kind::Operators, 8);
        let mut places: Vec<Place> = std::iter::from_fn(|| table.try_enter(address(1)).ok()).take(1000).collect();
        assert_eq!(table.try_enter(address(2)).map(|_| ()), Err(TableFull::Leaving));
        let waits = tokio::spawn({
            let table = Arc::clone(&table);
            async move { table.enter(address(2)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        places.retain(|place| !place.peer().is_closing());
        assert!(waits.await.expect("no panic").is_some());
        let more: Vec<Place> = std::iter::from_fn(|| table.try_enter(address(1)).ok()).take(1000).collect();
        assert!(table.enter(address(2)).await.is_none(), "nobody goes");
        assert_eq!(table.turned_away().0, 1);
        drop((places, more));
        assert_eq!((table.open(), table.places().leaving), (0, 0));
    }

    #[test]
    fn of_addresses_with_as_many_connections_the_oldest_goes_first() {
        let of = |last: u8, age| EvictionCandidate { id: last.into(), address: address(last).ip(), age };
        assert_eq!(choose(vec![of(200, 3), of(1, 4000), of(100, 5000), of(250, 4)], 3), [100, 1, 250]);
    }

    proptest! {
        #[test]
        fn an_address_gives_more_only_if_it_has_more(
            owners in prop::collection::vec((0u8..6, 0u64..100), 0..60), count in 0usize..20,
        ) {
            let candidates: Vec<EvictionCandidate> = (0..).zip(&owners)
                .map(|(id, &(owner, age))| EvictionCandidate { id, address: address(owner).ip(), age })
                .collect();
            let chosen = choose(candidates.clone(), count);
            prop_assert_eq!(chosen.len(), count.min(candidates.len()));
            let left = |owner: u8| candidates.iter()
                .filter(|c| c.address == address(owner).ip() && !chosen.contains(&c.id)).count();
            let gave = |owner: u8| candidates.iter()
                .filter(|c| c.address == address(owner).ip() && chosen.contains(&c.id)).count();
            for (a, b) in (0..6).flat_map(|a| (0..6).map(move |b| (a, b))) {
                prop_assert!(gave(a) == 0 || left(a) + 1 >= left(b), "{} gave although {} has more", a, b);
            }
            // no connection that stays has less right than another of the same address that goes
            for stays in candidates.iter().filter(|c| !chosen.contains(&c.id)) {
                for goes in candidates.iter().filter(|c| chosen.contains(&c.id) && c.address == stays.address) {
                    prop_assert!(goes.age >= stays.age);
                }
            }
        }
    }
}
