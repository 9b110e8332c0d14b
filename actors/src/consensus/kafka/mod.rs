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

mod absence;
mod chain;
mod connect;
mod consenter;
mod consumer;
mod context;
mod effects;
mod following;
mod health;
mod messages;
mod producer;
mod report;
mod retry;

pub use crate::channel::KafkaHealth;
pub use consenter::KafkaConsenter;
pub use context::{Connector, KafkaContext};
pub use retry::RetryPolicy;
