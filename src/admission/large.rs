//! Large messages take turns: so many bytes of them, by their declared lengths, are received at a time. Addresses come one
//! after the other, each with its oldest message, so nobody waits for all that another has. Messages that are slow give way
//! to those that wait. Only so many wait: what has arrived of them is held meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::now_ms;

/// A message is large from here on. Smaller ones only have to find room for the bytes that have arrived.
pub(super) const LARGE_BYTES: usize = 1 << 20;
/// A message that has been on its way for so long may have to give way,
const PATIENCE_MS: u64 = 3000;
/// at once if it comes more slowly than this: its declared length costs a stranger nothing.
const LEAST_BYTES_A_SECOND: u64 = 64 << 10;

/// Turns for large messages, of the whole node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LargeMessages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: u32,
    most_waiting: usize,
    queues: Mutex<Queues>,
    granted: AtomicU64,
    granted_at_last_look: AtomicU64,
    coming: Mutex<Vec<Weak<Coming>>>,
}

/// Who waits, by address.
#[derive(Debug, Default)]
struct Queues {
    free: u32,
    waiting: usize,
    by_address: BTreeMap<IpAddr, VecDeque<Arc<Waiter>>>,
    /// Whose turn was last.
    last: Option<IpAddr>,
}

/// A message that waits, has its turn, or will get none.
#[derive(Debug)]
struct Waiter {
    bytes: u32,
    state: AtomicU8,
    reader: AtomicWaker,
}

const WAITS: u8 = 0;
const GRANTED: u8 = 1;
const REFUSED: u8 = 2;

impl Waiter {
    fn becomes(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        self.reader.wake();
    }
}

impl Queues {
    /// The address whose turn is next.
    fn next(&self) -> Option<IpAddr> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut next = self.by_address.range((behind, Bound::Unbounded)).chain(self.by_address.iter());
        next.next().map(|(address, _)| *address)
    }

    /// Gives turns while there is room. One that does not fit is waited for: smaller ones must not keep it out for ever.
    fn grant(&mut self, granted: &AtomicU64) {
        while let Some(address) = self.next() {
            let Some(queue) = self.by_address.get_mut(&address) else { return };
            if queue.front().is_none_or(|first| first.bytes > self.free) {
                return;
            }
            let Some(first) = queue.pop_front() else { return };
            if queue.is_empty() {
                self.by_address.remove(&address);
            }
            self.waiting -= 1;
            self.free -= first.bytes;
            self.last = Some(address);
            granted.fetch_add(1, Ordering::Relaxed);
            first.becomes(GRANTED);
        }
    }

    /// The newest message of the address that has most gets no turn.
    fn refuse_one(&mut self) {
        let most = self.by_address.iter().max_by_key(|(_, queue)| queue.len()).map(|(address, _)| *address);
        let Some(address) = most else { return };
        let Some(queue) = self.by_address.get_mut(&address) else { return };
        if let Some(newest) = queue.pop_back() {
            self.waiting -= 1;
            newest.becomes(REFUSED);
        }
        if queue.is_empty() {
            self.by_address.remove(&address);
        }
    }

    fn forget(&mut self, address: IpAddr, waiter: &Arc<Waiter>) {
        let Some(queue) = self.by_address.get_mut(&address) else { return };
        let before = queue.len();
        queue.retain(|other| !Arc::ptr_eq(other, waiter));
        self.waiting -= before - queue.len();
        if queue.is_empty() {
            self.by_address.remove(&address);
        }
    }
}

/// A large message on its way.
#[derive(Debug)]
struct Coming {
    since: u64,
    arrived: AtomicUsize,
    gives_way: AtomicBool,
    reader: AtomicWaker,
}

/// A wait for a turn.
#[derive(Debug)]
pub struct Waiting {
    of: LargeMessages,
    address: IpAddr,
    waiter: Arc<Waiter>,
}

/// There is no turn for it: as many wait as may, and nobody has more that wait than its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyWait;

/// A large message's turn; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    of: LargeMessages,
    coming: Arc<Coming>,
    bytes: u32,
}

impl LargeMessages {
    /// Messages of so many bytes together at a time, while at most `most_waiting` wait.
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

    /// Whether a message of this length needs a turn.
    pub fn concerns(length: usize) -> bool {
        length > LARGE_BYTES
    }

    /// Waits for a turn of a message from this address.
    pub fn wait(&self, length: usize, address: IpAddr) -> Waiting {
        let bytes = u32::try_from(length).unwrap_or(u32::MAX).min(self.0.bytes);
        let waiter = Arc::new(Waiter { bytes, state: AtomicU8::new(WAITS), reader: AtomicWaker::new() });
        let mut queues = self.queues();
        queues.by_address.entry(address).or_default().push_back(Arc::clone(&waiter));
        queues.waiting += 1;
        queues.grant(&self.0.granted);
        if queues.waiting > self.0.most_waiting {
            queues.refuse_one();
        }
        drop(queues);
        Waiting { of: self.clone(), address, waiter }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queues().waiting
    }

    fn give_back(&self, bytes: u32) {
        let mut queues = self.queues();
        queues.free += bytes;
        queues.grant(&self.0.granted);
    }

