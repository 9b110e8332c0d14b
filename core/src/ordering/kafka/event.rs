//! What happens to a chain.

use super::metadata::KafkaOffset;
use super::record::Record;
use crate::channel::{BlockNumber, ConfigSequence};
use crate::config::ChannelSnapshot;
use crate::envelope::SignedEnvelope;
use crate::ordering::cutter::BatchLimits;
use crate::processing::Refusal;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The topic's next record. Records come in the order of their offsets and none is left out: see
    /// [`Event::NoRecords`].
    Record {
        /// Where it stands.
        offset: KafkaOffset,
        /// What it says.
        record: Record,
    },
    /// Between two offsets there is no record. Kafka keeps offsets for itself, where a transaction ends for instance, so
    /// a topic may have holes; but the machine takes no hole for granted. A caller that asked the broker for the records
    /// from `from` on, or has fed all up to there out of one answer, and finds `until` to be the next one in that
    /// answer, feeds this before it.
    NoRecords {
        /// The first offset that the answer covers.
        from: KafkaOffset,
        /// The next record's offset.
        until: KafkaOffset,
    },
    /// Every record was fed that the topic held when this machine was made.
    CaughtUp,
    /// The answer to [`Effect::Recheck`](super::Effect::Recheck).
    Rechecked(Verdict),
    /// The batch timer fired.
    Timer,
    /// The record for [`Effect::TimeToCut`](super::Effect::TimeToCut) could not be produced, or may not have been.
    TimeToCutFailed(BlockNumber),
    /// A configuration took effect because its config message was applied.
    Configured(Rules),
}

/// What a message is worth under the configuration of now.
#[derive(Debug)]
pub enum Verdict {
    /// It is valid.
    Valid {
        /// The message: a normal one as it was, a config message made anew.
        envelope: SignedEnvelope,
        /// The configuration of now.
        sequence: ConfigSequence,
    },
    /// It is not.
    Invalid(Refusal),
}

/// What of a configuration governs the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many updates led to it.
    pub sequence: ConfigSequence,
    /// How large batches become.
    pub limits: BatchLimits,
    /// Whether messages that a config update overtook are ordered again. Otherwise the channel is in compatibility mode:
    /// every message is judged when its turn comes.
    pub resubmission: bool,
}

impl Rules {
    /// Those of a channel's configuration.
    pub fn of(snapshot: &ChannelSnapshot) -> Self {
        Self {
            sequence: snapshot.sequence(),
            limits: snapshot.orderer().batch_size.limits(),
            resubmission: snapshot.orderer().capabilities.since_v1_1(),
        }
    }
}
