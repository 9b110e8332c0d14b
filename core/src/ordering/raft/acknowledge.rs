//! The condition under which the sender of an envelope gets the response SUCCESS.

/// The condition that an envelope has to meet before its sender gets the response SUCCESS.
///
/// In each mode, an envelope that waits here for its block is sent to the next leader if the present one fails. The
/// modes differ in the failures that an acknowledged envelope survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcknowledgePoint {
    /// It is in this node's pending log, on the disk. It survives a crash of any number of nodes, even of all, and is
    /// lost if this node's disk is lost.
    #[default]
    Durable,
    /// A block with it is committed: a quorum of the consenters has it on their disks. It survives the loss of this
    /// node's disk.
    Committed,
    /// The leader has accepted it, or it was handed to the stream to the leader, as in Fabric. It is lost if this node
    /// crashes before its block is committed.
    Sent,
}

/// Progress of an envelope that came in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnvelopeStage {
    /// This node leads and has accepted it, or it was handed to the stream to the leader.
    WithLeader,
    /// Raft has committed the block that contains it.
    InBlock,
}

impl AcknowledgePoint {
    /// Whether an envelope is written to the pending log before its sender gets a response, so that it is ordered even
    /// after a restart. Otherwise [`Effect::Acknowledge`](super::Effect::Acknowledge) responds to its sender.
    pub fn keeps(self) -> bool {
        self == Self::Durable
    }

    /// Whether the machine needs [`Event::Forwarded`](super::Event::Forwarded) when an envelope was handed to the
    /// stream to the leader.
    pub fn follows_forwarding(self) -> bool {
        self.is_due(EnvelopeStage::WithLeader)
    }

    /// Whether the machine responds to the sender of an envelope that has reached `stage`. An envelope in a block was
    /// sent before, but the event that reports so may arrive after the block.
    pub(super) fn is_due(self, stage: EnvelopeStage) -> bool {
        match self {
            Self::Durable => false,
            Self::Committed => stage == EnvelopeStage::InBlock,
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
            (AcknowledgePoint::Durable, false, false),
            (AcknowledgePoint::Committed, false, true),
            (AcknowledgePoint::Sent, true, true),
        ] {
            assert_eq!(acknowledge.keeps(), !in_block);
            assert_eq!(acknowledge.follows_forwarding(), with_leader);
            assert_eq!(acknowledge.is_due(EnvelopeStage::WithLeader), with_leader);
            assert_eq!(acknowledge.is_due(EnvelopeStage::InBlock), in_block);
        }
    }
}
