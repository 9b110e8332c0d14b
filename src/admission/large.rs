//! Large messages take turns: the sum of their declared lengths that are received at a time is bounded. Known clients
//! come before strangers, and addresses one after the other, each with its oldest message, so that no client waits
//! for all that another has. Slow messages give way to those that wait. The number of waiting messages is bounded,
//! since what has arrived of them is buffered meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::now_ms;

/// Length in bytes beyond which a message is large. Smaller ones only need capacity for the bytes that have arrived.
pub(super) const LARGE_BYTES: usize = 1 << 20;
/// Milliseconds after which a message that is still arriving may have to give way.
const PATIENCE_MS: u64 = 3000;
/// Rate below which it gives way at once: its declared length costs a stranger nothing.
const LEAST_BYTES_A_SECOND: u64 = 64 << 10;
/// Rate from which it never gives way: it is done within seconds, and a waiting message gets its turn sooner than if
/// it began again.
const FAST_BYTES_A_SECOND: u64 = 8 << 20;

/// The turns for large messages, of the whole node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LargeMessages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: u32,
    most_waiting: usize,
    queues: Mutex<Queues>,
    granted: AtomicU64,
    granted_at_last_look: AtomicU64,
    coming: Mutex<Vec<Weak<ArrivingMessage>>>,
}

/// The messages that wait, by client.
#[derive(Debug, Default)]
struct Queues {
    free: u32,
    waiting: usize,
    arrivals: u64,
    by_client: BTreeMap<Client, VecDeque<Arc<Waiter>>>,
    /// The client of the last turn, among known clients and among strangers.
    last: [Option<Client>; 2],
}

/// Key of the queue that messages wait in. Known clients sort before strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    is_stranger: bool,
    address: IpAddr,
}

/// A message that waits, has its turn, or was rejected.
#[derive(Debug)]
struct Waiter {
    bytes: u32,
    arrival: u64,
    state: AtomicU8,
    reader: AtomicWaker,
}

const WAITS: u8 = 0;
/// The message has its turn, and its reader does not know yet.
const GRANTED: u8 = 1;
/// The turn is held by a [`Permit`].
const TAKEN: u8 = 2;
const REFUSED: u8 = 3;

impl Waiter {
    fn becomes(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        self.reader.wake();
    }
}

impl Queues {
    /// Returns the client whose turn is next.
    fn next(&self) -> Option<Client> {
        let (first, _) = self.by_client.first_key_value()?;
        let behind = self.last[usize::from(first.is_stranger)].map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.by_client.range((behind, Bound::Unbounded)).map(|(client, _)| *client);
        behind.next().filter(|next| next.is_stranger == first.is_stranger).or(Some(*first))
    }

    /// Grants turns while there is capacity. A message that does not fit blocks the queue, because smaller ones must
    /// not keep it out for ever.
    fn grant(&mut self, granted: &AtomicU64) {
        while let Some(client) = self.next() {
            let Some(queue) = self.by_client.get_mut(&client) else { return };
            if queue.front().is_none_or(|first| first.bytes > self.free) {
                return;
            }
            let Some(first) = queue.pop_front() else { return };
            if queue.is_empty() {
                self.by_client.remove(&client);
            }
            self.waiting -= 1;
            self.free -= first.bytes;
            self.last[usize::from(client.is_stranger)] = Some(client);
            granted.fetch_add(1, Ordering::Relaxed);
            first.becomes(GRANTED);
        }
    }

    /// Rejects one message: a stranger's before a known client's, of the client with the most waiting messages, the
    /// newest.
    fn refuse_one(&mut self) {
        let newest = |queue: &VecDeque<Arc<Waiter>>| queue.back().map(|newest| newest.arrival);
        let right =
            |(client, queue): &(&Client, &VecDeque<Arc<Waiter>>)| (client.is_stranger, queue.len(), newest(queue));
        let Some(client) = self.by_client.iter().max_by_key(right).map(|(client, _)| *client) else { return };
        let Some(queue) = self.by_client.get_mut(&client) else { return };
        if let Some(newest) = queue.pop_back() {
            self.waiting -= 1;
            newest.becomes(REFUSED);
        }
        if queue.is_empty() {
            self.by_client.remove(&client);
        }
    }

    fn forget(&mut self, client: Client, waiter: &Arc<Waiter>) {
        let Some(queue) = self.by_client.get_mut(&client) else { return };
        let before = queue.len();
        queue.retain(|other| !Arc::ptr_eq(other, waiter));
        self.waiting -= before - queue.len();
        if queue.is_empty() {
            self.by_client.remove(&client);
        }
    }
}

/// A large message that is arriving.
#[derive(Debug)]
struct ArrivingMessage {
    since: u64,
    arrived: AtomicUsize,
    gives_way: AtomicBool,
    reader: AtomicWaker,
}

/// A wait for a turn.
#[derive(Debug)]
pub struct Waiting {
    of: LargeMessages,
    client: Client,
    waiter: Arc<Waiter>,
}

