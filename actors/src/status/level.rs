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
            // a channel without a leader is busy by its own state
            "running" | "producing" | "reading" | "stopped" | "leader" | "follower" | "following" => Self::Good,
            _ => Self::Busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consenters_at_work_need_no_attention() {
        for state in ["leader", "follower", "following", "running"] {
            assert_eq!(HealthLevel::of_actor(state), HealthLevel::Good, "{state}");
        }
        for state in ["candidate", "precandidate", "opening", "catching up", "retrying"] {
            assert_eq!(HealthLevel::of_actor(state), HealthLevel::Busy, "{state}");
        }
        assert_eq!(HealthLevel::of_actor("failed"), HealthLevel::Bad);
    }
}
