//! What is shown is published, not asked.
//!
//! Every actor owns a [`StatusCell`] and writes to it whenever its state changes; whoever wants to know reads the cell.
//! Nobody sends a message for it, so a stuck or flooded actor is visible exactly because nobody has to ask it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::watch;

/// What an actor says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One word or two, such as `running`; the actor's own enum decides.
    pub state: String,
    /// Figures and reasons that belong to the state.
    pub detail: String,
    /// When this state was entered, in milliseconds since 1970.
    pub since_ms: u64,
    /// When this incarnation of the actor began, in milliseconds since 1970.
    pub started_ms: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// The newest thing that went wrong, and when (milliseconds since 1970).
    pub last_error: Option<(u64, String)>,
}

/// One actor's published state. It belongs to a place in the tree: a restarted actor goes on writing to the same cell.
#[derive(Debug)]
pub struct StatusCell {
    report: watch::Sender<Report>,
    handled: AtomicU64,
}

impl StatusCell {
    fn new() -> Self {
        let now = now_ms();
        let report = Report {
            state: "starting".to_owned(),
            detail: String::new(),
            since_ms: now,
            started_ms: now,
            restarts: 0,
            last_error: None,
        };
        Self { report: watch::Sender::new(report), handled: AtomicU64::new(0) }
    }

    /// A new incarnation of the actor begins; `restarts` says how many came before it.
    pub fn begin(&self, restarts: u64) {
        self.report.send_modify(|r| {
            let now = now_ms();
            "starting".clone_into(&mut r.state);
            r.detail.clear();
            (r.since_ms, r.started_ms, r.restarts) = (now, now, restarts);
        });
    }

    /// The actor entered `state`, or `detail` changed within it.
    pub fn enter(&self, state: &str, detail: impl Into<String>) {
        self.report.send_modify(|r| {
            if r.state != state {
                state.clone_into(&mut r.state);
                r.since_ms = now_ms();
            }
            r.detail = detail.into();
        });
    }

    /// Something went wrong.
    pub fn failed(&self, error: impl Into<String>) {
        self.report.send_modify(|r| r.last_error = Some((now_ms(), error.into())));
    }

    /// One more message was handled.
    pub fn count_one(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages handled so far, by all incarnations.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// The report as it is now.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Follows the report.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }
}

/// All cells, by their actor's path, such as `registrar/mychan/block-writer`. Locked only to add a cell and to show
/// them.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard(Arc<RwLock<BTreeMap<String, Arc<StatusCell>>>>);

impl StatusBoard {
    /// The cell at `path`; made if this is the first time.
    pub fn cell(&self, path: &str) -> Arc<StatusCell> {
        let mut cells = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(path.to_owned()).or_insert_with(|| Arc::new(StatusCell::new())))
    }

    /// Forgets the cell at `path` and all below it.
    pub fn remove(&self, path: &str) {
        let below = format!("{path}/");
        let mut cells = self.0.write().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|at, _| at != path && !at.starts_with(&below));
    }

    /// Every actor's path, report and count of handled messages.
    pub fn all(&self) -> Vec<(String, Report, u64)> {
        let cells = self.0.read().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|(path, cell)| (path.clone(), cell.report(), cell.handled())).collect()
    }
}

/// Milliseconds since 1970; 0 for a clock before that.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_actor_keeps_its_place_and_its_history() {
        let board = StatusBoard::default();
        let cell = board.cell("registrar/a");
        cell.enter("running", "height 3");
        cell.failed("disk full");
        cell.count_one();
        board.cell("registrar/a").begin(1);
        let [(path, report, handled)] = &board.all()[..] else { panic!("one cell") };
        assert_eq!(
            (path.as_str(), report.state.as_str(), report.restarts, *handled),
            ("registrar/a", "starting", 1, 1)
        );
        assert_eq!(report.last_error.as_ref().map(|e| e.1.as_str()), Some("disk full"));
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
