//! The connections that are closed when the node is short of memory or of streams, or stops.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::eviction::{EvictionCandidate, choose};
use super::now_ms;
use super::peer::{CONNECTION_BYTES, Peer, Phase};
use super::table::{ConnectionTable, Kind};

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

/// Connections of one address that have open streams.
#[derive(Debug, Default)]
struct WithStreams {
    /// Total number of their streams.
    sum: usize,
    /// Number of streams, age in milliseconds and ID of each connection.
    all: Vec<(usize, u64, u64)>,
}

impl ConnectionTable {
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
            let why = if idle_ms.is_some() {
                "its client makes no progress"
            } else {
                "it waits for more memory and holds the most"
            };
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Budget, Place};

    #[test]
    fn of_connections_that_wait_for_each_others_memory_the_largest_of_the_largest_address_is_closed_first() {
        use std::task::Poll;
        let table = Arc::new(ConnectionTable::new(Kind::Clients, 9, Budget::new(1 << 30)));
        let all: Vec<Place> =
            [1, 2, 2, 3, 3].map(|last| table.try_enter(([10, 0, 0, last], 5).into()).expect("a place")).into();
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
        assert_eq!(order(16_999), [9, 8], "those that make no progress, the longest first");
        assert_eq!(order(17_000), [9, 8, 700, 400, 900], "fifteen seconds without room");
        assert!(streams[2].peer().room_is(Poll::Ready(()), 17_000).is_ready());
        assert_eq!(order(17_001), [9, 8, 400, 900], "one of them continues");
        assert!(streams[2].peer().room_is(Poll::Pending, 17_002).is_pending());
        assert_eq!(order(17_003), [9, 8, 700, 400, 900], "the others still starve");
        for stream in &streams[..2] {
            assert!(stream.peer().room_is(Poll::Ready(()), 17_004).is_ready());
        }
        assert_eq!(order(17_005), [9, 8], "none starves");
    }
}
