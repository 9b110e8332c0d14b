//! One actor's published state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::activity::{Activity, ActivityKind, ActivitySlot};
use super::now_ms;

/// Maximum number of restarts that are retained with their time; no policy allows more within its window.
const MAX_RESTARTS_KEPT: usize = 32;

/// The status that an actor publishes.
#[derive(Clone, Debug, Serialize)]
pub struct ActorStatus {
    /// One word or two, such as `running`; the actor's own enum decides.
    pub state: String,
    /// Figures and reasons that belong to the state.
    pub detail: String,
    /// Time at which this state was entered, in milliseconds since 1970.
    pub since_ms: u64,
    /// Time at which this instance of the actor began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Number of restarts.
    pub restarts: u64,
    /// The newest thing that went wrong.
    pub last_error: Option<RecordedError>,
    /// The newest panic.
    pub last_panic: Option<RecordedPanic>,
    /// Times of the newest restarts.
    #[serde(skip)]
    restarted_ms: VecDeque<u64>,
}

/// An error, and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedError {
    /// Time of the error, in milliseconds since 1970.
    pub at_ms: u64,
    /// Text of the error.
    pub text: String,
}

/// A panic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedPanic {
    /// Time of the panic, in milliseconds since 1970.
    pub at_ms: u64,
    /// The message that it was raised with.
    pub text: String,
    /// File and line, empty if not known.
    pub place: String,
}

/// The messages that wait for an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MailboxDepth {
    /// Messages that are sent and not yet being handled.
    pub depth: u64,
    /// The most there ever were.
    pub high_water: u64,
}

impl ActorStatus {
    /// Restarts no longer ago than `window`.
    pub fn restarts_within(&self, window: Duration) -> usize {
        let from = now_ms().saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
        self.restarted_ms.iter().filter(|&&at| at > from).count()
    }
}

/// One actor's published state. It belongs to a place in the tree: a restarted actor continues to write to the same cell.
#[derive(Debug)]
pub struct StatusCell {
    report: watch::Sender<ActorStatus>,
    handled: AtomicU64,
    sent: AtomicU64,
    taken: AtomicU64,
    high_water: AtomicU64,
    /// The activity of the handler, and the one that the actor awaits from another thread.
    slots: [ActivitySlot; 2],
    #[cfg(any(test, feature = "fail-points"))]
    faults: CellFailPoints,
}

/// The fail points that this actor's activities meet.
#[cfg(any(test, feature = "fail-points"))]
#[derive(Debug)]
pub(super) struct CellFailPoints {
    pub(super) path: String,
    pub(super) points: crate::fail_points::FailPoints,
}

impl StatusCell {
    pub(super) fn new(#[cfg(any(test, feature = "fail-points"))] faults: CellFailPoints) -> Self {
        let now = now_ms();
        let report = ActorStatus {
            state: "starting".to_owned(),
            detail: String::new(),
            since_ms: now,
            started_ms: now,
            restarts: 0,
            last_error: None,
            last_panic: None,
            restarted_ms: VecDeque::new(),
        };
        Self {
            report: watch::Sender::new(report),
            handled: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            high_water: AtomicU64::new(0),
            slots: Default::default(),
            #[cfg(any(test, feature = "fail-points"))]
            faults,
        }
    }

    /// Starts the status of a new instance of the actor; `restarts` is the number of earlier ones. Messages that waited for the
    /// last one are gone with it.
    pub fn begin_instance(&self, restarts: u64) {
        self.sent.store(self.taken.load(Ordering::Relaxed), Ordering::Relaxed);
        for slot in &self.slots {
            slot.clear();
        }
        self.report.send_modify(|r| {
            let now = now_ms();
            if restarts > r.restarts {
                if r.restarted_ms.len() == MAX_RESTARTS_KEPT {
                    r.restarted_ms.pop_front();
                }
                r.restarted_ms.push_back(now);
            }
            "starting".clone_into(&mut r.state);
            r.detail.clear();
            (r.since_ms, r.started_ms, r.restarts) = (now, now, restarts);
        });
    }

    /// The actor entered `state`, or `detail` changed within it.
    pub fn set_state(&self, state: &str, detail: impl Into<String>) {
        self.report.send_modify(|r| {
            if r.state != state {
                state.clone_into(&mut r.state);
                r.since_ms = now_ms();
            }
            r.detail = detail.into();
        });
    }

