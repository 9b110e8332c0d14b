//! The connections of one listener: which are admitted, and which are closed when the table is full.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::budget::Budget;
use super::eviction::{EvictionCandidate, choose};
use super::now_ms;
use super::peer::{Peer, Phase};

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
    pub(super) kind: Kind,
    max: usize,
    pub(super) grace_ms: u64,
    budget: Budget,
    places: Mutex<TableState>,
    /// Notified when a connection has gone.
    gone: Notify,
    next: AtomicU64,
    refused: AtomicU64,
    pub(super) closed: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct TableState {
    pub(super) peers: HashMap<u64, Arc<Peer>>,
    /// Number of these that were told to close.
    leaving: usize,
}

impl TableState {
    /// Tells a connection to close. Returns whether it was not closing before.
    pub(super) fn close(&mut self, peer: &Peer) -> bool {
        // a connection that has left is marked as closing, and is not counted again
        let is_new = peer.close();
        self.leaving += usize::from(is_new);
        is_new
    }
}

/// Reason for which there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableFull {
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

    pub(super) fn places(&self) -> MutexGuard<'_, TableState> {
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

    pub(super) fn try_enter(self: &Arc<Self>, address: SocketAddr) -> Result<Place, TableFull> {
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
    pub(super) fn candidate(&self, id: u64, peer: &Peer, now: u64) -> Option<EvictionCandidate> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 5).into()
    }

    fn table(kind: Kind, max: usize) -> Arc<ConnectionTable> {
        Arc::new(ConnectionTable { grace_ms: 0, ..ConnectionTable::new(kind, max, Budget::new(1 << 30)) })
    }

    #[tokio::test]
    async fn a_new_connection_keeps_its_place_for_a_while_and_the_next_waits() {
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
    fn a_known_client_stays_and_the_address_with_most_connections_loses_its_oldest() {
        let table = table(Kind::Clients, 4);
        let all: Vec<Place> = [1, 2, 2, 3].map(|last| table.try_enter(address(last)).expect("a place")).into();
        all[0].peer().reaches(Phase::Known);
        let new = table.try_enter(address(1)).expect("a place");
        assert_eq!(all.iter().map(|place| place.peer().is_closing()).collect::<Vec<_>>(), [false, true, false, false]);
        drop((all, new));
        assert_eq!(table.open(), 0);
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
    async fn a_connection_that_comes_while_many_are_closing_waits_until_one_has_closed() {
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
}
