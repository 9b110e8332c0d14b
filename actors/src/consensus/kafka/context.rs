//! Values that the chains of all Kafka channels share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use orderer_kafka::{Cluster, SettingsError, Traffic};

use super::retry::RetryPolicy;

/// Makes a way to a cluster, given its brokers.
pub type ConnectFn = dyn Fn(&[String]) -> Result<Arc<dyn Cluster>, SettingsError> + Send + Sync;

/// Values that the chains of all Kafka channels share.
pub struct KafkaContext {
    /// How a cluster is reached: TLS, SASL and deadlines are in here.
    pub connector: Box<ConnectFn>,
    /// Counters of the traffic with all brokers.
    pub traffic: Arc<Traffic>,
    /// Replication factor of a topic that a chain creates.
    pub replication_factor: i16,
    /// Duration for which brokers may report that the topic does not exist, before that is believed.
    pub topic_grace: Duration,
    /// Retries of an unavailable broker.
    pub retry: RetryPolicy,
    /// Maximum number of times that a failed batch is produced again before its senders are answered.
    pub produce_again: u32,
    /// After this pause each.
    pub produce_pause: Duration,
}

impl fmt::Debug for KafkaContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaContext").field("retry", &self.retry).finish_non_exhaustive()
    }
}
