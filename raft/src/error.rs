//! The errors of a machine.

/// The machine met an error from which it cannot continue. It stays failed; a new one can be created from the state on
/// disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Raft state machine failed: {reason}")]
pub struct MachineFailed {
    /// Description of the error.
    pub reason: String,
}

impl MachineFailed {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// The reason why a message from another consenter was not accepted. The machine is unchanged, unless it
/// [failed](StepError::Failed).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The message is for another ID.
    #[error("the message is for node {to}, this is node {id}")]
    NotForUs {
        /// The ID that the message is for.
        to: u64,
        /// Raft ID of this node.
        id: u64,
    },
    /// Consenters do not send messages of this type.
    #[error("a message of type {0} does not come from another node")]
    Local(i32),
    /// The message contradicts itself, or claims what the sender cannot know.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
    /// The leader knows that this node had entries that it no longer has: its log was lost, or an old copy was restored.
    #[error(
        "the leader knows that this node had the log up to entry {commit}, but the log here ends at {last}: it was lost or replaced by \
         an old copy"
    )]
    LogLost {
        /// Index up to which the leader knows that the log contained entries.
        commit: u64,
        /// Index at which the log ends.
        last: u64,
    },
    /// The leader has another entry where this node has a committed one.
    #[error(
        "entry {index} is committed here with term {here}, and the leader has it with term {there}: the logs have forked"
    )]
    Fork {
        /// The index of the entry.
        index: u64,
        /// The term of the entry here.
        here: u64,
        /// The term of the leader's entry.
        there: u64,
    },
    /// The machine has failed.
    #[error(transparent)]
    Failed(#[from] MachineFailed),
}

/// The reason why a proposal was not appended to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Only the leader proposes.
    #[error("this node does not lead")]
    NotLeader {
        /// The ID of the leader, if it is known.
        leader: Option<u64>,
    },
    /// Leadership is being transferred, or this node was removed, or the entry is not a valid membership change.
    #[error("the proposal was dropped: leadership is being handed over, or this node is no consenter any more")]
    Dropped,
    /// The machine has failed.
    #[error(transparent)]
    Failed(#[from] MachineFailed),
}
