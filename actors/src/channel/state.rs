//! How a channel stands.

use std::fmt;

use serde::Serialize;

use crate::status::Level;

/// How a channel stands; also what its page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ChannelState {
    /// Its chain is being built from the ledger.
    Starting,
    /// Its Kafka cluster is being reached for the first time.
    Connecting,
    /// Records of its topic are being taken in that were there before.
    CatchingUp {
        /// The next record's.
        offset: i64,
        /// Behind the last of them.
        end: i64,
    },
    /// It takes messages.
    Running,
    /// Its Kafka cluster does not serve it, and is tried again.
    Retrying {
        /// How often in a row.
        attempt: usize,
        /// What went wrong.
        cause: String,
        /// Milliseconds until the next attempt, from when that is said.
        pause_ms: u64,
    },
    /// Its chain died and will be built again.
    Restarting {
        /// How often within the policy's window.
        attempt: usize,
        /// What it died of.
        cause: String,
        /// Milliseconds until the next attempt, from when that is said.
        pause_ms: u64,
    },
    /// It takes nothing until a person has acted. What is on its disk can be read.
    Failed {
        /// What happened.
        cause: String,
        /// What to do about it.
        action: String,
    },
    /// The node is shutting down.
    Stopped,
    /// It is no channel of this node any more.
    Removed,
}

impl fmt::Display for ChannelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("its chain is starting"),
            Self::Connecting => f.write_str("its Kafka cluster is being reached"),
            Self::CatchingUp { offset, end } => {
                write!(f, "it is catching up with its topic, at offset {offset} of {end}")
            }
            Self::Running => f.write_str("its chain is running"),
            Self::Retrying { attempt, cause, pause_ms } => {
                write!(f, "its Kafka cluster does not serve it (attempt {attempt}, again after {pause_ms} ms): {cause}")
            }
            Self::Restarting { attempt, cause, pause_ms } => {
                write!(f, "its chain restarts (attempt {attempt}, after {pause_ms} ms): {cause}")
            }
            Self::Failed { cause, action } => write!(f, "it has failed: {cause}; {action}"),
            Self::Stopped => f.write_str("the orderer is shutting down"),
            Self::Removed => f.write_str("it was removed from this orderer"),
        }
    }
}

impl Level {
    /// Of a channel's.
    pub fn of_channel(state: &ChannelState) -> Self {
        match state {
            // one goes on by itself, but what it waits for is up to somebody, and clients are refused meanwhile
            ChannelState::Failed { .. } | ChannelState::Retrying { .. } => Self::Bad,
            ChannelState::Running | ChannelState::Stopped | ChannelState::Removed => Self::Good,
            ChannelState::Starting
            | ChannelState::Connecting
            | ChannelState::CatchingUp { .. }
            | ChannelState::Restarting { .. } => Self::Busy,
        }
    }
}
