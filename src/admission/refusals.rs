//! What was refused to protect memory, counted by the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request or an envelope was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many streams are open as may be.
    Streams,
    /// Its channel has acknowledged nothing for a while, and as many wait as may.
    Gate,
    /// A message took too long to arrive.
    Slow,
    /// A large message came too slowly while others waited for their turn.
    Turn,
    /// Answers before it were not taken.
    Answers,
}

impl Refusal {
    const ALL: [Self; 5] = [Self::Streams, Self::Gate, Self::Slow, Self::Turn, Self::Answers];

    /// Its name in metrics.
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

/// How often each has been the reason. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<[AtomicU64; Refusal::ALL.len()]>);

impl Refusals {
    /// One more.
    pub fn count(&self, why: Refusal) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, with how many there were.
    pub fn all(&self) -> [(Refusal, u64); Refusal::ALL.len()] {
        Refusal::ALL.map(|why| (why, self.0[why as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let refusals = Refusals::default();
        for (at, why) in Refusal::ALL.into_iter().enumerate() {
            (0..=at).for_each(|_| refusals.count(why));
        }
        let counted = refusals.all().map(|(why, count)| (why.word(), count));
        assert_eq!(counted, [("streams", 1), ("gate", 2), ("slow", 3), ("turn", 4), ("answers", 5)]);
    }
}
