//! Large messages take turns: so many bytes of them, by their declared lengths, are received at a time. Those that are slow
//! give way to those that wait.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

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
    room: Arc<Semaphore>,
    bytes: u32,
    waiting: AtomicUsize,
    granted: AtomicU64,
    granted_at_last_look: AtomicU64,
    coming: Mutex<Vec<Weak<Coming>>>,
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
    semaphore: PollSemaphore,
    bytes: u32,
}

/// A large message's turn; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    coming: Arc<Coming>,
    _room: OwnedSemaphorePermit,
}

impl LargeMessages {
    /// Messages of so many bytes together at a time.
    pub fn new(bytes: u32) -> Self {
        Self(Arc::new(Inner {
            room: Arc::new(Semaphore::new(bytes as usize)),
            bytes,
            waiting: AtomicUsize::new(0),
            granted: AtomicU64::new(0),
            granted_at_last_look: AtomicU64::new(0),
            coming: Mutex::default(),
        }))
    }

    /// Whether a message of this length needs a turn.
    pub fn concerns(length: usize) -> bool {
        length > LARGE_BYTES
    }

    /// Waits for a turn, first come, first served.
    pub fn wait(&self, length: usize) -> Waiting {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let bytes = u32::try_from(length).unwrap_or(u32::MAX).min(self.0.bytes);
        Waiting { of: self.clone(), semaphore: PollSemaphore::new(Arc::clone(&self.0.room)), bytes }
    }

    /// Call it once a second: if somebody waits, all messages that hardly come have to give way; and if nobody got a turn since the
    /// last look, the slowest has to that is on its way.
    pub fn look(&self, now: u64) {
        let granted = self.0.granted.load(Ordering::Relaxed);
        let before = self.0.granted_at_last_look.swap(granted, Ordering::Relaxed);
        let mut coming = self.0.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.retain(|message| message.strong_count() > 0);
        if self.0.waiting.load(Ordering::Relaxed) == 0 {
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
    /// Ready with the turn.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Permit>> {
        let Some(room) = ready!(self.semaphore.poll_acquire_many(cx, self.bytes)) else { return Poll::Ready(None) };
        let coming = Arc::new(Coming {
            since: now_ms(),
            arrived: AtomicUsize::new(0),
            gives_way: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        });
        self.of.0.granted.fetch_add(1, Ordering::Relaxed);
        self.of.0.coming.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&coming));
        Poll::Ready(Some(Permit { coming, _room: room }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of.0.waiting.fetch_sub(1, Ordering::Relaxed);
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

    #[tokio::test]
    async fn who_waits_in_vain_makes_the_slowest_give_way() {
        let turns = LargeMessages::new(100);
        let (mut first, mut second) = (turns.wait(60), turns.wait(60));
        let permit = std::future::poll_fn(|cx| first.poll(cx)).await.expect("a turn");
        drop(first);
        let now = permit.coming.since;
        let gives_way = || permit.coming.gives_way.load(Ordering::Relaxed);
        std::future::poll_fn(|cx| {
            assert!(second.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        permit.arrived(10 << 20);
        // it comes well, and somebody has got a turn since the last look
        turns.look(now + PATIENCE_MS);
        assert!(!gives_way());
        turns.look(now + PATIENCE_MS + 1000);
        assert!(gives_way());
        drop(permit);
        std::future::poll_fn(|cx| second.poll(cx)).await.expect("a turn");
    }
}
