//! Events of a Kafka chain's state machine.

use super::metadata::KafkaOffset;
use super::record::Record;
use crate::config::ChannelSnapshot;
use crate::envelope::SignedEnvelope;
use crate::ordering::block_cutter::BatchLimits;
use crate::processing::Rejection;
use crate::types::{BlockNumber, ConfigSequence};

/// Input of [`KafkaMachine::step`](super::KafkaMachine::step).
#[derive(Debug)]
pub enum Event {
    /// The topic's next record. Records must be fed in the order of their offsets and without gaps: see
    /// [`Event::NoRecords`].
    Record {
        /// Offset of the record.
        offset: KafkaOffset,
        /// Decoded value of the record.
        record: Record,
    },
    /// There is no record between two offsets. Kafka uses some offsets itself, for instance at the end of a transaction,
    /// so a topic may have gaps; but the machine accepts only gaps that are confirmed. When the broker's response to a
    /// request for the records from `from` on has `until` as its next offset, or when all records before `from` were fed
    /// out of the same response, the caller feeds this event before the record at `until`.
    NoRecords {
        /// First offset of the gap.
        from: KafkaOffset,
        /// Offset of the next record.
        until: KafkaOffset,
    },
    /// All records were fed that the topic had when this machine was created.
    CaughtUp,
    /// Result of [`Effect::Revalidate`](super::Effect::Revalidate).
    Revalidated(RevalidationResult),
    /// The batch timer fired.
    Timer,
    /// The record for [`Effect::TimeToCut`](super::Effect::TimeToCut) could not be produced, or it is unknown whether it
    /// was.
    TimeToCutFailed(BlockNumber),
    /// A configuration took effect because its config message was applied.
    Configured(OrderingConfig),
}

/// Result of revalidating a message under the current configuration.
#[derive(Debug)]
pub enum RevalidationResult {
    /// The message is valid.
    Valid {
        /// The message: a normal one unchanged, a config message created again.
        envelope: SignedEnvelope,
        /// Sequence of the current configuration.
        sequence: ConfigSequence,
    },
    /// The message is not valid.
    Invalid(Rejection),
}

/// The parts of a configuration that govern the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderingConfig {
    /// Sequence of the configuration.
    pub sequence: ConfigSequence,
    /// Batch limits.
    pub limits: BatchLimits,
    /// Whether messages that a config update overtook are produced again. Otherwise the channel is in compatibility
    /// mode: every message is revalidated when its record is processed.
    pub resubmission: bool,
}

impl OrderingConfig {
    /// Returns the rules of a channel's configuration.
    pub fn of(snapshot: &ChannelSnapshot) -> Self {
        Self {
            sequence: snapshot.sequence(),
            limits: snapshot.orderer().batch_size.limits(),
            resubmission: snapshot.orderer().capabilities.since_v1_1(),
        }
    }
}
