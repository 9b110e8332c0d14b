//! Tests that the fake fulfils the same contract as real brokers, and fails on demand.

mod contract;
mod support;

use bytes::Bytes;
use orderer_kafka::testing::{FakeCluster, Fault};
use orderer_kafka::{Cluster, Error, Offsets, Operation};
use std::time::Duration;
use support::{LIMITS, text, values, with_topic};

fn lost(operation: Operation) -> Error {
    Error::Lost { broker: "fake:9092".to_owned(), operation, cause: std::io::ErrorKind::ConnectionReset.into() }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    contract::holds(&FakeCluster::new()).await;
}

#[tokio::test]
async fn a_lost_acknowledgement_leaves_its_record_and_a_refusal_does_not() {
    let fake = FakeCluster::new();
    with_topic(&fake, "t").await;
    fake.inject(Operation::Produce, Fault::DoneThenLost(lost(Operation::Produce)));
    fake.inject(Operation::Produce, Fault::Refuse(lost(Operation::Produce)));
    fake.inject(Operation::Produce, Fault::Throttle(Duration::from_secs(1)));
    let mut producer = fake.producer("t");
    assert!(producer.produce(values(&["a"])).await.unwrap_err().may_have_appended());
    producer.produce(values(&["b"])).await.unwrap_err();
    let produced = producer.produce(values(&["c"])).await.unwrap();
    assert_eq!((produced.base_offset, produced.throttled), (1, Some(Duration::from_secs(1))));
    assert_eq!(fake.values("t"), [Some(Bytes::from_static(b"a")), Some(Bytes::from_static(b"c"))]);
}

#[tokio::test]
async fn an_outage_ends_polls_that_wait() {
    let fake = FakeCluster::new();
    with_topic(&fake, "t").await;
    let mut consumer = fake.consumer("t");
    let outage = async {
        tokio::task::yield_now().await;
        fake.begin_outage(lost);
    };
    let (fetched, ()) = tokio::join!(consumer.fetch(0, LIMITS), outage);
    assert!(matches!(fetched, Err(Error::Lost { .. })), "{fetched:?}");
    assert!(fake.describe().await.is_err());
    fake.end_outage();
    fake.describe().await.unwrap();
}

#[tokio::test]
async fn a_held_call_is_answered_when_it_is_released() {
    let fake = FakeCluster::new();
    with_topic(&fake, "t").await;
    fake.inject(Operation::Produce, Fault::Hold);
    let mut producer = fake.producer("t");
    let mut held = producer.produce(values(&["a"]));
    assert!(futures_util::poll!(&mut held).is_pending());
    assert!(fake.values("t").is_empty());
    fake.release();
    held.await.unwrap();
    assert_eq!((fake.values("t").len(), fake.produced_batches()), (1, 1));
}

#[tokio::test]
async fn poison_trimming_and_null_values_are_met_where_they_are() {
    let fake = FakeCluster::new();
    with_topic(&fake, "t").await;
    fake.append("t", Some(Bytes::from_static(b"a"))).unwrap();
    fake.append("t", None).unwrap();
    let poisoned = fake.poison("t").unwrap();
    let mut consumer = fake.consumer("t");
    let fetched = consumer.fetch(0, LIMITS).await.unwrap();
    assert_eq!(fetched.records.iter().map(text).collect::<Vec<_>>(), ["a", "null"]);
    let error = consumer.fetch(fetched.next_offset, LIMITS).await.unwrap_err();
    assert!(matches!(error, Error::Poison { offset, .. } if offset == poisoned), "{error:?}");
    fake.trim("t", 1).unwrap();
    let error = consumer.fetch(0, LIMITS).await.unwrap_err();
    let held = Offsets { earliest: 1, next: 3 };
    assert!(matches!(error, Error::OffsetOutOfRange { held: Some(found), .. } if found == held), "{error:?}");
}

#[tokio::test]
async fn a_topic_of_two_partitions_is_refused() {
    let fake = FakeCluster::new();
    fake.add_topic("two", 2);
    let error = fake.producer("two").connect().await.unwrap_err();
    assert!(matches!(error, Error::WrongPartitionCount { found: 2, .. }), "{error:?}");
    fake.delete_topic("two");
    assert!(matches!(fake.topic("two").await, Err(Error::UnknownTopic { .. })));
}