/// The message gets no turn: the maximum number of messages wait, and the others come before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// A large message's turn; released when dropped.
#[derive(Debug)]
pub struct Permit {
    of: LargeMessages,
    coming: Arc<ArrivingMessage>,
    bytes: u32,
}

impl LargeMessages {
    /// Receives messages of `bytes` together at a time, while at most `most_waiting` wait.
    pub fn new(bytes: u32, most_waiting: usize) -> Self {
        Self(Arc::new(Inner {
            bytes,
            most_waiting,
            queues: Mutex::new(Queues { free: bytes, ..Queues::default() }),
            granted: AtomicU64::new(0),
            granted_at_last_look: AtomicU64::new(0),
            coming: Mutex::default(),
        }))
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a message of this length needs a turn.
    pub fn concerns(length: usize) -> bool {
        length > LARGE_BYTES
    }

    /// Waits for a turn of a message from this address, whose sender is a stranger or known.
    pub fn wait(&self, length: usize, address: IpAddr, is_stranger: bool) -> Waiting {
        let bytes = u32::try_from(length).unwrap_or(u32::MAX).min(self.0.bytes);
        let client = Client { is_stranger, address };
        let mut queues = self.queues();
        queues.arrivals += 1;
        let (state, reader) = (AtomicU8::new(WAITS), AtomicWaker::new());
        let waiter = Arc::new(Waiter { bytes, arrival: queues.arrivals, state, reader });
        queues.by_client.entry(client).or_default().push_back(Arc::clone(&waiter));
        queues.waiting += 1;
        queues.grant(&self.0.granted);
        if queues.waiting > self.0.most_waiting {
            queues.refuse_one();
        }
        drop(queues);
        Waiting { of: self.clone(), client, waiter }
    }

    /// Returns the number of waiting messages.
    pub fn waiting(&self) -> usize {
        self.queues().waiting
    }

    fn give_back(&self, bytes: u32) {
        let mut queues = self.queues();
        queues.free += bytes;
        queues.grant(&self.0.granted);
    }

    /// Checks the messages that are arriving; call it once a second. If any message waits, all that hardly arrive
    /// have to give way; and if no turn was granted since the last check, the slowest has to.
    pub fn check(&self, now: u64) {
        let granted = self.0.granted.load(Ordering::Relaxed);
        let before = self.0.granted_at_last_look.swap(granted, Ordering::Relaxed);
        let mut coming = self.0.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.retain(|message| message.strong_count() > 0);
        if self.waiting() == 0 {
            return;
        }
        let on_their_way: Vec<Arc<ArrivingMessage>> = coming.iter().filter_map(Weak::upgrade).collect();
        drop(coming);
        let figures: Vec<(usize, u64)> =
            on_their_way.iter().map(|m| (m.arrived.load(Ordering::Relaxed), now.saturating_sub(m.since))).collect();
        for at in too_slow(&figures, granted == before) {
            let message = &on_their_way[at];
            message.gives_way.store(true, Ordering::Relaxed);
            message.reader.wake();
        }
    }
}

/// Returns the messages, given as bytes and milliseconds, that hardly arrive and have had their time; if there are
/// none and nothing moves, the slowest of those that have had it and are not fast.
fn too_slow(messages: &[(usize, u64)], nothing_moves: bool) -> Vec<usize> {
    let rate = |at: &usize| messages[*at].0 as u64 * 1000 / messages[*at].1.max(1);
    let had_their_time: Vec<usize> = (0..messages.len()).filter(|at| messages[*at].1 >= PATIENCE_MS).collect();
    let hardly: Vec<usize> = had_their_time.iter().copied().filter(|at| rate(at) < LEAST_BYTES_A_SECOND).collect();
    if !hardly.is_empty() || !nothing_moves {
        return hardly;
    }
    had_their_time.into_iter().filter(|at| rate(at) < FAST_BYTES_A_SECOND).min_by_key(rate).into_iter().collect()
}

impl Waiting {
    /// Polls for the turn, or its rejection.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Permit, QueueFull>> {
        self.waiter.reader.register(cx.waker());
        match self.waiter.state.load(Ordering::SeqCst) {
            GRANTED => {}
            REFUSED => return Poll::Ready(Err(QueueFull)),
            _ => return Poll::Pending,
        }
        self.waiter.state.store(TAKEN, Ordering::SeqCst);
        let coming = Arc::new(ArrivingMessage {
            since: now_ms(),
            arrived: AtomicUsize::new(0),
            gives_way: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        });
        self.of.0.coming.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&coming));
        Poll::Ready(Ok(Permit { of: self.of.clone(), coming, bytes: self.waiter.bytes }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut queues = self.of.queues();
        match self.waiter.state.load(Ordering::SeqCst) {
            // it may have been the one that all others waited behind
            WAITS => queues.forget(self.client, &self.waiter),
            GRANTED => queues.free += self.waiter.bytes,
            _ => return,
        }
        queues.grant(&self.of.0.granted);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
    }
}

