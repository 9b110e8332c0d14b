//! The Kafka consenter as a state machine: several orderers read one topic and cut the same chain from it, without
//! communicating with each other.
//!
//! A channel's topic holds [`Record`]s: messages, requests to cut a block whose batch timer expired, and notes that an
//! orderer connected. [`KafkaMachine::step`] takes one [`Event`] and returns the [`Effect`]s that its caller must perform.
//! Its decisions depend only on the records and their offsets, never on the time or on the orderer; the same holds
//! for every block and its consenter metadata ([`KafkaMetadata`]).
//!
//! The rules are Fabric's; exceptions are named where they are made. All of the exceptions concern an orderer's
//! behaviour besides cutting: the chain is the same.

mod canonical_form;
mod effect;
mod event;
mod ingress;
mod machine;
mod metadata;
mod record;
mod resume;
#[cfg(test)]
mod tests;

pub use canonical_form::MalformedEnvelope;
pub use effect::{Effect, Failure, SkipReason};
pub use event::{Event, OrderingConfig, RevalidationResult};
pub use machine::KafkaMachine;
pub use metadata::{KafkaMetadata, KafkaOffset};
pub use record::{
    MalformedRecord, RECORD_KEY, Record, RecordClass, RegularMessage, encode_connect, encode_time_to_cut,
};
pub use resume::{LastBlock, ResumeError, TopicBounds};
