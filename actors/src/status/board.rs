//! All cells, by their actor's path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::cell::StatusCell;
#[cfg(any(test, feature = "fail-points"))]
use crate::fail_points::FailPoints;

/// Threads of actors that have been silent for this long do not answer; nor does a watchdog that has asked none for as long.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a thread of actors answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ArbiterHeartbeat {
    /// Index of the thread; the last is that of the tree's root.
    pub index: usize,
    /// It has not answered for too long.
    pub stuck: bool,
    /// Time since its last answer, in milliseconds.
    pub silent_ms: u64,
}

/// The status cells of all actors, by path, such as `registrar/mychan/block-writer`. Locked only to add a cell and to show
/// them.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cells: RwLock<BTreeMap<String, Arc<StatusCell>>>,
    pulses: ArcSwap<Heartbeats>,
    stuck: AtomicU64,
    #[cfg(any(test, feature = "fail-points"))]
    fail_points: FailPoints,
}

/// The watchdog's last report, and its time.
#[derive(Debug)]
struct Heartbeats {
    asked: Instant,
    threads: Vec<ArbiterHeartbeat>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self { asked: Instant::now(), threads: vec![] }
    }
}

impl StatusBoard {
    /// An empty one; where there are fail points, with the faults that the environment asks for.
    pub fn from_environment() -> Self {
        let inner = Inner {
            #[cfg(any(test, feature = "fail-points"))]
            fail_points: FailPoints::from_environment(),
            ..Inner::default()
        };
        Self(Arc::new(inner))
    }

    /// The tree's faults.
    #[cfg(any(test, feature = "fail-points"))]
    pub fn fail_points(&self) -> &FailPoints {
        &self.0.fail_points
    }

    /// The cell at `path`; made if this is the first time.
    pub fn cell(&self, path: &str) -> Arc<StatusCell> {
        let mut cells = self.0.cells.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(path) {
            return Arc::clone(cell);
        }
        let cell = StatusCell::new(
            #[cfg(any(test, feature = "fail-points"))]
            super::cell::CellFailPoints { path: path.to_owned(), points: self.0.fail_points.clone() },
        );
        let cell = Arc::new(cell);
        cells.insert(path.to_owned(), Arc::clone(&cell));
        cell
    }

