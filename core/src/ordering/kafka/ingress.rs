//! Tracks whether Broadcast has to wait.

use super::effect::Effect;

/// State of Broadcast. It waits while a config message that was produced again is in flight, because messages accepted
/// meanwhile would most likely have to be produced again, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ingress {
    /// Broadcast does not wait.
    Open,
    /// Broadcast waits for a config message that this machine produced again.
    Blocked,
    /// Broadcast waits for a config message that an earlier machine produced again. Its result is unknown, but its copy
    /// is in the topic before the end that this machine found.
    BlockedFromStart,
}

impl Ingress {
    pub(super) fn block(&mut self) -> Option<Effect> {
        let before = std::mem::replace(self, Self::Blocked);
        (before == Self::Open).then_some(Effect::CloseIngress)
    }

    pub(super) fn unblock(&mut self) -> Option<Effect> {
        let before = std::mem::replace(self, Self::Open);
        (before != Self::Open).then_some(Effect::OpenIngress)
    }

    /// Ends the wait for an earlier machine's config message: by now it was either ordered, or found invalid.
    pub(super) fn caught_up(&mut self) -> Option<Effect> {
        match self {
            Self::BlockedFromStart => self.unblock(),
            Self::Open | Self::Blocked => None,
        }
    }
}
