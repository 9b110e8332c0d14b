//! Levels of health: whether a state needs an operator's attention.

use serde::Serialize;

/// The health of a part, from harmless to grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthLevel {
    /// As it should be.
    Good,
    /// Starting, trying again, or late; no operator has to act yet.
    Busy,
    /// An operator has to act.
    Bad,
}

impl HealthLevel {
    /// Returns the level of an actor's state.
    pub fn of_actor(state: &str) -> Self {
        match state {
            "failed" => Self::Bad,
            "running" | "producing" | "reading" | "stopped" => Self::Good,
            _ => Self::Busy,
        }
    }
}
