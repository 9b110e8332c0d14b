//! The activity of an actor, and its start: noted where messages are handled, so that a stuck actor can be told from an
//! idle one without asking it. About 60 ns a message.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::now_ms;

/// An activity that takes longer is stuck. No handler works for longer than milliseconds, and a commit that takes seconds
/// points to a failing disk.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// A message, or work that is done for one elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is a message's name, or that of what is waited for")]
pub enum ActivityKind {
    Order = 1,
    Write,
    Committed,
    Commit,
    Halt,
    Abandon,
    Follow,
    Unfollow,
    StopChain,
    TryAgain,
    ChildGone,
    NewChannel,
    LookForChannels,
    Join,
    Remove,
    Restart,
    StopAll,
    Shutdown,
    Delivery,
    LinkChanged,
    TimeToCutFailed,
    Resubmit,
    AskToCut,
    Ingress,
    Drain,
    TakenIn,
    Recheck,
    Apply,
    Start,
    Step,
    Forwarded,
    Happened,
}

/// In the order of their numbers.
const ALL: [ActivityKind; 32] = [
    ActivityKind::Order,
    ActivityKind::Write,
    ActivityKind::Committed,
    ActivityKind::Commit,
    ActivityKind::Halt,
    ActivityKind::Abandon,
    ActivityKind::Follow,
    ActivityKind::Unfollow,
    ActivityKind::StopChain,
    ActivityKind::TryAgain,
    ActivityKind::ChildGone,
    ActivityKind::NewChannel,
    ActivityKind::LookForChannels,
    ActivityKind::Join,
    ActivityKind::Remove,
    ActivityKind::Restart,
    ActivityKind::StopAll,
    ActivityKind::Shutdown,
    ActivityKind::Delivery,
    ActivityKind::LinkChanged,
    ActivityKind::TimeToCutFailed,
    ActivityKind::Resubmit,
    ActivityKind::AskToCut,
    ActivityKind::Ingress,
    ActivityKind::Drain,
    ActivityKind::TakenIn,
    ActivityKind::Recheck,
    ActivityKind::Apply,
    ActivityKind::Start,
    ActivityKind::Step,
    ActivityKind::Forwarded,
    ActivityKind::Happened,
];

impl ActivityKind {
    /// Returns whether senders count the message in the receiver's cell. The others are rare, and handled at once.
    pub(super) fn is_counted_when_sent(self) -> bool {
        matches!(
            self,
            Self::Order
                | Self::Write
                | Self::Delivery
                | Self::Join
                | Self::Remove
                | Self::Restart
                | Self::Step
                | Self::Forwarded
                | Self::Happened
        )
    }

    /// Returns the duration after which the activity is stuck. A start waits for its turn among all the others.
    fn stuck_after(self) -> Duration {
        if self == Self::Start { STUCK_AFTER * 12 } else { STUCK_AFTER }
    }

    /// Returns the operator's action when it is stuck.
    fn action(self) -> &'static str {
        match self {
            Self::Commit => "check the disk: a commit does not end",
            Self::Start => "check the disk: the node cannot read the ledger, or its last commit does not end",
            _ => "if it does not continue, restart the orderer: acknowledged envelopes are on the disk",
        }
    }

    /// Returns the description for views.
    fn name(self) -> String {
        match self {
            Self::Commit => "a commit to the ledger".to_owned(),
            Self::Recheck => "a message judged again".to_owned(),
            Self::Apply => "a config message applied".to_owned(),
            Self::Start => "its start".to_owned(),
            message => format!("{message:?}"),
        }
    }
}

/// The activity that an actor has in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// The message, or what is waited for.
    pub message: String,
    /// Taken in hand at, in milliseconds since 1970.
    pub since_ms: u64,
    /// Time since it began, in milliseconds.
    #[serde(skip)]
    pub for_ms: u64,
    /// Longer than it may be.
    pub stuck: bool,
    #[serde(skip)]
    action: &'static str,
}

impl Activity {
    /// Returns whether it has taken too long.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Returns the operator's action when it is stuck.
    pub fn action(&self) -> &'static str {
        self.action
    }
}

/// An activity's note: microseconds since the process read the clock first, and the task's number in the lowest byte; so each
/// note is unique. 0: nothing.
#[derive(Debug, Default)]
pub(super) struct ActivitySlot(AtomicU64);

impl ActivitySlot {
    /// Notes an activity over whatever was noted before. Returns the note.
    pub(super) fn note(&self, task: ActivityKind) -> u64 {
        let noted = (clock_us() << 8) | task as u64;
        self.0.store(noted, Ordering::Relaxed);
        noted
    }

    /// Clears the slot, whatever its note is.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Only if it is this that is noted.
    pub(super) fn clear_own(&self, noted: u64) {
        let _ = self.0.compare_exchange(noted, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Option<Activity> {
        let noted = self.0.load(Ordering::Relaxed);
        let task = usize::try_from(noted & 0xff).ok().and_then(|number| ALL.get(number.checked_sub(1)?))?;
        let for_ms = clock_us().saturating_sub(noted >> 8) / 1000;
        let stuck = u128::from(for_ms) >= task.stuck_after().as_millis();
        let since_ms = now_ms().saturating_sub(for_ms);
        Some(Activity { message: task.name(), since_ms, for_ms, stuck, action: task.action() })
    }
}

/// Returns the time of a monotonic clock, in microseconds.
fn clock_us() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_micros()).unwrap_or(u64::MAX >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_found_by_its_number() {
        for (index, task) in ALL.iter().enumerate() {
            assert_eq!(*task as usize, index + 1);
        }
    }
}
