//! Queries a cluster for the facts to check.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use super::{Finding, Requirements};
use crate::api::{Cluster, ClusterDescription, FetchLimits, Offsets, Setting, TopicDescription};
use crate::error::Error;

/// The facts that a cluster reports about itself and about a channel's topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The brokers alive.
    pub brokers: Vec<BrokerFacts>,
    /// The topic, if there is one.
    pub topic: Option<TopicFacts>,
}

/// A broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Its id.
    pub id: i32,
    /// Its address.
    pub address: String,
    /// Its settings, by name; none if the cluster denies reading them.
    pub settings: Option<BTreeMap<String, String>>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Partitions and replicas.
    pub description: TopicDescription,
    /// Its settings, by name; none if the cluster denies reading them.
    pub settings: Option<BTreeMap<String, String>>,
    /// The offsets that it holds, if they could be read.
    pub offsets: Option<Offsets>,
}

/// Queries the cluster. Returns the facts to check, and the findings so far: queries that failed. Produces nothing.
pub async fn examine(cluster: &dyn Cluster, need: &Requirements) -> (Option<ClusterFacts>, Vec<Finding>) {
    let mut findings = Vec::new();
    let ClusterDescription { cluster_id, answered_by, brokers } = match cluster.describe().await {
        Ok(described) => described,
        Err(error) => {
            findings.push(Finding::error(text(&error), fix_of(&error, need)));
            return (None, findings);
        }
    };
    let name = cluster_id.map_or_else(String::new, |id| format!(" {id}"));
    let addresses: Vec<&str> = brokers.iter().map(|broker| broker.address.as_str()).collect();
    findings.push(Finding::fine(format!(
        "cluster{name} answers through {answered_by}; brokers alive: {}",
        addresses.join(", ")
    )));
    let mut facts = ClusterFacts::default();
    for broker in &brokers {
        let settings = known(cluster.broker_settings(broker.id).await, need, &mut findings);
        facts.brokers.push(BrokerFacts { id: broker.id, address: broker.address.clone(), settings });
    }
    match cluster.topic(&need.channel).await {
        Ok(description) => facts.topic = Some(examine_topic(cluster, need, description, &mut findings).await),
        Err(Error::UnknownTopic { .. }) => {}
        Err(error) => {
            findings.push(Finding::error(text(&error), fix_of(&error, need)));
            return (None, findings);
        }
    }
    (Some(facts), findings)
}

async fn examine_topic(
    cluster: &dyn Cluster,
    need: &Requirements,
    description: TopicDescription,
    findings: &mut Vec<Finding>,
) -> TopicFacts {
    let settings = known(cluster.topic_settings(&need.channel).await, need, findings);
    let mut offsets = None;
    if description.partitions == 1 && description.leader.is_some() {
        let mut consumer = cluster.consumer(&need.channel);
        match consumer.offsets().await {
            Ok(held) => {
                offsets = Some(held);
                let limits = FetchLimits { max_wait: Duration::ZERO, max_bytes: 1 };
                match consumer.fetch(held.next, limits).await {
                    Ok(_) => findings.push(Finding::fine(format!("topic {} can be read", need.channel))),
                    Err(error) => findings.push(Finding::error(text(&error), fix_of(&error, need))),
                }
            }
            Err(error) => findings.push(Finding::error(text(&error), fix_of(&error, need))),
        }
        match cluster.producer(&need.channel).check_permission().await {
            Ok(()) => findings.push(Finding::fine(format!("topic {} accepts records from this client", need.channel))),
            Err(error) => findings.push(Finding::error(text(&error), fix_of(&error, need))),
        }
    }
    TopicFacts { description, settings, offsets }
}

fn known(
    settings: Result<Vec<Setting>, Error>,
    need: &Requirements,
    findings: &mut Vec<Finding>,
) -> Option<BTreeMap<String, String>> {
    match settings {
        Ok(settings) => Some(settings.into_iter().filter_map(|setting| Some((setting.name, setting.value?))).collect()),
        Err(error) => {
            findings
                .push(Finding::warning(format!("settings cannot be checked: {}", text(&error)), fix_of(&error, need)));
            None
        }
    }
}

/// The error and what caused it.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn fix_of(error: &Error, need: &Requirements) -> String {
    let channel = &need.channel;
    match error {
        Error::Unreachable { .. } | Error::Timeout { .. } | Error::Lost { .. } => {
            "start the brokers, or correct the addresses in the channel's configuration, Kafka.Brokers or --brokers; mind the firewall, and which listener the port belongs to".to_owned()
        }
        Error::Tls { .. } => "correct Kafka.TLS.RootCAs, or the name in the broker's certificate; with mutual TLS also Kafka.TLS.Certificate and PrivateKey".to_owned(),
        Error::Authentication { .. } => "correct Kafka.SASL.Mechanism, User and Password".to_owned(),
        Error::Authorization { .. } => format!(
            "kafka-acls.sh --bootstrap-server BROKER --add --allow-principal User:NAME --operation Describe --operation DescribeConfigs --operation Read --operation Write --operation Create --topic {channel}"
        ),
        _ => "check what the message names".to_owned(),
    }
}
