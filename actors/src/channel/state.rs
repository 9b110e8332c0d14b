//! The state of a channel.

use std::fmt;

use serde::Serialize;

use crate::status::HealthLevel;

/// State of a channel, also serialized for the operations API and the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ChannelState {
    /// Its chain is being built from the ledger.
    Starting,
    /// The first connection to its Kafka cluster is being established.
    Connecting,
    /// Existing records of its topic are being consumed, or blocks are being replicated from other orderers.
    CatchingUp {
        /// Offset of the next record, or number of the next block.
        offset: i64,
        /// Offset after the last record, or number after the last block.
        end: i64,
    },
    /// Its consenters have no leader. It accepts messages, and orders them when there is a leader again.
    Electing,
    /// It was joined with a block later than its first, and the blocks up to that one are being replicated from other
    /// orderers.
    Onboarding {
        /// Number of the next block.
        next: u64,
        /// Number of the join block.
        to: u64,
        /// Whether this node is one of the consenters in that block.
        consents: bool,
    },
    /// This node is not a consenter of the channel: it accepts no messages, and replicates the blocks from other
    /// orderers.
    Following,
    /// It accepts messages.
    Running,
    /// Its Kafka cluster is unavailable, and the chain retries.
    Retrying {
        /// Number of consecutive failures.
        attempt: usize,
        /// The last error.
        cause: String,
        /// Milliseconds until the next attempt, from the time when the state was set.
        pause_ms: u64,
    },
    /// The token with this node's key does not sign. The chain is built again when it does.
    AwaitingKey {
        /// The reason for which it does not sign.
        cause: String,
        /// Action for the operator.
        action: String,
    },
    /// Its chain failed and will be restarted.
    Restarting {
        /// Number of restarts within the policy's window.
        attempt: usize,
        /// The error that ended the chain.
        cause: String,
        /// Milliseconds until the next attempt, from the time when the state was set.
        pause_ms: u64,
    },
    /// It accepts no messages until an operator has acted. Its blocks can be read.
    Failed {
        /// The error that the channel failed with.
        cause: String,
        /// Action for the operator.
        action: String,
    },
    /// The node is shutting down.
    Stopped,
    /// It is no longer a channel of this node.
    Removed,
}

/// This node's relation to a channel, as the participation API and metrics report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsensusRelation {
    /// It orders the channel together with others.
    Consenter,
    /// It replicates the channel's blocks from other orderers.
    Follower,
    /// The channel's consensus type has no consenters or followers in this sense.
    Other,
}

impl fmt::Display for ChannelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("its chain is starting"),
            Self::Connecting => f.write_str("it is connecting to its Kafka cluster"),
            Self::CatchingUp { offset, end } => {
                write!(f, "it is catching up, at {offset} of {end}")
            }
            Self::Electing => f.write_str("its consenters have no Raft leader"),
            Self::Onboarding { next, to, .. } => {
                write!(
                    f,
                    "it is receiving its blocks from other orderers, at block {next}, up to the block {to} that it was joined with"
                )
            }
            Self::Following => f.write_str("this orderer is not one of its consenters and follows them"),
            Self::Running => f.write_str("its chain is running"),
            Self::Retrying { attempt, cause, pause_ms } => {
                write!(f, "its Kafka cluster is unavailable (attempt {attempt}, next after {pause_ms} ms): {cause}")
            }
            Self::AwaitingKey { cause, action } => write!(f, "it waits for the key to sign with: {cause}; {action}"),
            Self::Restarting { attempt, cause, pause_ms } => {
                write!(f, "its chain is restarting (attempt {attempt}, after {pause_ms} ms): {cause}")
            }
            Self::Failed { cause, action } => write!(f, "it has failed: {cause}; {action}"),
            Self::Stopped => f.write_str("the orderer is shutting down"),
            Self::Removed => f.write_str("it was removed from this orderer"),
        }
    }
}

impl ChannelState {
    /// Returns whether the channel has no chain that accepts messages, which the state gives the reason for.
    pub fn accepts_nothing(&self) -> bool {
        match self {
            Self::Running | Self::Electing => false,
            Self::Starting
            | Self::Connecting
            | Self::CatchingUp { .. }
            | Self::Onboarding { .. }
            | Self::Following
            | Self::Retrying { .. }
            | Self::AwaitingKey { .. }
            | Self::Restarting { .. }
            | Self::Failed { .. }
            | Self::Stopped
            | Self::Removed => true,
        }
    }
}

impl HealthLevel {
    /// Returns the level of a channel's state.
    pub fn of_channel(state: &ChannelState) -> Self {
        match state {
            // `Retrying` and `AwaitingKey` recover by themselves, but an operator has to repair the brokers or the token, and
            // clients are rejected until then
            ChannelState::Failed { .. } | ChannelState::Retrying { .. } | ChannelState::AwaitingKey { .. } => Self::Bad,
            ChannelState::Running | ChannelState::Following | ChannelState::Stopped | ChannelState::Removed => {
                Self::Good
            }
            ChannelState::Starting
            | ChannelState::Connecting
            | ChannelState::CatchingUp { .. }
            | ChannelState::Electing
            | ChannelState::Onboarding { .. }
            | ChannelState::Restarting { .. } => Self::Busy,
        }
    }
}
