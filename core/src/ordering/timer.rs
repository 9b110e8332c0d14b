//! The batch timer: it runs exactly while a message is pending, from the first message that was not cut at once. A
//! message that is still pending when the batch before it is cut keeps the running timer, as in Fabric.

/// Change of the caller's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerChange {
    /// Let it fire once, a batch timeout from now.
    Arm,
    /// Cancel the timer.
    Disarm,
}

/// State of the caller's timer.
#[derive(Clone, Debug, Default)]
pub(super) struct BatchTimer {
    armed: bool,
}

impl BatchTimer {
    /// Updates the state for the number of pending messages. Returns the change of the timer, if any.
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

    /// Records that the timer fired. Returns false if it was disarmed while its event was in flight.
    pub(super) fn fired(&mut self) -> bool {
        std::mem::take(&mut self.armed)
    }
}