    /// Call it once a second: if somebody waits, all messages that hardly come have to give way; and if nobody got a turn since the
    /// last look, the slowest has to that is on its way.
    pub fn look(&self, now: u64) {
        let granted = self.0.granted.load(Ordering::Relaxed);
        let before = self.0.granted_at_last_look.swap(granted, Ordering::Relaxed);
        let mut coming = self.0.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.retain(|message| message.strong_count() > 0);
        if self.waiting() == 0 {
            return;
        }
        let on_their_way: Vec<Arc<Coming>> = coming.iter().filter_map(Weak::upgrade).collect();
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

/// Of messages of which so many bytes arrived in so many milliseconds, those that hardly come and have had their time; if there
/// are none and nothing moves, the slowest of all that have had it.
fn too_slow(messages: &[(usize, u64)], nothing_moves: bool) -> Vec<usize> {
    let rate = |at: &usize| messages[*at].0 as u64 * 1000 / messages[*at].1.max(1);
    let had_their_time: Vec<usize> = (0..messages.len()).filter(|at| messages[*at].1 >= PATIENCE_MS).collect();
    let hardly: Vec<usize> = had_their_time.iter().copied().filter(|at| rate(at) < LEAST_BYTES_A_SECOND).collect();
    if !hardly.is_empty() || !nothing_moves {
        return hardly;
    }
    had_their_time.into_iter().min_by_key(rate).into_iter().collect()
}

impl Waiting {
    /// Ready with the turn, or with that there is none.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Permit, TooManyWait>> {
        self.waiter.reader.register(cx.waker());
        match self.waiter.state.load(Ordering::SeqCst) {
            GRANTED => {}
            REFUSED => return Poll::Ready(Err(TooManyWait)),
            _ => return Poll::Pending,
        }
        // the room is the permit's from now on
        self.waiter.state.store(REFUSED, Ordering::SeqCst);
        let coming = Arc::new(Coming {
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
            WAITS => {
                queues.forget(self.address, &self.waiter);
                // it may have been the one that all others waited behind
                queues.grant(&self.of.0.granted);
            }
            GRANTED => {
                drop(queues);
                self.of.give_back(self.waiter.bytes);
            }
            _ => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
    }
}

impl Permit {
    /// So much of the message has arrived.
    pub fn arrived(&self, bytes: usize) {
        self.coming.arrived.store(bytes, Ordering::Relaxed);
    }

    /// Whether it has to give way; if not yet, the task is woken when it has to.
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
        let fast = [(90 << 20, 9000), (50 << 20, 6000), (10, 2000), (40 << 20, 4000)];
        assert_eq!((too_slow(&fast, true), too_slow(&fast, false)), (vec![1], vec![]));
        let trickles = [(100, 9000), (50 << 20, 6000), (7, 4000), (10, 2000)];
        assert_eq!((too_slow(&trickles, true), too_slow(&trickles, false)), (vec![0, 2], vec![0, 2]));
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn poll(waiting: &mut Waiting) -> Option<Result<Permit, TooManyWait>> {
        match waiting.poll(&Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_waits_in_vain_makes_the_slowest_give_way() {
        let turns = LargeMessages::new(100, 9);
        let (mut first, mut second) = (turns.wait(60, address(1)), turns.wait(60, address(1)));
        let permit = poll(&mut first).expect("at once").expect("a turn");
        drop(first);
        let now = permit.coming.since;
        let gives_way = || permit.coming.gives_way.load(Ordering::Relaxed);
        assert!(poll(&mut second).is_none());
        permit.arrived(10 << 20);
        // it comes well, and somebody has got a turn since the last look
        turns.look(now + PATIENCE_MS);
        assert!(!gives_way());
        turns.look(now + PATIENCE_MS + 1000);
        assert!(gives_way());
        drop(permit);
        assert!(matches!(poll(&mut second), Some(Ok(_))));
    }

    #[test]
    fn addresses_take_turns_whatever_each_has_waiting() {
        let turns = LargeMessages::new(100, 99);
        let mut of_one: Vec<Waiting> = (0..5).map(|_| turns.wait(100, address(1))).collect();
        let mut of_other = turns.wait(100, address(2));
        let first = poll(&mut of_one[0]).expect("at once");
        assert!(poll(&mut of_one[1]).is_none() && poll(&mut of_other).is_none());
        drop(first);
        let second = poll(&mut of_other).expect("its turn");
        drop(second);
        let third = poll(&mut of_one[1]);
        assert!(third.is_some());
        assert_eq!(turns.waiting(), 3);
        drop((third, of_one));
        assert_eq!((turns.waiting(), turns.queues().free), (0, 100));
    }

    #[test]
    fn the_newest_of_who_has_most_waiting_gets_no_turn() {
        let turns = LargeMessages::new(100, 3);
        let mut of_one: Vec<Waiting> = (0..4).map(|_| turns.wait(100, address(1))).collect();
        assert_eq!(turns.waiting(), 3);
        let mut of_other = turns.wait(100, address(2));
        assert_eq!(turns.waiting(), 3);
        assert!(matches!(poll(&mut of_one[3]), Some(Err(TooManyWait))));
        assert!(poll(&mut of_one[2]).is_none() && poll(&mut of_other).is_none());
        let mut last = turns.wait(100, address(1));
        assert!(matches!(poll(&mut last), Some(Err(TooManyWait))));
        drop(of_one);
        assert!(matches!(poll(&mut of_other), Some(Ok(_))));
    }
}
