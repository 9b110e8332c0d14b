//! The operations that an orderer needs of a Kafka cluster, as three traits, and their implementations.
//!
//! ```text
//!  Cluster  ── KafkaCluster ── a connection a question
//!   ├─ Producer  ── produce(batch) ──► base offset, or an error of known kind     one connection to the leader
//!   └─ Consumer  ── fetch(offset) ───► records, high watermark                    another one
//!  testing::FakeCluster: the same in memory, with faults on demand
//! ```
//!
//! [`KafkaCluster`] stands on rskafka's messages, record batches, SASL and request pipeline, but not on its client. That
//! one opens its sockets without `TCP_NODELAY` (44 ms for a request between 8 and 64 KiB), waits for answers without a
//! deadline, tries again in its own time what it cannot tell apart, asks a leader that has moved for ever, appends a
//! throttled batch twice, and fails a whole fetch for one record. Here every call
//!
//! - goes out once, over a connection of its own that was opened with `TCP_NODELAY`;
//! - ends at its deadline, or soon after another broker has become the leader;
//! - returns an [`Error`] that says where it comes from, and whether a batch may have been appended all the same;
//! - leaves no connection behind on which an older answer is still due.
//!
//! The caller decides when to retry.
//!
//! Brokers do not tell this client: whether a topic was deleted and made again under the same name, as long as it
//! holds the offsets that are asked for; which other clients may write to it.
//!
//! Back of the envelope (2 cores, one broker beside it, 1 KiB records, all replicas): 0.2 ms a batch of one, 0.3 million
//! records a second in batches of 100 with one in flight; reading 0.7 million a second.

mod address;
mod api;
pub mod check;
mod classify;
mod cluster;
mod connection;
mod consumer;
mod dialer;
mod error;
mod metadata;
mod producer;
mod settings;
mod stream;
pub mod testing;
mod throttle;
mod tls;
mod traffic;
mod wire;

pub use api::{
    BrokerDescription, Cluster, ClusterDescription, Consumer, FetchLimits, Fetched, KafkaFuture, Offsets, Produced,
    Producer, RECORD_KEY, Record, Setting, TopicDescription, TopicSpec,
};
pub use cluster::KafkaCluster;
pub use error::{Error, Operation, Unavailable};
pub use settings::{ClientCertificate, Credentials, Sasl, Settings, SettingsError, Timeouts, Tls};
pub use traffic::{BrokerTraffic, Traffic};
