//! Counts, by reason, what was rejected to protect memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reason for which a request or an envelope was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionReason {
    /// The maximum number of streams is open.
    Streams,
    /// The channel has acknowledged nothing for a while, and its gate is full.
    Gate,
    /// A message took too long to arrive.
    Slow,
    /// A large message came too slowly while others waited for their turn.
    Turn,
    /// Earlier responses were not accepted by the client.
    Answers,
}

impl RejectionReason {
    const ALL: [Self; 5] = [Self::Streams, Self::Gate, Self::Slow, Self::Turn, Self::Answers];

    /// Returns the reason's name in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Gate => "gate",
            Self::Slow => "slow",
            Self::Turn => "turn",
            Self::Answers => "answers",
        }
    }
}

/// Number of rejections by reason. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RejectionCounters(Arc<[AtomicU64; RejectionReason::ALL.len()]>);

impl RejectionCounters {
    /// Counts one rejection.
    pub fn count(&self, why: RejectionReason) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns each reason with its count.
    pub fn all(&self) -> [(RejectionReason, u64); RejectionReason::ALL.len()] {
        RejectionReason::ALL.map(|why| (why, self.0[why as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let refusals = RejectionCounters::default();
        for (at, why) in RejectionReason::ALL.into_iter().enumerate() {
            (0..=at).for_each(|_| refusals.count(why));
        }
        let counted = refusals.all().map(|(why, count)| (why.word(), count));
        assert_eq!(counted, [("streams", 1), ("gate", 2), ("slow", 3), ("turn", 4), ("answers", 5)]);
    }
}