    /// Something went wrong.
    pub fn record_error(&self, error: impl Into<String>) {
        self.report.send_modify(|r| r.last_error = Some(RecordedError { at_ms: now_ms(), text: error.into() }));
    }

    /// The actor panicked; the text ends with the place, as [`install_panic_hook`](crate::supervision::install_panic_hook) has it.
    pub fn record_panic(&self, text: &str) {
        let bare = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (at "));
        let (text, place) = bare.map_or((text, ""), |(text, place)| (text, place));
        let panic = RecordedPanic { at_ms: now_ms(), text: text.to_owned(), place: place.to_owned() };
        self.report.send_modify(|r| r.last_panic = Some(panic));
    }

    /// A message is about to be sent to the actor.
    pub fn count_sent(&self) {
        let sent = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        self.high_water.fetch_max(sent.saturating_sub(self.taken.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Records that a handler begins a message; it ends when the returned value is dropped. For the first line of every
    /// handler.
    pub fn begin_message(self: &Arc<Self>, task: ActivityKind) -> ActivityGuard {
        self.handled.fetch_add(1, Ordering::Relaxed);
        if task.is_counted_when_sent() {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        let taken = ActivityGuard::new(self, 0, task);
        let _ = self.fail_point(task);
        taken
    }

    /// Records that another thread works for the actor, until the returned value is dropped.
    pub fn begin_background(self: &Arc<Self>, task: ActivityKind) -> ActivityGuard {
        let taken = ActivityGuard::new(self, 1, task);
        if task != ActivityKind::Commit {
            // a commit's is where it may fail
            let _ = self.fail_point(task);
        }
        taken
    }

    /// A fail point: nothing, but in tests.
    #[cfg_attr(
        not(any(test, feature = "fail-points")),
        allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "tests make it fail")
    )]
    pub(crate) fn fail_point(&self, task: ActivityKind) -> std::io::Result<()> {
        #[cfg(any(test, feature = "fail-points"))]
        self.faults.points.trigger(&self.faults.path, &format!("{task:?}"))?;
        let _ = task;
        Ok(())
    }

    /// A fail point on the thread that performs a task for the actor: nothing, but in tests.
    #[cfg_attr(not(any(test, feature = "fail-points")), allow(clippy::unused_self, reason = "tests make it fail"))]
    pub(crate) fn fail_point_on_thread(&self, task: ActivityKind) {
        #[cfg(any(test, feature = "fail-points"))]
        let _ = self.faults.points.trigger(&self.faults.path, &format!("{task:?}@thread"));
        let _ = task;
    }

    fn slot(&self, index: usize) -> &ActivitySlot {
        &self.slots[index]
    }

    /// Returns the activity that the actor has had in hand for longest.
    pub fn current_activity(&self) -> Option<Activity> {
        self.slots.iter().filter_map(ActivitySlot::read).max_by_key(|in_hand| in_hand.for_ms)
    }

    /// Returns the number of messages that wait for the actor.
    pub fn mailbox(&self) -> MailboxDepth {
        let taken = self.taken.load(Ordering::Relaxed);
        let depth = self.sent.load(Ordering::Relaxed).saturating_sub(taken);
        MailboxDepth { depth, high_water: self.high_water.load(Ordering::Relaxed) }
    }

    /// Returns the number of messages handled so far, by all instances.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// The report as it is now.
    pub fn report(&self) -> ActorStatus {
        self.report.borrow().clone()
    }

    /// Follows the report.
    pub fn subscribe(&self) -> watch::Receiver<ActorStatus> {
        self.report.subscribe()
    }
}

/// As long as this lives the activity is in progress, unless another was noted over it: what a failed actor left to another
/// thread may end when the next instance has begun an activity.
#[derive(Debug)]
pub struct ActivityGuard {
    cell: Arc<StatusCell>,
    slot: usize,
    noted: u64,
}

impl ActivityGuard {
    fn new(cell: &Arc<StatusCell>, slot: usize, task: ActivityKind) -> Self {
        let noted = cell.slot(slot).note(task);
        Self { cell: Arc::clone(cell), slot, noted }
    }
}

impl Drop for ActivityGuard {
    fn drop(&mut self) {
        self.cell.slot(self.slot).clear_own(self.noted);
    }
}
