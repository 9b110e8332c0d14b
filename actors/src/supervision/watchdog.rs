//! Notices what is stuck: an actor that has had a message in hand for too long, and a thread of actors that does not answer.
//! It is a thread of its own, which no actor can hold up, and it reads what actors publish.
//!
//! It terminates nothing: a stuck actor cannot be terminated from outside, and mostly goes on when the disk does. It is shown,
//! logged once, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use actix_rt::ArbiterHandle;

use crate::status::{Activity, ArbiterHeartbeat, STUCK_AFTER, StatusBoard};

/// Interval between polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The thread that state for stuck actors and asks arbiters for an answer. It ends when this is dropped.
pub struct Watchdog {
    _ends: Sender<()>,
}

impl Watchdog {
    /// Watches the actors of this board and these threads.
    pub fn start(board: StatusBoard, arbiters: Vec<ArbiterHandle>) -> Self {
        let (ends, ended) = channel();
        let started =
            std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(board, arbiters, &ended));
        if let Err(error) = started {
            tracing::error!(target: "orderer.supervision", %error, "failed to start the watchdog thread; stuck actors will not be detected");
        }
        Self { _ends: ends }
    }
}

fn watch(board: StatusBoard, arbiters: Vec<ArbiterHandle>, ended: &Receiver<()>) {
    let arbiters = arbiters.into_iter().enumerate().map(|(index, arbiter)| ArbiterProbe::new(index, arbiter)).collect();
    let mut state = WatchdogState { board, arbiters, stuck: BTreeMap::new() };
    while ended.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        state.poll();
    }
}

struct WatchdogState {
    board: StatusBoard,
    arbiters: Vec<ArbiterProbe>,
    /// The activities that were stuck at the last poll, by actor.
    stuck: BTreeMap<String, Activity>,
}

/// A thread, and what it was asked.
struct ArbiterProbe {
    index: usize,
    arbiter: ArbiterHandle,
    question: u64,
    answered: Arc<AtomicU64>,
    at: Instant,
    is_stuck: bool,
}

impl WatchdogState {
    fn poll(&mut self) {
        let pulses = self.arbiters.iter_mut().map(|asked| asked.poll(&self.board)).collect();
        self.board.set_heartbeats(pulses);
        let mut stuck = BTreeMap::new();
        for (path, cell) in self.board.all() {
            let Some(in_hand) = cell.current_activity().filter(Activity::is_stuck) else { continue };
            if !self.stuck.contains_key(&path) {
                self.board.record_stuck();
                tracing::warn!(target: "orderer.supervision", channel = channel_of(&path), actor = %path,
                    in_hand = %in_hand.message, seconds = in_hand.for_ms / 1000, action = in_hand.action(), "actor is stuck");
            }
            stuck.insert(path, in_hand);
        }
        for (path, in_hand) in &self.stuck {
            if !stuck.contains_key(path) {
                tracing::info!(target: "orderer.supervision", channel = channel_of(path), actor = %path,
                    in_hand = %in_hand.message, "actor resumed");
            }
        }
        self.stuck = stuck;
    }
}

impl ArbiterProbe {
    fn new(index: usize, arbiter: ArbiterHandle) -> Self {
        Self { index, arbiter, question: 0, answered: Arc::default(), at: Instant::now(), is_stuck: false }
    }

    /// Sends one probe at a time, so that a stuck thread accumulates none.
    fn poll(&mut self, board: &StatusBoard) -> ArbiterHeartbeat {
        if self.answered.load(Ordering::Acquire) == self.question {
            if self.is_stuck {
                tracing::info!(target: "orderer.supervision", arbiter = self.index, "actor thread resumed");
            }
            (self.question, self.at, self.is_stuck) = (self.question + 1, Instant::now(), false);
            let (answered, question) = (Arc::clone(&self.answered), self.question);
            self.arbiter.spawn_fn(move || answered.store(question, Ordering::Release));
            return ArbiterHeartbeat { index: self.index, stuck: false, silent_ms: 0 };
        }
        let silent = self.at.elapsed();
        if silent >= STUCK_AFTER && !self.is_stuck {
            self.is_stuck = true;
            board.record_stuck();
            tracing::warn!(target: "orderer.supervision", arbiter = self.index, seconds = silent.as_secs(),
                action = "find the stuck actor in /debug/actors; restart the orderer if it stays stuck",
                "actor thread is stuck; its channels process no messages");
        }
        let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        ArbiterHeartbeat { index: self.index, stuck: self.is_stuck, silent_ms }
    }
}

/// The channel that an actor works for; none for those above.
fn channel_of(path: &str) -> &str {
    path.strip_prefix("registrar/").and_then(|below| below.split('/').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_rt::Arbiter;
    use tokio::sync::oneshot;

    /// Waits until the thread has done all that it was given before.
    async fn settled(arbiter: &Arbiter) {
        let (done, is_done) = oneshot::channel::<()>();
        assert!(arbiter.spawn_fn(move || drop(done)));
        let _ = is_done.await;
    }

    /// Looks once; the question that each thread was asked last.
    fn asked(state: &mut WatchdogState) -> Vec<u64> {
        state.poll();
        state.arbiters.iter().map(|asked| asked.question).collect()
    }

    #[test]
    fn a_thread_that_does_not_answer_is_asked_one_question_until_it_does() {
        actix::System::new().block_on(async {
            let (well, hangs) = (Arbiter::new(), Arbiter::new());
            let arbiters = [&well, &hangs].map(Arbiter::handle).into_iter().enumerate();
            let arbiters = arbiters.map(|(index, arbiter)| ArbiterProbe::new(index, arbiter)).collect();
            let mut state = WatchdogState { board: StatusBoard::default(), arbiters, stuck: BTreeMap::new() };
            assert_eq!(asked(&mut state), [1, 1]);
            settled(&well).await;
            settled(&hangs).await;
            let (go_on, until) = channel::<()>();
            hangs.spawn_fn(move || {
                let _ = until.recv();
            });
            assert_eq!(asked(&mut state), [2, 2], "what it was asked before is answered");
            for question in 3..6 {
                settled(&well).await;
                assert_eq!(asked(&mut state), [question, 2]);
            }
            drop(go_on);
            settled(&well).await;
            settled(&hangs).await;
            assert_eq!(asked(&mut state), [6, 3]);
            settled(&well).await;
            settled(&hangs).await;
            hangs.stop();
            hangs.join().expect("it ends");
            for question in 7..9 {
                assert_eq!(asked(&mut state), [question, 4], "a thread that has ended never answers");
                settled(&well).await;
            }
        });
    }
}
