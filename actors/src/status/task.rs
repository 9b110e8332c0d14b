//! What an actor has in hand, and since when: noted where messages are handled, so that a stuck actor can be told from an
//! idle one without asking it. About 60 ns a message.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::now_ms;

/// What takes longer is stuck. No handler works for longer than milliseconds, and a commit that takes seconds is a disk in
/// trouble.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// A message, or work that is done for one elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is a message's name, or that of what is waited for")]
pub enum Task {
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
}

/// In the order of their numbers.
const ALL: [Task; 29] = [
    Task::Order,
    Task::Write,
    Task::Committed,
    Task::Commit,
    Task::Halt,
    Task::Abandon,
    Task::Follow,
    Task::Unfollow,
    Task::StopChain,
    Task::TryAgain,
    Task::ChildGone,
    Task::NewChannel,
    Task::LookForChannels,
    Task::Join,
    Task::Remove,
    Task::Restart,
    Task::StopAll,
    Task::Shutdown,
    Task::Delivery,
    Task::LinkChanged,
    Task::TimeToCutFailed,
    Task::Resubmit,
    Task::AskToCut,
    Task::Ingress,
    Task::Drain,
    Task::TakenIn,
    Task::Recheck,
    Task::Apply,
    Task::Start,
];

impl Task {
    /// Whether its senders say so to the receiver's cell. The others are rare, and handled at once.
    pub(super) fn is_counted_when_sent(self) -> bool {
        matches!(self, Self::Order | Self::Write | Self::Delivery | Self::Join | Self::Remove | Self::Restart)
    }

    /// What takes longer is stuck. A start waits for its turn among all the others.
    fn patience(self) -> Duration {
        if self == Self::Start { STUCK_AFTER * 12 } else { STUCK_AFTER }
    }

    /// What a person can do when it is stuck.
    fn action(self) -> &'static str {
        match self {
            Self::Commit => "see to the disk: it does not write",
            Self::Start => "see to the disk: the ledger is not read, or its last commit does not end",
            _ => "if it does not go on, restart the orderer: what was acknowledged is on the disk",
        }
    }

    /// For people: what is done.
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

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InHand {
    /// The message, or what is waited for.
    pub message: String,
    /// Taken in hand at, in milliseconds since 1970.
    pub since_ms: u64,
    /// And so long ago.
    #[serde(skip)]
    pub for_ms: u64,
    /// Longer than it may be.
    pub stuck: bool,
    #[serde(skip)]
    action: &'static str,
}

impl InHand {
    /// Whether it has been in hand for too long.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// What a person can do then.
    pub fn action(&self) -> &'static str {
        self.action
    }
}

/// Where it is noted: microseconds since the process looked at the clock first, and the task's number in the lowest byte; so
/// no note is like another. 0: nothing.
#[derive(Debug, Default)]
pub(super) struct Slot(AtomicU64);

impl Slot {
    /// Notes it over whatever was noted before. Gives back the note.
    pub(super) fn note(&self, task: Task) -> u64 {
        let noted = (clock_us() << 8) | task as u64;
        self.0.store(noted, Ordering::Relaxed);
        noted
    }

    /// Whatever is noted.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Only if it is this that is noted.
    pub(super) fn clear_own(&self, noted: u64) {
        let _ = self.0.compare_exchange(noted, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Option<InHand> {
        let noted = self.0.load(Ordering::Relaxed);
        let task = usize::try_from(noted & 0xff).ok().and_then(|number| ALL.get(number.checked_sub(1)?))?;
        let for_ms = clock_us().saturating_sub(noted >> 8) / 1000;
        let stuck = u128::from(for_ms) >= task.patience().as_millis();
        let since_ms = now_ms().saturating_sub(for_ms);
        Some(InHand { message: task.name(), since_ms, for_ms, stuck, action: task.action() })
    }
}

/// A clock that nobody sets, in microseconds.
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
