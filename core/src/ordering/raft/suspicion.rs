//! When a consenter without a leader asks other orderers whether it has missed a config update, or its own removal.

/// Counts ticks without a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    /// Number of ticks without a leader after which to ask.
    long: u64,
    /// Number of consecutive ticks without a leader.
    leaderless: u64,
    /// Number of ticks without a leader at which to ask next.
    next: u64,
    /// Whether another consenter's configuration differs from this node's, as far as this node has learned since it last
    /// asked.
    is_estranged: bool,
    /// Number of ticks without a leader at which to ask next if `is_estranged`; 0 until it is known.
    next_if_estranged: u64,
}

impl Suspicion {
    /// Creates a suspicion that asks after this number of ticks.
    pub(super) fn after(long: u64) -> Self {
        let long = long.max(1);
        Self { long, leaderless: 0, next: long, is_estranged: false, next_if_estranged: 0 }
    }

    /// Another consenter does not accept this node, or has another certificate than this node knows. While there is a leader
    /// this is no reason to ask: that consenter may be the one that has missed something.
    pub(super) fn estranged(&mut self) {
        self.is_estranged = true;
    }

    /// Counts a tick. Returns whether to ask now. `can_ask` is false while the answer could not be used.
    pub(super) fn tick(&mut self, is_leaderless: bool, can_ask: bool, election_tick: u64) -> bool {
        if !is_leaderless {
            *self = Self::after(self.long);
            return false;
        }
        self.leaderless += 1;
        // not before the others had the time for an election, which would show that nothing is missing
        let soon = self.next_if_estranged.max(2 * election_tick.max(1));
        if !can_ask || (self.leaderless < self.next && !(self.is_estranged && self.leaderless >= soon)) {
            return false;
        }
        self.is_estranged = false;
        self.next = self.leaderless.saturating_add(self.long);
        // the pause doubles: the same consenters may go on to refuse
        self.next_if_estranged = self.leaderless.saturating_mul(2).min(self.next);
        true
    }
}

impl Default for Suspicion {
    fn default() -> Self {
        Self::after(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION: u64 = 10;

    /// Returns the ticks at which it asks, of `ticks` without a leader; estranged before each of `estranged`.
    fn asks(suspicion: &mut Suspicion, ticks: u64, estranged: impl Fn(u64) -> bool) -> Vec<u64> {
        let tick = |at: &u64| {
            if estranged(*at) {
                suspicion.estranged();
            }
            suspicion.tick(true, true, ELECTION)
        };
        (1..=ticks).filter(tick).collect()
    }

    #[test]
    fn it_asks_after_long_times_without_a_leader() {
        let mut suspicion = Suspicion::after(100);
        assert_eq!(asks(&mut suspicion, 350, |_| false), [100, 200, 300]);
        assert!(!suspicion.tick(false, true, ELECTION));
        assert_eq!(asks(&mut suspicion, 100, |_| false), [100], "a leader begins it anew");
    }

    #[test]
    fn it_asks_soon_and_then_less_often_if_others_do_not_accept_this_node() {
        assert_eq!(asks(&mut Suspicion::after(1000), 400, |_| true), [20, 40, 80, 160, 320]);
        assert_eq!(asks(&mut Suspicion::after(1000), 400, |at| at == 55), [55]);
        assert_eq!(asks(&mut Suspicion::after(100), 500, |_| true), [20, 40, 80, 160, 260, 360, 460]);
    }

    #[test]
    fn a_question_that_cannot_be_asked_is_not_forgotten() {
        let mut suspicion = Suspicion::after(30);
        for _ in 0..35 {
            assert!(!suspicion.tick(true, false, ELECTION));
        }
        assert!(suspicion.tick(true, true, ELECTION));
    }

    #[test]
    fn a_node_with_a_leader_does_not_ask() {
        let mut suspicion = Suspicion::after(30);
        for _ in 0..100 {
            suspicion.estranged();
            assert!(!suspicion.tick(false, true, ELECTION));
        }
        assert_eq!(asks(&mut suspicion, 29, |_| false), [0; 0]);
    }
}
