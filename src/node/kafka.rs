//! Connects a node to the brokers of its Kafka channels.

use std::sync::Arc;
use std::time::Duration;

use orderer_actors::kafka::KafkaContext;
use orderer_kafka::{Cluster, KafkaCluster};

use crate::settings::{KafkaSettings, kafka_settings};

/// Time that a channel waits for brokers that do not know its topic, since they may have just started.
const TOPIC_GRACE: Duration = Duration::from_secs(20);

/// Returns the client certificate for brokers in PEM, if there is one.
pub(super) fn kafka_certificate(settings: &KafkaSettings) -> Option<Vec<u8>> {
    settings.tls.as_ref()?.client.as_ref().map(|client| client.chain_pem.clone())
}

/// Creates the services with which chains reach their brokers.
pub(super) fn kafka_context(settings: &KafkaSettings) -> KafkaContext {
    let reach = kafka_settings(settings);
    let traffic = Arc::clone(&reach.traffic);
    let connector = move |brokers: &[String]| {
        let settings = orderer_kafka::Settings { brokers: brokers.to_vec(), ..reach.clone() };
        KafkaCluster::new(settings).map(|cluster| Arc::new(cluster) as Arc<dyn Cluster>)
    };
    KafkaContext {
        connector: Box::new(connector),
        traffic,
        replication_factor: settings.replication_factor,
        retry: settings.retry,
        produce_again: settings.produce_again,
        produce_pause: settings.produce_pause,
        topic_grace: TOPIC_GRACE,
    }
}
