//! The Kafka consenter's actors: a chain that follows its channel's topic, a producer that appends to it, and a consumer
//! that reads it.
//!
//! ```text
//!  Gate ── Order ──► KafkaProducer ── batches ──► topic ── records ──► KafkaConsumer ── Delivery ──► KafkaChain
//!                         ▲                                                                             │
//!                         └──────── TIMETOCUT, messages that a config update overtook ──────────────────┤
//!                                                                                 blocks ──► BlockWriter ◄┘
//! ```
//!
//! The chain decides nothing by itself: its machine does. The three actors add retries: an unavailable broker is retried as the
//! settings say, and the channel's state reports that meanwhile.

mod chain;
mod connect;
mod consenter;
mod consumer;
mod context;
mod effects;
mod health;
mod messages;
mod producer;
mod report;
mod retry;
mod topic_absence;
mod topic_session;

pub use crate::channel::TopicHealth;
#[cfg(test)]
pub(crate) use chain::UNWRITTEN_BYTES;
pub use consenter::KafkaConsenter;
pub use context::{ConnectFn, KafkaContext};
pub use retry::RetryPolicy;
