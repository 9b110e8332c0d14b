//! Whether a state needs anybody's attention.

use serde::Serialize;

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
}
