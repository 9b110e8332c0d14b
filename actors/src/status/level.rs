//! Whether a state needs anybody's attention.

use serde::Serialize;

use crate::channel::ChannelState;

/// From harmless to grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Starting, trying again, or late; nobody has to act yet.
    Busy,
    /// Somebody has to act.
    Bad,
}

impl Level {
    /// Of an actor's state.
    pub fn of_actor(state: &str) -> Self {
        match state {
            "failed" => Self::Bad,
            "running" | "producing" | "reading" | "stopped" => Self::Good,
            _ => Self::Busy,
        }
    }

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
