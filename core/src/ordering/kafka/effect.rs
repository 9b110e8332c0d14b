//! What a chain wants done.

use super::metadata::{KafkaMetadata, KafkaOffset};
use super::record::{Malformed, Regular};
use crate::channel::BlockNumber;
use crate::envelope::{EnvelopeError, SignedEnvelope};
use crate::processing::Refusal;

/// What the caller must do, in this order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Judge the message again under the configuration of now and feed the [`Verdict`](super::Verdict). No record may be
    /// fed in between.
    Recheck {
        /// The message.
        envelope: SignedEnvelope,
        /// Whether it is a CONFIG or ORDERER_TRANSACTION message, whose update is proposed anew.
        is_config: bool,
    },
    /// Write a block of these.
    Write {
        /// Its number, one above the last.
        number: BlockNumber,
        /// In their order.
        envelopes: Vec<SignedEnvelope>,
        /// Its consenter metadata.
        metadata: KafkaMetadata,
    },
    /// Apply this config message and write it as a block of its own; then, if it changed the channel's configuration,
    /// feed [`Event::Configured`](super::Event::Configured) before any record. A message that cannot be applied ends the
    /// chain: the other orderers have its block.
    WriteConfig {
        /// Its number, one above the last.
        number: BlockNumber,
        /// The config message.
        envelope: SignedEnvelope,
        /// Its consenter metadata; but none at all if the message changes the consensus type.
        metadata: KafkaMetadata,
    },
    /// Produce this message: it was overtaken by a config update, is still valid, and gets a new place. Until the broker
    /// has acknowledged it, no block may become durable that was decided after it, or a crash could lose it; what is to
    /// be produced again must be acknowledged in the order in which it was decided, for the same reason.
    Resubmit(Regular),
    /// Produce a record that asks all orderers to cut this block. If that fails, feed
    /// [`Event::TimeToCutFailed`](super::Event::TimeToCutFailed).
    TimeToCut(BlockNumber),
    /// Let Broadcast wait: a config message was ordered again, and what came before it would have to be, too.
    BlockIngress,
    /// Let Broadcast go on.
    UnblockIngress,
    /// Let the batch timer fire once, a batch timeout from now.
    ArmTimer,
    /// The batch timer is of no use any more.
    DisarmTimer,
    /// A record led to nothing. For the log.
    Skip {
        /// The record.
        offset: KafkaOffset,
        /// Why.
        reason: SkipReason,
    },
    /// The chain cannot go on. The machine takes nothing more.
    Fail(Failure),
}

/// Why a record leads to nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// An earlier record, or one that the last block knows of already.
    #[error("the record was taken before")]
    AlreadyTaken,
    /// The block that it asks for exists.
    #[error("time-to-cut for block {named}, but block {last_cut} is cut already")]
    StaleTimeToCut {
        /// The block it asks for.
        named: BlockNumber,
        /// The newest block.
        last_cut: BlockNumber,
    },
    /// A copy of a message that was ordered again by another orderer, too.
    #[error("the message from offset {original} was ordered again before")]
    SeenBefore {
        /// Where the message stood first.
        original: KafkaOffset,
    },
    /// Nothing that this version knows how to order.
    #[error("unsupported class {0} of a regular message")]
    UnknownClass(i32),
    /// A message without a class, whose header does not tell what it is.
    #[error("the message's channel header cannot be read: {0}")]
    NoChannelHeader(EnvelopeError),
    /// A message without a class, of type CONFIG_UPDATE: orderers make CONFIG messages of those.
    #[error("a message of type CONFIG_UPDATE is not ordered")]
    ConfigUpdate,
    /// It is not valid under the configuration of now.
    #[error("the message is no longer valid: {0}")]
    NoLongerValid(Refusal),
}

/// Why a chain cannot go on. All of these mean that the topic is not what the chain was cut from, or that records are
/// missing; to go on would be a fork.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A record is missing in between.
    #[error("the topic's next record should be at offset {expected}, found offset {found}: records are missing")]
    OffsetGap {
        /// The next offset.
        expected: KafkaOffset,
        /// What came instead.
        found: KafkaOffset,
    },
    /// A request to cut a block that is not next.
    #[error("the record at offset {offset} asks for block {named} to be cut, but the next block is {expected}")]
    TimeToCutAhead {
        /// The record.
        offset: KafkaOffset,
        /// The block it asks for.
        named: BlockNumber,
        /// The next block.
        expected: BlockNumber,
    },
    /// A request to cut a block of nothing.
    #[error("the record at offset {offset} asks for block {block} to be cut, but no message is pending")]
    NothingToCut {
        /// The record.
        offset: KafkaOffset,
        /// The block it asks for.
        block: BlockNumber,
    },
    /// The topic begins behind the record that is needed.
    #[error("the topic starts at offset {earliest}, the chain needs offset {needed}")]
    RecordsLost {
        /// The next offset.
        needed: KafkaOffset,
        /// The topic's first.
        earliest: KafkaOffset,
    },
    /// The topic ends before the record that was taken last.
    #[error("the topic ends before offset {end}, the chain has taken all up to offset {taken}: is it another topic?")]
    TopicShorter {
        /// The offset that the next record of the topic will have.
        end: KafkaOffset,
        /// What the last block says.
        taken: KafkaOffset,
    },
    /// A mistake of the caller, which would reorder messages.
    #[error("{what} at offset {offset} came out of turn")]
    OutOfTurn {
        /// What came.
        what: &'static str,
        /// The record that is being judged, or the next one.
        offset: KafkaOffset,
    },
}
