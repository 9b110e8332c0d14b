//! Whether Broadcast waits.

use super::effect::Effect;

/// Broadcast waits while a config message that was ordered again is in flight: what it took meanwhile would most likely
/// have to be ordered again, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ingress {
    /// It does not.
    Open,
    /// For a config message that this machine ordered again.
    Blocked,
    /// For one that a machine before this one ordered again. Nobody knows what became of it, but its copy is in the topic
    /// before the end that this machine found.
    BlockedFromStart,
}

impl Ingress {
    pub(super) fn block(&mut self) -> Option<Effect> {
        let before = std::mem::replace(self, Self::Blocked);
        (before == Self::Open).then_some(Effect::BlockIngress)
    }

    pub(super) fn unblock(&mut self) -> Option<Effect> {
        let before = std::mem::replace(self, Self::Open);
        (before != Self::Open).then_some(Effect::UnblockIngress)
    }

    /// What an earlier machine waited for was either taken by now, or was not valid when it was read.
    pub(super) fn caught_up(&mut self) -> Option<Effect> {
        match self {
            Self::BlockedFromStart => self.unblock(),
            Self::Open | Self::Blocked => None,
        }
    }
}
