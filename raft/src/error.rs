//! What can go wrong in a machine.

/// The machine met something that it cannot go on from. It stays failed; a new one may be made of what is on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Raft state machine failed: {reason}")]
pub struct MachineFailed {
    /// What it could not go on from.
    pub reason: String,
}

impl MachineFailed {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// Why a message of another consenter was not taken. The machine is as it was before, unless it [failed](StepError::Failed).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The message is for another ID.
    #[error("the message is for node {to}, this is node {id}")]
    NotForUs {
        /// For whom it is.
        to: u64,
        /// This node.
        id: u64,
    },
    /// Consenters do not send messages of this type.
    #[error("a message of type {0} does not come from another node")]
    Local(i32),
    /// The message contradicts itself or what the sender can know.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
    /// The leader knows that this node had entries that it no longer has: its log was lost, or an old copy was restored.
    #[error(
        "the leader knows that this node had the log up to entry {commit}, but the log here ends at {last}: it was lost or replaced by \
         an old copy"
    )]
    LogLost {
        /// Up to where the leader takes the log to be here.
        commit: u64,
        /// Where it ends.
        last: u64,
    },
    /// The leader has another entry where this node has a committed one.
    #[error(
        "entry {index} is committed here with term {here}, and the leader has it with term {there}: the logs have forked"
    )]
    Fork {
        /// Where.
        index: u64,
        /// The term of the entry here.
        here: u64,
        /// The term of the leader's entry.
        there: u64,
    },
    /// The machine does not work any more.
    #[error(transparent)]
    Failed(#[from] MachineFailed),
}

/// Why a proposal was not appended to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Only the leader proposes.
    #[error("this node does not lead")]
    NotLeader {
        /// Who leads, if it is known.
        leader: Option<u64>,
    },
    /// Leadership is being handed over, or this node was removed.
    #[error("the proposal was dropped: leadership is being handed over, or this node is no consenter any more")]
    Dropped,
    /// The machine does not work any more.
    #[error(transparent)]
    Failed(#[from] MachineFailed),
}
