//! Reads a topic's leader and the cluster's brokers from metadata.

use std::time::Duration;

use rskafka::protocol::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponseTopic,
};
use rskafka::protocol::primitives::{Array, Boolean, Int32, String_};

use crate::address::Address;
use crate::api::{BrokerDescription, ClusterDescription, TopicDescription};
use crate::classify::topic_error;
use crate::connection::Connection;
use crate::error::{Error, Operation, Unavailable};

/// Asks about no topic: the brokers alone.
pub(crate) async fn cluster(connection: &Connection, within: Duration) -> Result<ClusterDescription, Error> {
    let answer = request(connection, vec![], within).await?;
    let brokers = answer.brokers.iter().map(|broker| BrokerDescription {
        id: broker.node_id.0,
        address: format!("{}:{}", broker.host.0, broker.port.0),
    });
    let mut brokers: Vec<_> = brokers.collect();
    brokers.sort_by_key(|broker| broker.id);
    let cluster_id = answer.cluster_id.and_then(|id| id.0);
    Ok(ClusterDescription { cluster_id, answered_by: connection.address().to_string(), brokers })
}

/// Asks where a broker is.
pub(crate) async fn broker(connection: &Connection, id: i32, within: Duration) -> Result<Option<Address>, Error> {
    let answer = request(connection, vec![], within).await?;
    answer.brokers.iter().find(|broker| broker.node_id.0 == id).map(|found| address_of(connection, found)).transpose()
}

/// Asks where the brokers are that are alive. The controller comes first.
pub(crate) async fn brokers(connection: &Connection, within: Duration) -> Result<Vec<Address>, Error> {
    let answer = request(connection, vec![], within).await?;
    let mut brokers: Vec<_> = answer.brokers.iter().collect();
    brokers.sort_by_key(|broker| Some(broker.node_id) != answer.controller_id);
    brokers.into_iter().map(|broker| address_of(connection, broker)).collect()
}

/// Asks which broker creates topics.
pub(crate) async fn controller(connection: &Connection, within: Duration) -> Result<Option<Address>, Error> {
    let answer = request(connection, vec![], within).await?;
    let Some(id) = answer.controller_id else { return Ok(None) };
    answer.brokers.iter().find(|broker| broker.node_id == id).map(|found| address_of(connection, found)).transpose()
}

/// The description of a topic, and the address of its leader.
#[derive(Debug)]
pub(crate) struct TopicLeadership {
    pub(crate) description: TopicDescription,
    pub(crate) leader: Option<Address>,
}

impl TopicLeadership {
    /// The leader of a topic that is as a channel's has to be.
    pub(crate) fn leader(self) -> Result<Address, Error> {
        let TopicDescription { name: topic, partitions, .. } = self.description;
        if partitions != 1 {
            return Err(Error::WrongPartitionCount { topic, found: partitions });
        }
        self.leader.ok_or_else(|| Error::Unavailable {
            subject: format!("topic {topic}"),
            operation: Operation::Metadata,
            reason: Unavailable::NoLeader,
            code: "no leader among the brokers alive".to_owned(),
        })
    }
}

pub(crate) async fn topic(connection: &Connection, topic: &str, within: Duration) -> Result<TopicLeadership, Error> {
    let answer = request(connection, vec![topic.to_owned()], within).await?;
    let found = answer.topics.iter().find(|found| found.name.0 == topic);
    let found = found.ok_or_else(|| misunderstood(connection, format!("it says nothing about topic {topic}")))?;
    if let Some(code) = found.error {
        return Err(topic_error(topic, Operation::Metadata, code));
    }
    let description = describe(found);
    let leader = description.leader.and_then(|id| answer.brokers.iter().find(|broker| broker.node_id.0 == id));
    let leader = leader.map(|broker| address_of(connection, broker)).transpose()?;
    Ok(TopicLeadership { description, leader })
}

fn describe(topic: &MetadataResponseTopic) -> TopicDescription {
    let first = topic.partitions.iter().find(|partition| partition.partition_index.0 == 0);
    let ids = |nodes: &Array<Int32>| nodes.0.iter().flatten().map(|id| id.0).collect::<Vec<_>>();
    TopicDescription {
        name: topic.name.0.clone(),
        partitions: topic.partitions.len(),
        // -1 is nobody
        leader: first.map(|partition| partition.leader_id.0).filter(|id| *id >= 0),
        replicas: first.map(|partition| ids(&partition.replica_nodes)).unwrap_or_default(),
        in_sync: first.map(|partition| ids(&partition.isr_nodes)).unwrap_or_default(),
    }
}

async fn request(connection: &Connection, topics: Vec<String>, within: Duration) -> Result<MetadataResponse, Error> {
    let topics = topics.into_iter().map(|name| MetadataRequestTopic { name: String_(name) }).collect();
    // a question must not create what it asks about
    let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: Some(Boolean(false)) };
    let answer = connection.request(Operation::Metadata, request, within).await?;
    for broker in &answer.brokers {
        connection.traffic().learn(&format!("{}:{}", broker.host.0, broker.port.0), broker.node_id.0);
    }
    Ok(answer)
}

fn address_of(connection: &Connection, broker: &MetadataResponseBroker) -> Result<Address, Error> {
    let port = u16::try_from(broker.port.0);
    let port = port.map_err(|_| misunderstood(connection, format!("broker {} has no port", broker.node_id.0)))?;
    Ok(Address { host: broker.host.0.clone(), port })
}

fn misunderstood(connection: &Connection, reason: String) -> Error {
    Error::Protocol { broker: connection.address().to_string(), operation: Operation::Metadata, reason }
}
