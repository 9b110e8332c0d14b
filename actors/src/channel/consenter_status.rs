//! Status that a consenter publishes beside its channel's state.

use serde::Serialize;

/// Health of a channel's Kafka topic when it was last sampled. Exists only while the channel consumes a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TopicHealth {
    /// The broker that leads the topic.
    pub leader: Option<i32>,
    /// Number of brokers that have a replica of the topic.
    pub replicas: usize,
    /// Number of replicas that are in sync.
    pub in_sync: usize,
    /// Number of in-sync replicas that the topic needs to accept a record. `None` if the brokers do not report it.
    pub least_in_sync: Option<usize>,
    /// The topic's oldest offset, and the offset of its next record, when its settings were last read.
    pub offsets: Option<(i64, i64)>,
    /// Retention time of the topic's records, in hours. `None` if it is unlimited, or the brokers do not report it.
    pub forgets_after_hours: Option<f64>,
    /// Estimated hours until the topic has deleted all records that this orderer has consumed. An orderer that is away
    /// for longer cannot continue.
    pub hours_left: Option<f64>,
    /// The reason why the topic does not serve the channel.
    pub trouble: Option<String>,
}
