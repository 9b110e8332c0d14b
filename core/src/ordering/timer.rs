//! When the batch timer runs: exactly while something waits, from the first message that had to. A message that stays
//! behind when the batch before it is cut keeps the running timer, as in the reference.

/// What the rule wants done to the caller's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerChange {
    /// Let it fire once, a batch timeout from now.
    Arm,
    /// It is of no use any more.
    Disarm,
}

/// Whether the caller's timer runs.
#[derive(Debug, Default)]
pub(super) struct BatchTimer {
    armed: bool,
}

impl BatchTimer {
    /// Follows the number of messages that wait.
    pub(super) fn follow(&mut self, pending: usize) -> Option<TimerChange> {
        match (self.armed, pending > 0) {
            (true, false) => {
                self.armed = false;
                Some(TimerChange::Disarm)
            }
            (false, true) => {
                self.armed = true;
                Some(TimerChange::Arm)
            }
            (true, true) | (false, false) => None,
        }
    }

    /// It fired. False if it was disarmed and its event was on the way already.
    pub(super) fn fired(&mut self) -> bool {
        std::mem::take(&mut self.armed)
    }
}
