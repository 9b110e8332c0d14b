//! Tests a broker that has just started and does not know the topics yet: the client asks the other brokers before it
//! reports a topic as unknown.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that panics has failed")]

mod scripted;
mod support;

use orderer_kafka::{Cluster as _, Error};
use scripted::{Knowledge, ScriptedBrokers};
use support::{cluster, within};

const TOPIC: &str = "app";

#[tokio::test]
async fn a_topic_that_one_broker_does_not_know_is_asked_of_the_others() {
    // only the controller knows the topic, and the settings name only the other two brokers
    let brokers = ScriptedBrokers::start([Knowledge::Nothing, Knowledge::Nothing, Knowledge::Leads(3)], Some(3)).await;
    let ours = cluster(brokers.addresses()[..2].to_vec());
    for _ in 0..2 {
        let found = within("the topic is found", ours.topic(TOPIC)).await.unwrap();
        assert_eq!((found.leader, found.partitions), (Some(3), 1));
        within("the leader is found", ours.producer(TOPIC).connect()).await.unwrap();
        within("the leader is found", ours.consumer(TOPIC).connect()).await.unwrap();
    }
    assert!(brokers.asked_about_topics(3) >= 2);
}

#[tokio::test]
async fn a_broker_of_the_settings_that_is_named_by_no_other_is_asked_too() {
    let apart = ScriptedBrokers::start([Knowledge::Leads(1)], None).await;
    let alone = ScriptedBrokers::start([Knowledge::Nothing], None).await;
    let ours = cluster([alone.addresses(), apart.addresses()].concat());
    for _ in 0..2 {
        let found = within("the topic is found", ours.topic(TOPIC)).await.unwrap();
        assert_eq!(found.leader, Some(1));
    }
}

#[tokio::test]
async fn a_topic_that_another_broker_knows_without_a_leader_is_no_unknown_topic() {
    let brokers = ScriptedBrokers::start([Knowledge::Nothing, Knowledge::NoLeaderYet], None).await;
    let ours = cluster(brokers.addresses()[..1].to_vec());
    let error = within("an answer", ours.topic(TOPIC)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_topic_that_no_broker_knows_is_unknown_and_each_was_asked() {
    let brokers = ScriptedBrokers::start([Knowledge::Nothing, Knowledge::Nothing, Knowledge::Nothing], Some(2)).await;
    let ours = cluster(brokers.addresses()[..1].to_vec());
    let error = within("an answer", ours.topic(TOPIC)).await.unwrap_err();
    assert!(matches!(error, Error::UnknownTopic { .. }), "{error:?}");
    for id in 1..=3 {
        assert_eq!(brokers.asked_about_topics(id), 1, "broker {id}");
    }
}
