//! Connects to a cluster and finds a topic that can be consumed: one attempt.

use std::sync::Arc;

use orderer_core::ordering::kafka::{Failure, KafkaOffset, LastBlock, TopicBounds, encode_connect};
use orderer_kafka::{Cluster, Consumer, Error, Producer, TopicSpec};

/// The connection's results with which a chain goes on.
pub(super) struct TopicConnection {
    pub(super) producer: Box<dyn Producer>,
    pub(super) consumer: Box<dyn Consumer>,
    /// The offset to consume from.
    pub(super) from: KafkaOffset,
    /// Offset behind the last record that the topic held at the time of the connection.
    pub(super) end: KafkaOffset,
}

/// The reason why a chain cannot connect.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Kafka(#[from] Error),
    /// The topic is there, but it is not the one that the chain was cut from, or not all of it.
    #[error(transparent)]
    Topic(#[from] Failure),
}

/// Makes sure that the topic exists, says in it that we came, and finds out where to read on. A topic that the chain has
/// taken records from is not created: without it the chain cannot go on, and an empty one would only hide that.
pub(super) async fn connect(
    cluster: Arc<dyn Cluster>,
    spec: TopicSpec,
    last: LastBlock,
) -> Result<TopicConnection, ConnectError> {
    if last.metadata.last_offset_persisted >= KafkaOffset::FIRST {
        let topic = cluster.topic(&spec.name).await?;
        if topic.partitions != 1 {
            return Err(Error::WrongPartitionCount { topic: spec.name, found: topic.partitions }.into());
        }
    } else {
        cluster.ensure_topic(&spec).await?;
    }
    let (mut producer, mut consumer) = (cluster.producer(&spec.name), cluster.consumer(&spec.name));
    // before anything is written to it: is this the topic?
    let offsets = consumer.offsets().await?;
    let bounds = TopicBounds { earliest: KafkaOffset(offsets.earliest), end: KafkaOffset(offsets.next) };
    let from = last.resume_offset(bounds)?;
    let produced = producer.produce(vec![encode_connect()]).await?;
    Ok(TopicConnection { producer, consumer, from, end: KafkaOffset(produced.base_offset).next() })
}