    /// Forgets the cell at `path` and all below it.
    pub fn remove(&self, path: &str) {
        let below = format!("{path}/");
        let mut cells = self.0.cells.write().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|at, _| at != path && !at.starts_with(&below));
    }

    /// Every actor's path and cell.
    pub fn all(&self) -> Vec<(String, Arc<StatusCell>)> {
        let cells = self.0.cells.read().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|(path, cell)| (path.clone(), Arc::clone(cell))).collect()
    }

    /// Returns the state of each thread of actors.
    pub fn heartbeats(&self) -> Vec<ArbiterHeartbeat> {
        self.0.pulses.load().threads.clone()
    }

    /// Returns whether all threads of actors answer, and the watchdog asks them.
    pub fn arbiters_responsive(&self) -> bool {
        let (pulses, within) = (self.0.pulses.load(), HEARTBEAT_TIMEOUT.as_millis());
        let answers = |thread: &ArbiterHeartbeat| u128::from(thread.silent_ms) < within;
        pulses.asked.elapsed() < HEARTBEAT_TIMEOUT && pulses.threads.iter().all(answers)
    }

    pub(crate) fn set_heartbeats(&self, threads: Vec<ArbiterHeartbeat>) {
        self.0.pulses.store(Arc::new(Heartbeats { asked: Instant::now(), threads }));
    }

    pub(crate) fn record_stuck(&self) {
        self.0.stuck.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of times that an actor or a thread was found stuck.
    pub fn stuck_total(&self) -> u64 {
        self.0.stuck.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{ActivityKind, MailboxDepth};

    #[test]
    fn a_restarted_actor_keeps_its_place_and_its_history() {
        let board = StatusBoard::default();
        let cell = board.cell("registrar/a");
        cell.set_state("running", "height 3");
        cell.record_error("disk full");
        cell.record_panic("index out of bounds (at a/b.rs:7)");
        drop(cell.begin_message(ActivityKind::Write));
        board.cell("registrar/a").begin_instance(1);
        let [(path, cell)] = &board.all()[..] else { panic!("one cell") };
        let report = cell.report();
        assert_eq!(
            (path.as_str(), report.state.as_str(), report.restarts, cell.handled()),
            ("registrar/a", "starting", 1, 1)
        );
        assert_eq!(report.restarts_within(Duration::from_secs(60)), 1);
        assert_eq!(report.last_error.as_ref().map(|e| e.text.as_str()), Some("disk full"));
        let panic = report.last_panic.as_ref().map(|panic| (panic.text.as_str(), panic.place.as_str()));
        assert_eq!(panic, Some(("index out of bounds", "a/b.rs:7")));
    }

    #[test]
    fn what_waits_and_what_is_in_hand_is_shown_until_the_actor_dies() {
        let cell = StatusBoard::default().cell("registrar/a");
        for _ in 0..3 {
            cell.count_sent();
        }
        assert_eq!(cell.current_activity(), None);
        let taken = cell.begin_message(ActivityKind::Order);
        assert_eq!(cell.current_activity().map(|in_hand| in_hand.message).as_deref(), Some("Order"));
        assert_eq!(cell.mailbox(), MailboxDepth { depth: 2, high_water: 3 });
        drop(taken);
        assert_eq!(cell.current_activity(), None);
        let _commit = cell.begin_background(ActivityKind::Commit);
        assert_eq!(cell.current_activity().map(|in_hand| in_hand.message).as_deref(), Some("a commit to the ledger"));
        cell.begin_instance(1);
        assert_eq!((cell.current_activity(), cell.mailbox().depth), (None, 0));
    }

    #[test]
    fn what_a_dead_actor_left_behind_ends_without_hiding_what_its_successor_has_in_hand() {
        let cell = StatusBoard::default().cell("registrar/a");
        let left_behind = cell.begin_background(ActivityKind::Commit);
        cell.begin_instance(1);
        let taken = cell.begin_background(ActivityKind::Apply);
        drop(left_behind);
        assert_eq!(cell.current_activity().map(|in_hand| in_hand.message).as_deref(), Some("a config message applied"));
        drop(taken);
        assert_eq!(cell.current_activity(), None);
    }

    #[test]
    fn a_thread_that_is_silent_for_seconds_does_not_answer() {
        let board = StatusBoard::default();
        assert!(board.arbiters_responsive(), "nobody was asked yet");
        let pulse = |index, silent_ms| ArbiterHeartbeat { index, stuck: false, silent_ms };
        for (silent_ms, answers) in [(0, true), (1999, true), (2000, false), (60_000, false), (0, true)] {
            board.set_heartbeats(vec![pulse(0, 0), pulse(1, silent_ms)]);
            assert_eq!(board.arbiters_responsive(), answers, "{silent_ms}");
        }
        let asked = Instant::now().checked_sub(HEARTBEAT_TIMEOUT).expect("the clock is old enough");
        board.0.pulses.store(Arc::new(Heartbeats { asked, threads: vec![] }));
        assert!(!board.arbiters_responsive(), "a watchdog that is no more sees nothing");
    }

    #[test]
    fn a_removed_channel_takes_its_actors_along() {
        let board = StatusBoard::default();
        for path in ["registrar", "registrar/a", "registrar/a/block-writer", "registrar/ab"] {
            board.cell(path);
        }
        board.remove("registrar/a");
        let left: Vec<_> = board.all().into_iter().map(|(path, ..)| path).collect();
        assert_eq!(left, ["registrar", "registrar/ab"]);
    }
}
