//! Effects of a Kafka chain's state machine, and the reasons of skipped records and failures.

use super::metadata::{KafkaMetadata, KafkaOffset};
use super::record::{MalformedRecord, RegularMessage};
use crate::envelope::{EnvelopeError, SignedEnvelope};
use crate::processing::Rejection;
use crate::types::BlockNumber;

/// Output of [`KafkaMachine::step`](super::KafkaMachine::step), for the caller to perform in this order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Revalidate the message under the current configuration and feed the [`RevalidationResult`](super::RevalidationResult). No record may be
    /// fed in between.
    Revalidate {
        /// The message.
        envelope: SignedEnvelope,
        /// Whether it is a CONFIG or ORDERER_TRANSACTION message, whose update is proposed again.
        is_config: bool,
    },
    /// Write a block of these envelopes.
    WriteBlock {
        /// Number of the block, one above the last.
        number: BlockNumber,
        /// Envelopes in their order.
        envelopes: Vec<SignedEnvelope>,
        /// Consenter metadata of the block.
        metadata: KafkaMetadata,
    },
    /// Apply this config message and write it as a block of its own. Then, if it changed the channel's configuration,
    /// feed [`Event::Configured`](super::Event::Configured) before any record. A message that cannot be applied
    /// terminates the chain, because the other orderers have its block.
    WriteConfigBlock {
        /// Number of the block, one above the last.
        number: BlockNumber,
        /// The config message.
        envelope: SignedEnvelope,
        /// Consenter metadata of the block; to be omitted if the message changes the consensus type.
        metadata: KafkaMetadata,
    },
    /// Produce this message again: a config update overtook it, and it is still valid. Until the broker has acknowledged
    /// it, no block that was decided after it may become durable, or a crash could lose the message. For the same
    /// reason, such messages must be acknowledged in the order in which they were decided.
    Resubmit(RegularMessage),
    /// Produce a record that asks all orderers to cut this block. On failure, feed
    /// [`Event::TimeToCutFailed`](super::Event::TimeToCutFailed).
    TimeToCut(BlockNumber),
    /// Let Broadcast wait: a config message was produced again, and messages before it would most likely have to be,
    /// too.
    CloseIngress,
    /// Let Broadcast continue.
    OpenIngress,
    /// Let the batch timer fire once, a batch timeout from now.
    ArmTimer,
    /// Cancel the batch timer.
    DisarmTimer,
    /// A record has no effect. For the log.
    Skip {
        /// Offset of the record.
        offset: KafkaOffset,
        /// Reason why it has no effect.
        reason: SkipReason,
    },
    /// The chain cannot continue. The machine ignores all further events.
    Fail(Failure),
}

/// Reason why a record has no effect.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// The record cannot be decoded.
    #[error(transparent)]
    Malformed(#[from] MalformedRecord),
    /// The record was processed before, by this machine or for the last block.
    #[error("the record was processed before")]
    AlreadyTaken,
    /// The block that the record asks for exists already.
    #[error("time-to-cut for block {named}, but block {last_cut} is cut already")]
    StaleTimeToCut {
        /// Number of the requested block.
        named: BlockNumber,
        /// Number of the newest block.
        last_cut: BlockNumber,
    },
    /// The record is a copy of a message that was produced again, and another orderer's copy came first.
    #[error("the message from offset {original} was ordered again before")]
    SeenBefore {
        /// Offset of the message's first record.
        original: KafkaOffset,
    },
    /// The message has a class that this version does not know.
    #[error("unsupported class {0} of a regular message")]
    UnknownClass(i32),
    /// The channel header of a message without a class cannot be parsed.
    #[error("the message's channel header cannot be read: {0}")]
    NoChannelHeader(EnvelopeError),
    /// A message without a class is of type CONFIG_UPDATE, for which orderers order a CONFIG message instead.
    #[error("a message of type CONFIG_UPDATE is not ordered")]
    ConfigUpdate,
    /// The message is not valid under the current configuration.
    #[error("the message is no longer valid: {0}")]
    NoLongerValid(Rejection),
}

/// Reason why a chain cannot continue. Each one means that the topic is not the one from which the chain was cut, or
/// that records are missing; continuing would be a fork.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A record is missing between two others.
    #[error("the topic's next record should be at offset {expected}, found offset {found}: records are missing")]
    OffsetGap {
        /// Expected offset.
        expected: KafkaOffset,
        /// Received offset.
        found: KafkaOffset,
    },
    /// A record asks for a block after the next one.
    #[error("the record at offset {offset} asks for block {named} to be cut, but the next block is {expected}")]
    TimeToCutAhead {
        /// Offset of the record.
        offset: KafkaOffset,
        /// Number of the requested block.
        named: BlockNumber,
        /// Number of the next block.
        expected: BlockNumber,
    },
    /// A record asks for the next block, but no message is pending.
    #[error("the record at offset {offset} asks for block {block} to be cut, but no message is pending")]
    NothingToCut {
        /// Offset of the record.
        offset: KafkaOffset,
        /// Number of the requested block.
        block: BlockNumber,
    },
    /// The topic starts after the record that is needed.
    #[error("the topic starts at offset {earliest}, the chain needs offset {needed}")]
    RecordsLost {
        /// Offset of the next record needed.
        needed: KafkaOffset,
        /// Offset of the topic's first record.
        earliest: KafkaOffset,
    },
    /// The topic ends before the record that was processed last.
    #[error(
        "the topic ends before offset {end}, the chain has processed records up to offset {taken}: is it another topic?"
    )]
    TopicShorter {
        /// Offset that the topic's next record will get.
        end: KafkaOffset,
        /// Offset of the last record processed, from the last block.
        taken: KafkaOffset,
    },
    /// The caller fed an event out of order, which would reorder messages.
    #[error("{what} at offset {offset} came out of turn")]
    OutOfTurn {
        /// Description of the event.
        what: &'static str,
        /// Offset of the record that is being revalidated, or of the next one.
        offset: KafkaOffset,
    },
}
