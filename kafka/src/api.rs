//! The operations of Kafka that an orderer needs, as traits that the real client and the fake both implement.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::error::Error;

/// The key of every record: Fabric's orderers write it, and no orderer reads it.
pub const RECORD_KEY: &[u8] = b"0";

/// The future result of a call.
pub type KafkaFuture<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// A Kafka cluster. Every call ends within a deadline; none tries again by itself.
pub trait Cluster: Send + Sync + std::fmt::Debug {
    /// Describes the brokers, as one of them sees them. Also the cheapest proof that the cluster responds and that it
    /// authenticates this client.
    fn describe(&self) -> KafkaFuture<'_, ClusterDescription>;

    /// The topic's partitions and replicas. Never creates it.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] when there is none.
    fn topic<'a>(&'a self, topic: &'a str) -> KafkaFuture<'a, TopicDescription>;

    /// Creates the topic when there is none, and waits until its leader serves it. A topic that is there stays as it is.
    ///
    /// # Errors
    /// [`Error::WrongPartitionCount`] when it is there with more than one partition.
    fn ensure_topic<'a>(&'a self, spec: &'a TopicSpec) -> KafkaFuture<'a, TopicDescription>;

    /// Returns all settings in force of a topic, those it inherits from its broker included.
    fn topic_settings<'a>(&'a self, topic: &'a str) -> KafkaFuture<'a, Vec<Setting>>;

    /// Returns all settings in force of a broker, by its id in [`ClusterDescription`].
    fn broker_settings(&self, broker: i32) -> KafkaFuture<'_, Vec<Setting>>;

    /// A way to append to the topic. Makes no connection yet.
    fn producer(&self, topic: &str) -> Box<dyn Producer>;

    /// A way to read the topic. Makes no connection yet.
    fn consumer(&self, topic: &str) -> Box<dyn Consumer>;
}

/// Appends to one topic, over a connection of its own: no long poll is before it.
pub trait Producer: Send + std::fmt::Debug {
    /// Connects to the topic's leader, if it is not connected. [`produce`](Self::produce) does so too.
    fn connect(&mut self) -> KafkaFuture<'_, ()>;

    /// Appends one record for each value, next to each other and in this order, acknowledged by all replicas in sync. One call
    /// at a time: that keeps the order of calls. After an error the next call connects anew.
    ///
    /// # Errors
    /// See [`Error::may_have_appended`]: the records can be in the topic although the call failed. An empty batch is rejected.
    ///
    /// # Cancel safety
    /// A dropped call may still append.
    fn produce(&mut self, values: Vec<Bytes>) -> KafkaFuture<'_, Produced>;

    /// Asks the leader whether it would take records from us, without one.
    ///
    /// # Errors
    /// [`Error::Authorization`] if not.
    fn check_permission(&mut self) -> KafkaFuture<'_, ()>;
}

/// Reads one topic, over a connection of its own.
pub trait Consumer: Send + std::fmt::Debug {
    /// Connects to the topic's leader, if it is not connected. The other calls do so too.
    fn connect(&mut self) -> KafkaFuture<'_, ()>;

    /// Reads records from `offset` on. Waits for one up to [`FetchLimits::max_wait`]; none is no error.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`], [`Error::UnknownTopic`] and [`Error::Poison`] stay until an operator sees to the topic.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing but its connection: the poll goes on at the broker.
    fn fetch(&mut self, offset: i64, limits: FetchLimits) -> KafkaFuture<'_, Fetched>;

    /// Returns the offsets that the topic holds now.
    fn offsets(&mut self) -> KafkaFuture<'_, Offsets>;
}

/// Limits of one fetch: its size, and the wait for the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// The broker answers empty after this long.
    pub max_wait: Duration,
    /// Approximate maximum size of one answer, in bytes. The first batch comes whole, however large.
    pub max_bytes: u32,
}

/// Records that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The records in the order of their offsets, which may have gaps.
    pub records: Vec<Record>,
    /// The offset to continue from. It lies beyond the last record where the topic has an offset without a record for the
    /// consumer (a transaction's marker).
    pub next_offset: i64,
    /// The offset the topic's next acknowledged record will get, as the leader knew it.
    pub high_watermark: i64,
    /// Pause that a quota asks for. The next call on this consumer keeps it.
    pub throttled: Option<Duration>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the topic.
    pub offset: i64,
    /// Its value; none if the record's value is null.
    pub value: Option<Bytes>,
}

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Offset of the first record; the others follow one by one.
    pub base_offset: i64,
    /// Pause that a quota asks for. The next call on this producer keeps it. Orderers need topics without such a quota.
    pub throttled: Option<Duration>,
}

/// The offsets that a topic holds: `earliest..next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The oldest offset that is kept.
    pub earliest: i64,
    /// The offset the next record will get.
    pub next: i64,
}

/// A topic that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name: the channel's.
    pub name: String,
    /// Number of brokers that keep it.
    pub replication_factor: i16,
    /// The largest batch it takes: the channel's absolute maximum with headroom. None leaves it to the brokers.
    pub max_message_bytes: Option<u32>,
}

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Number of its partitions. A channel's has one; what follows is about its first.
    pub partitions: usize,
    /// The broker that leads it.
    pub leader: Option<i32>,
    /// The brokers that keep it.
    pub replicas: Vec<i32>,
    /// The replicas that are in sync.
    pub in_sync: Vec<i32>,
}

/// The brokers of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The name the cluster gave itself.
    pub cluster_id: Option<String>,
    /// The broker that answered.
    pub answered_by: String,
    /// The brokers that are alive, by id.
    pub brokers: Vec<BrokerDescription>,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerDescription {
    /// Its id.
    pub id: i32,
    /// The address that it advertises to clients.
    pub address: String,
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, for instance `retention.ms`.
    pub name: String,
    /// Its value. None where the broker keeps it secret.
    pub value: Option<String>,
    /// Whether it was set for this very topic or broker.
    pub is_own: bool,
}
