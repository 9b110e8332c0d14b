//! The Kafka consenter as a state machine: several orderers read one topic and cut the same chain from it, without a
//! word between them.
//!
//! A channel's topic holds [`Record`]s: messages, requests to cut a block whose batch timer ran out, and notes that an
//! orderer came up. [`Machine::step`] takes one [`Event`] and gives back the [`Effect`]s that its caller must perform.
//! What it decides depends on the records and their offsets alone, never on the time or on who reads; so does every
//! block, and what it remembers of the topic ([`KafkaMetadata`]).
//!
//! The rules are the reference's, with the exceptions named where they are made. All of these are about what an orderer
//! does besides cutting: the chain is the same.

mod effect;
mod event;
mod ingress;
mod machine;
mod metadata;
mod normal_form;
mod record;
mod resume;
#[cfg(test)]
mod tests;

pub use effect::{Effect, Failure, SkipReason};
pub use event::{Event, Rules, Verdict};
pub use machine::Machine;
pub use metadata::{KafkaMetadata, KafkaOffset};
pub use normal_form::NotAnEnvelope;
pub use record::{Malformed, RECORD_KEY, Record, RecordClass, Regular, encode_connect, encode_time_to_cut};
pub use resume::{LastBlock, ResumeError, TopicBounds, consenter_metadata};
