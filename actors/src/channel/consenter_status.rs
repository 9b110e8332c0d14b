//! Status that a consenter publishes beside its channel's state.

use serde::Serialize;

/// How a channel's topic fares, as it was seen last. Only of a channel that follows one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KafkaHealth {
    /// The broker that leads the topic.
    pub leader: Option<i32>,
    /// Number of brokers that have a replica of the topic.
    pub replicas: usize,
    /// Number of replicas that are in sync.
    pub in_sync: usize,
    /// The number of replicas in sync that the topic needs to accept a record. None if the brokers do not say.
    pub least_in_sync: Option<usize>,
    /// The topic's oldest offset, and the one that its next record gets, when settings were read last.
    pub offsets: Option<(i64, i64)>,
    /// Retention time of the topic's records, in hours. None: unlimited, or the brokers do not say.
    pub forgets_after_hours: Option<f64>,
    /// Estimated hours until the topic has deleted all records that this orderer has consumed. An orderer that is away for
    /// longer
    /// cannot go on.
    pub hours_left: Option<f64>,
    /// The reason why the topic does not serve the channel.
    pub trouble: Option<String>,
}
