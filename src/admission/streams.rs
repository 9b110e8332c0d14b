//! Bounds the requests that are open on all connections of a kind. A stream costs its client nothing, so strangers
//! could occupy all of them: when they are used up, the connections with the most streams are closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::rejections::{RejectionCounters, RejectionReason};
use super::table::Kind;
use super::watch::Tables;
use super::{Peer, Phase, now_ms};

/// Number of streams that a connection may have however many others have, while there is any capacity.
const FEW_STREAMS: usize = 8;
/// Divisor of the maximum: strangers' connections are closed until this part of the streams will be free, so that the
/// next few find a place without a search.
const CLOSE_PART: usize = 16;
/// Minimum interval between two such rounds, in milliseconds.
const CLOSE_EVERY_MS: u64 = 20;
/// Divisor of the maximum: the streams that may be open beyond it, and their least number, until those of closed
/// connections have ended.
const SURPLUS_PART: usize = 8;
const SURPLUS_LEAST: usize = 64;

/// The open streams of one kind of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    max: usize,
    open: AtomicUsize,
    tables: Tables,
    refusals: RejectionCounters,
    closed_at: AtomicU64,
    /// Whether the last round closed any connections.
    any_closed: AtomicBool,
}

/// One open stream; it ends when this is dropped.
#[derive(Debug)]
pub struct OpenStream(Arc<Inner>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    /// Allows at most `max` streams on the connections of `tables` that are of this kind.
    pub(super) fn new(kind: Kind, max: usize, tables: Tables, refusals: RejectionCounters) -> Self {
        let (open, closed_at, any_closed) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Inner { kind, max, open, tables, refusals, closed_at, any_closed }))
    }

    /// Opens one more stream on a connection, if it may. The last quarter is for connections that have few, and for
    /// known clients in place of strangers.
    pub fn open(&self, peer: &Peer) -> Option<OpenStream> {
        let max = self.0.max;
        let is_few = peer.streams() < FEW_STREAMS;
        let (usual, most) = if is_few { (max, max + max / SURPLUS_PART + SURPLUS_LEAST) } else { (max / 4 * 3, max) };
        let open = self.0.open.fetch_add(1, Ordering::Relaxed);
        let stream = OpenStream(Arc::clone(&self.0));
        let has_right = is_few || peer.phase() == Phase::Known;
        // the listener bounds the streams of a favoured connection; streams beyond the maximum make capacity, too, so that the
        // next one finds a place
        if peer.is_favoured() || open < usual || (has_right && self.make_room(now_ms()) && open < most) {
            return Some(stream);
        }
        self.0.refusals.count(RejectionReason::Streams);
        None
    }

    /// Makes capacity if all streams are open, so that the next client that needs one rarely has to ask twice.
    pub(super) fn check(&self, now: u64) {
        if self.count() >= self.0.max {
            self.make_room(now);
        }
    }

    /// Returns the number of open streams.
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Returns whether some streams will end, because their connections were told to close now or a moment ago.
    fn make_room(&self, now: u64) -> bool {
        let Inner { kind, max, tables, closed_at, any_closed, .. } = &*self.0;
        let before = closed_at.load(Ordering::Relaxed);
        let is_due = before == 0 || now.saturating_sub(before) >= CLOSE_EVERY_MS;
        if is_due && closed_at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let wanted = max / CLOSE_PART + 1;
            let of_kind = tables.all().into_iter().filter(|table| table.kind() == *kind);
            let closed: usize = of_kind.map(|table| table.close_those_with_most_streams(wanted)).sum();
            any_closed.store(closed > 0, Ordering::Relaxed);
        }
        any_closed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::{Budget, ConnectionTable, Place, StreamHold};
    use super::*;

    struct TestNode {
        streams: Streams,
        table: Arc<ConnectionTable>,
        refusals: RejectionCounters,
    }

    struct Client {
        place: Place,
        open: Vec<(OpenStream, StreamHold)>,
    }

    fn world(max: usize) -> TestNode {
        let (tables, refusals) = (Tables::default(), RejectionCounters::default());
        let table = Arc::new(ConnectionTable::new(Kind::Clients, 1000, Budget::new(1 << 30)));
        tables.add(Arc::clone(&table));
        TestNode { streams: Streams::new(Kind::Clients, max, tables, refusals.clone()), table, refusals }
    }

    impl TestNode {
        async fn client(&self, last: u8) -> Client {
            let address: SocketAddr = ([10, 0, 0, last], 5).into();
            Client { place: self.table.enter(address).await.expect("a place"), open: Vec::new() }
        }
    }

    impl Client {
        fn open(&mut self, world: &TestNode, count: usize) -> usize {
            for _ in 0..count {
                let Some(stream) = world.streams.open(self.place.peer()) else { break };
                self.open.push((stream, self.place.peer().begin()));
            }
            self.open.len()
        }

        fn is_closing(&self) -> bool {
            self.place.peer().is_closing()
        }
    }

    #[tokio::test]
    async fn strangers_with_most_streams_make_place_for_who_has_few() {
        let world = world(80);
        let mut greedy = world.client(1).await;
        greedy.place.peer().reaches(Phase::Stranger);
        assert_eq!(greedy.open(&world, 1000), 60, "a quarter is for others");
        // many connections with few streams each, which only their number distinguishes from honest ones
        let mut many = Vec::new();
        for _ in 0..5 {
            let mut one = world.client(2).await;
            assert_eq!(one.open(&world, 4), 4);
            many.push(one);
        }
        let mut honest = world.client(3).await;
        assert_eq!(honest.open(&world, 1), 1, "although all are used");
        assert!(greedy.is_closing() && !honest.is_closing());
        assert!(many.iter().all(|one| !one.is_closing()), "one was enough");
        assert_eq!(world.refusals.all()[0], (RejectionReason::Streams, 1));
        drop((greedy, many, honest));
        assert_eq!(world.streams.count(), 0);
    }

    #[tokio::test]
    async fn a_look_makes_room_before_anybody_asks() {
        let world = world(80);
        let mut many = Vec::new();
        for last in 0..30 {
            let mut one = world.client(last).await;
            one.open(&world, 7);
            many.push(one);
        }
        many.retain(|one| !one.is_closing());
        while world.streams.count() >= 80 {
            world.streams.check(now_ms());
            many.retain(|one| !one.is_closing());
            tokio::time::sleep(std::time::Duration::from_millis(CLOSE_EVERY_MS)).await;
        }
        assert!(world.streams.count() > 60 && world.table.open() == many.len());
    }

    #[tokio::test]
    async fn known_clients_keep_their_streams() {
        let world = world(40);
        let mut known = Vec::new();
        for last in 0..5 {
            let mut one = world.client(last).await;
            one.place.peer().reaches(Phase::Known);
            assert_eq!(one.open(&world, 8), 8);
            known.push(one);
        }
        let mut next = world.client(9).await;
        assert_eq!(next.open(&world, 1), 0);
        assert!(known.iter().all(|one| !one.is_closing()));
        drop(known.pop());
        assert_eq!(next.open(&world, 1), 1);
    }

    #[tokio::test]
    async fn who_is_favoured_finds_a_place_among_known_clients_that_have_all() {
        let world = world(40);
        let mut known = world.client(1).await;
        known.place.peer().reaches(Phase::Known);
        assert_eq!(known.open(&world, 100), 30, "a quarter is for others");
        let mut orderer = world.client(1).await;
        orderer.place.peer().favour();
        assert_eq!(orderer.open(&world, 50), 50);
        assert!(!known.is_closing());
    }

    #[tokio::test]
    async fn a_known_client_with_many_streams_takes_those_of_strangers() {
        let world = world(80);
        let (mut known, mut stranger) = (world.client(1).await, world.client(2).await);
        known.place.peer().reaches(Phase::Known);
        assert_eq!(known.open(&world, 20), 20);
        assert_eq!(stranger.open(&world, 40), 40);
        assert_eq!(known.open(&world, 1), 21);
        assert!(stranger.is_closing() && !known.is_closing());
    }
}
