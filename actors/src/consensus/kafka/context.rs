//! What the chains of all channels that Kafka orders have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use orderer_kafka::{Cluster, SettingsError, Traffic};

use super::retry::RetryPolicy;

/// Makes a way to a cluster, given its brokers.
pub type Connector = dyn Fn(&[String]) -> Result<Arc<dyn Cluster>, SettingsError> + Send + Sync;

/// What the chains of all channels are told of Kafka.
pub struct KafkaContext {
    /// How a cluster is reached: TLS, SASL and deadlines are in here.
    pub connector: Box<Connector>,
    /// What goes to all brokers and comes back.
    pub traffic: Arc<Traffic>,
    /// On how many brokers a topic is kept that a chain creates.
    pub replication_factor: i16,
    /// How long brokers may say that there is no topic, before that is believed.
    pub topic_grace: Duration,
    /// How long a broker that is gone is tried again.
    pub retry: RetryPolicy,
    /// So often a batch is produced again before its senders are told.
    pub produce_again: u32,
    /// After this pause each.
    pub produce_pause: Duration,
}

impl fmt::Debug for KafkaContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaContext").field("retry", &self.retry).finish_non_exhaustive()
    }
}
