//! When the sender of an envelope is told that it will be ordered.

/// How far an envelope has to have come before its sender is answered SUCCESS.
///
/// However it is, an envelope that waits here for its block is sent to the next leader if the one that had it fails. What differs is
/// what an answered envelope survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// It is in this node's pending log, on the disk. It survives that any nodes are killed, also all of them, and is lost with this
    /// node's disk.
    #[default]
    Durable,
    /// A block with it is committed: a quorum of the consenters has it on their disks. It survives the loss of this node's disk.
    Committed,
    /// The leader has taken it in, or it was handed to the stream to the leader, as in Fabric. It is lost if this node is killed before
    /// its block is committed.
    Sent,
}

/// What has happened to an envelope that came in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// This node leads and has taken it in, or it was handed to the stream to who leads.
    WithLeader,
    /// Raft has committed the block with it.
    InBlock,
}

impl Acknowledge {
    /// Whether an envelope goes into the pending log before its sender is answered, so that it is ordered after a restart, too.
    /// Otherwise its sender is answered by [`Effect::Acknowledge`](super::Effect::Acknowledge).
    pub fn keeps(self) -> bool {
        self == Self::Durable
    }

    /// Whether the machine has to hear of it ([`Event::Forwarded`](super::Event::Forwarded)) when an envelope was handed to the stream
    /// to the leader.
    pub fn follows_forwarding(self) -> bool {
        self.is_due(Stage::WithLeader)
    }

    /// Whether the sender of an envelope that has come so far is answered by the machine. What is in a block was sent before, though
    /// the news of that may be behind the block.
    pub(super) fn is_due(self, stage: Stage) -> bool {
        match self {
            Self::Durable => false,
            Self::Committed => stage == Stage::InBlock,
            Self::Sent => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_answered_by_the_machine() {
        for (acknowledge, with_leader, in_block) in [
            (Acknowledge::Durable, false, false),
            (Acknowledge::Committed, false, true),
            (Acknowledge::Sent, true, true),
        ] {
            assert_eq!(acknowledge.keeps(), !in_block);
            assert_eq!(acknowledge.follows_forwarding(), with_leader);
            assert_eq!(acknowledge.is_due(Stage::WithLeader), with_leader);
            assert_eq!(acknowledge.is_due(Stage::InBlock), in_block);
        }
    }
}