impl Permit {
    /// Records that this number of bytes of the message has arrived.
    pub fn arrived(&self, bytes: usize) {
        self.coming.arrived.store(bytes, Ordering::Relaxed);
    }

    /// Returns whether the message has to give way; if not yet, the task is woken when it has to.
    pub fn gives_way(&self, cx: &Context<'_>) -> bool {
        self.coming.reader.register(cx.waker());
        self.coming.gives_way.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hardly_comes_gives_way_and_else_the_slowest_once_it_has_had_its_time() {
        assert!(too_slow(&[], true).is_empty());
        assert!(too_slow(&[(0, PATIENCE_MS - 1), (1 << 20, 1)], true).is_empty());
        let fast = [(90 << 20, 9000), (30 << 20, 6000), (10, 2000), (40 << 20, 4000)];
        assert_eq!((too_slow(&fast, true), too_slow(&fast, false)), (vec![1], vec![]));
        // all of them are done soon
        assert!(too_slow(&[(90 << 20, 9000), (60 << 20, 4000)], true).is_empty());
        let trickles = [(100, 9000), (50 << 20, 6000), (7, 4000), (10, 2000)];
        assert_eq!((too_slow(&trickles, true), too_slow(&trickles, false)), (vec![0, 2], vec![0, 2]));
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn poll(waiting: &mut Waiting) -> Option<Result<Permit, QueueFull>> {
        match waiting.poll(&Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_waits_in_vain_makes_the_slowest_give_way() {
        let turns = LargeMessages::new(100, 9);
        let (mut first, mut second) = (turns.wait(60, address(1), true), turns.wait(60, address(1), true));
        let permit = poll(&mut first).expect("at once").expect("a turn");
        drop(first);
        let now = permit.coming.since;
        let gives_way = || permit.coming.gives_way.load(Ordering::Relaxed);
        assert!(poll(&mut second).is_none());
        permit.arrived(10 << 20);
        // it arrives well, and a turn was granted since the last check
        turns.check(now + PATIENCE_MS);
        assert!(!gives_way());
        turns.check(now + PATIENCE_MS + 1000);
        assert!(gives_way());
        drop(permit);
        assert!(matches!(poll(&mut second), Some(Ok(_))));
    }

    /// Returns the order in which messages get their turns, of which only one fits at a time.
    fn order(turns: &LargeMessages, mut waiting: Vec<(&str, Waiting)>) -> String {
        let mut order = String::new();
        while let Some(at) = waiting.iter_mut().position(|(_, one)| {
            let turn = poll(one);
            // given back at once, for the next
            turn.is_some_and(|turn| turn.is_ok())
        }) {
            order.push_str(waiting.remove(at).0);
        }
        assert_eq!((turns.waiting(), turns.queues().free, waiting.len()), (0, 100, 0));
        order
    }

    #[test]
    fn known_clients_come_first_and_addresses_one_after_the_other() {
        let turns = LargeMessages::new(100, 99);
        let held = turns.wait(100, address(9), true);
        let wait = |last, is_stranger| turns.wait(100, address(last), is_stranger);
        let waiting = vec![
            ("a", wait(1, true)),
            ("b", wait(1, true)),
            ("c", wait(2, true)),
            ("D", wait(3, false)),
            ("E", wait(3, false)),
            ("F", wait(4, false)),
        ];
        drop(held);
        assert_eq!(order(&turns, waiting), "DFEacb");
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let turns = LargeMessages::new(100, 99);
        let held = turns.wait(50, address(9), true);
        let (large, mut small) = (turns.wait(100, address(1), true), turns.wait(50, address(2), true));
        assert!(poll(&mut small).is_none(), "it does not overtake");
        drop(large);
        assert!(matches!(poll(&mut small), Some(Ok(_))));
        drop((held, small));
        assert_eq!((turns.waiting(), turns.queues().free), (0, 100));
    }

    #[test]
    fn when_too_many_wait_a_stranger_gets_no_turn_of_who_has_most_the_newest() {
        let turns = LargeMessages::new(100, 3);
        let refused = |waiting: &mut Waiting| matches!(poll(waiting), Some(Err(QueueFull)));
        let _held = turns.wait(100, address(9), true);
        let mut of_one: Vec<Waiting> = (0..3).map(|_| turns.wait(100, address(1), true)).collect();
        let mut of_other = turns.wait(100, address(2), true);
        assert!(refused(&mut of_one[2]) && !refused(&mut of_one[1]) && !refused(&mut of_other));
        let mut known: Vec<Waiting> = (0..3).map(|_| turns.wait(100, address(3), false)).collect();
        assert!(refused(&mut of_one[1]) && refused(&mut of_one[0]) && refused(&mut of_other));
        assert!(refused(&mut turns.wait(100, address(4), true)));
        assert!(!known.iter_mut().any(refused));
        assert!(refused(&mut turns.wait(100, address(3), false)), "known clients alone: as among strangers");
        assert_eq!(turns.waiting(), 3);
    }
}
