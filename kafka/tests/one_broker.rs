//! Tests with one real broker: failures of rskafka's own client, and the behavior of this crate's client instead.

mod broker;
mod contract;
mod support;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use broker::{Brokers, KAFKA_3, Listener, Plan};
use bytes::Bytes;
use orderer_kafka::{Cluster, Error, FetchLimits, KafkaCluster, Offsets, Operation, Settings, TopicSpec};
use rskafka::client::ClientBuilder;
use support::{
    LIMITS, SHORT_TIMEOUTS, TIMEOUTS, bare, bare_partition, bare_produce, cluster, median, read, settings, text, timed,
    values, with_topic, within,
};
use tokio::time::timeout;

static BROKER: Mutex<Weak<Brokers>> = Mutex::new(Weak::new());

fn broker() -> Arc<Brokers> {
    // short windows, so that a quota causes short pauses
    let plan = Plan::new(KAFKA_3).set("quota.window.num=2").set("quota.window.size.seconds=1");
    plan.set("message.max.bytes=4194304").shared(&BROKER)
}

#[tokio::test]
async fn a_broker_of_version_3_keeps_the_contract() {
    let broker = broker();
    contract::holds(&cluster(broker.addresses(Listener::Plain))).await;
}

#[tokio::test]
async fn a_request_of_16_kib_does_not_wait_for_a_delayed_acknowledgement() {
    let broker = broker();
    let addresses = broker.addresses(Listener::Plain);
    let ours = cluster(addresses.clone());
    with_topic(&ours, "nagle").await;
    let theirs = bare(addresses).await;
    let theirs = bare_partition(&theirs, "nagle").await;
    let mut producer = ours.producer("nagle");
    for kib in [16, 32] {
        let (mut slow, mut fast) = (vec![], vec![]);
        for _ in 0..11 {
            // rskafka's client retries without end on errors that it does not know, so not every call returns
            let (took, _) = timed(timeout(Duration::from_secs(1), bare_produce(&theirs, kib * 1024))).await;
            slow.push(took);
            let value = Bytes::from(vec![7; kib * 1024]);
            let (took, done) = timed(producer.produce(vec![value])).await;
            done.unwrap();
            fast.push(took);
        }
        // a busy machine delays requests of both; a delayed acknowledgement, of 40 ms, delays every one
        let (slow, fast) = (median(slow), fast.into_iter().min().unwrap());
        println!("produce of {kib} KiB: rskafka's client {slow:?}, ours {fast:?}");
        assert!(slow > Duration::from_millis(35), "rskafka's client sets TCP_NODELAY now? {slow:?}");
        assert!(fast + Duration::from_millis(15) < slow, "ours {fast:?}, rskafka's {slow:?}");
    }
}

#[tokio::test]
async fn a_produce_does_not_wait_behind_a_long_poll() {
    let broker = broker();
    let addresses = broker.addresses(Listener::Plain);
    let ours = cluster(addresses.clone());
    with_topic(&ours, "poll").await;
    let theirs = bare(addresses).await;
    let theirs = bare_partition(&theirs, "poll").await;

    // one connection: the produce waits for the poll, which waits for a record that does not come
    within("a first record", bare_produce(&theirs, 10)).await.unwrap();
    let poll = async { timeout(Duration::from_secs(5), theirs.fetch_records(1, 1_000_000..2_000_000, 1000)).await };
    let produce = async {
        tokio::task::yield_now().await;
        timed(timeout(Duration::from_secs(5), bare_produce(&theirs, 10))).await.0
    };
    let (_, slow) = tokio::join!(poll, produce);

    let (mut producer, mut consumer) = (ours.producer("poll"), ours.consumer("poll"));
    producer.connect().await.unwrap();
    consumer.connect().await.unwrap();
    let limits = FetchLimits { max_wait: Duration::from_secs(20), ..LIMITS };
    let poll = consumer.fetch(2, limits);
    let produce = async {
        tokio::task::yield_now().await;
        timed(producer.produce(values(&["quick"]))).await
    };
    let (fetched, (fast, produced)) = tokio::join!(poll, produce);
    assert_eq!((produced.unwrap().base_offset, fetched.unwrap().records.len()), (2, 1));
    println!("produce during a poll of 1 s: rskafka's client {slow:?}, ours {fast:?}");
    assert!(slow > Duration::from_millis(500) && fast < Duration::from_secs(10), "{slow:?}, {fast:?}");
}

#[tokio::test]
async fn a_dropped_poll_is_in_nobodys_way() {
    let broker = broker();
    let ours = cluster(broker.addresses(Listener::Plain));
    with_topic(&ours, "dropped").await;
    let mut consumer = ours.consumer("dropped");
    consumer.connect().await.unwrap();
    let limits = FetchLimits { max_wait: Duration::from_secs(20), ..LIMITS };
    assert!(timeout(Duration::from_millis(100), consumer.fetch(0, limits)).await.is_err());
    let (took, offsets) = timed(consumer.offsets()).await;
    assert_eq!(offsets.unwrap(), Offsets { earliest: 0, next: 0 });
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_refused_by_name() {
    let broker = broker();
    let ours = cluster(broker.addresses(Listener::Plain));
    let spec = TopicSpec { name: "large".to_owned(), replication_factor: 1, max_message_bytes: Some(100_000) };
    ours.ensure_topic(&spec).await.unwrap();
    let settings = ours.topic_settings("large").await.unwrap();
    let limit = settings.iter().find(|found| found.name == "max.message.bytes").unwrap();
    assert_eq!((limit.value.as_deref(), limit.is_own), (Some("100000"), true));

    let mut producer = ours.producer("large");
    let error = producer.produce(vec![Bytes::from(vec![0; 200_000])]).await.unwrap_err();
    assert!(matches!(error, Error::MessageTooLarge { bytes: 200_000, .. }), "{error:?}");
    assert!(!error.is_transient() && !error.may_have_appended());
    // a record for which the broker would close the connection silently is not sent
    let error = producer.produce(vec![Bytes::from(vec![0; 101 * 1024 * 1024])]).await.unwrap_err();
    assert!(matches!(error, Error::MessageTooLarge { limit: Some(_), .. }), "{error:?}");
    assert_eq!(producer.produce(values(&["small"])).await.unwrap().base_offset, 0);
}

#[tokio::test]
async fn an_unreadable_record_is_named_and_hides_nothing() {
    let broker = broker();
    let addresses = broker.addresses(Listener::Plain);
    let ours = cluster(addresses.clone());
    with_topic(&ours, "poison").await;
    let mut producer = ours.producer("poison");
    producer.produce(values(&["a", "b"])).await.unwrap();
    support::raw::produce_null_header(&addresses[0], "poison");
    producer.produce(values(&["c"])).await.unwrap();

    let theirs = bare(addresses).await;
    let theirs = bare_partition(&theirs, "poison").await.fetch_records(0, 1..1_000_000, 1000).await;
    assert!(theirs.is_err(), "rskafka's client reads it now? {theirs:?}");

    let mut consumer = ours.consumer("poison");
    let fetched = consumer.fetch(0, LIMITS).await.unwrap();
    assert_eq!(fetched.records.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
    let error = consumer.fetch(fetched.next_offset, LIMITS).await.unwrap_err();
    assert!(matches!(error, Error::Poison { offset: 2, .. }) && !error.is_transient(), "{error:?}");
    // a caller that may skip the record can continue after it
    assert_eq!(consumer.fetch(3, LIMITS).await.unwrap().records.iter().map(text).collect::<Vec<_>>(), ["c"]);
}

#[tokio::test]
async fn a_throttled_batch_is_appended_once() {
    let broker = broker();
    let quota = ["--alter", "--add-config", "producer_byte_rate=10000", "--entity-type", "clients", "--entity-name"];
    for client in ["bare", "throttled"] {
        broker.command("kafka.admin.ConfigCommand", &[&quota[..], &[client]].concat());
    }
    let addresses = broker.addresses(Listener::Plain);
    let ours =
        KafkaCluster::new(Settings { client_id: "throttled".to_owned(), ..settings(addresses.clone()) }).unwrap();
    with_topic(&ours, "quota-theirs").await;
    with_topic(&ours, "quota-ours").await;

    let theirs = bare(addresses).await;
    let partition = bare_partition(&theirs, "quota-theirs").await;
    for _ in 0..4 {
        within("a throttled produce of rskafka's", bare_produce(&partition, 9000)).await.unwrap();
    }
    let appended = ours.consumer("quota-theirs").offsets().await.unwrap().next;
    println!("4 produces above a quota: {appended} records by rskafka's client");
    assert!(appended > 4, "rskafka's client appends once now?");

    let mut producer = ours.producer("quota-ours");
    let mut throttled = 0;
    for expected in 0..4 {
        let produced = producer.produce(vec![Bytes::from(vec![0; 9000])]).await.unwrap();
        assert_eq!(produced.base_offset, expected);
        throttled += usize::from(produced.throttled.is_some());
    }
    assert!(throttled > 0);
    assert_eq!(ours.consumer("quota-ours").offsets().await.unwrap(), Offsets { earliest: 0, next: 4 });
}

#[tokio::test]
async fn a_topic_that_was_trimmed_or_deleted_is_a_clear_end() {
    let broker = broker();
    let addresses = broker.addresses(Listener::Plain);
    let ours = cluster(addresses.clone());
    with_topic(&ours, "ends").await;
    let (mut producer, mut consumer) = (ours.producer("ends"), ours.consumer("ends"));
    producer.produce(values(&["a", "b", "c"])).await.unwrap();
    let theirs = bare(addresses).await;
    bare_partition(&theirs, "ends").await.delete_records(2, 5000).await.unwrap();
    let error = consumer.fetch(1, LIMITS).await.unwrap_err();
    assert_eq!(error.to_string(), "topic ends: does not hold offset 1, it begins at 2 and the next record will be 3");
    assert_eq!(read(&mut *consumer, 2, 3).await.len(), 1);

    theirs.controller_client().unwrap().delete_topic("ends", 5000).await.unwrap();
    // a broker may serve for a moment what it still has
    let gone = support::eventually("the topic is gone", async || ours.topic("ends").await.err()).await;
    assert!(matches!(gone, Error::UnknownTopic { .. }), "{gone:?}");
    let produced =
        support::eventually("produce fails", async || ours.producer("ends").produce(values(&["d"])).await.err());
    assert!(matches!(produced.await, Error::UnknownTopic { .. }));
    for open in [consumer.fetch(2, LIMITS).await.unwrap_err(), producer.produce(values(&["d"])).await.unwrap_err()] {
        assert!(matches!(open, Error::UnknownTopic { .. }), "{open:?}");
    }
    // the new topic is shorter than the old one
    with_topic(&ours, "ends").await;
    let error = consumer.fetch(3, LIMITS).await.unwrap_err();
    let held = Offsets { earliest: 0, next: 0 };
    assert!(matches!(error, Error::OffsetOutOfRange { held: Some(found), .. } if found == held), "{error:?}");
}

#[tokio::test]
async fn a_topic_of_two_partitions_is_refused() {
    let broker = broker();
    let addresses = broker.addresses(Listener::Plain);
    let controller = bare(addresses.clone()).await.controller_client().unwrap();
    controller.create_topic("two", 2, 1, 5000).await.unwrap();
    let ours = cluster(addresses);
    assert_eq!(ours.topic("two").await.unwrap().partitions, 2);
    let errors = [
        ours.ensure_topic(&support::spec("two", 1)).await.unwrap_err(),
        ours.producer("two").produce(values(&["x"])).await.unwrap_err(),
        ours.consumer("two").fetch(0, LIMITS).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::WrongPartitionCount { found: 2, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_made_is_said_with_the_brokers_words() {
    let broker = broker();
    let ours = cluster(broker.addresses(Listener::Plain));
    let error = ours.ensure_topic(&support::spec("no such name!", 1)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    // missing brokers may still join
    let error = ours.ensure_topic(&support::spec("wide", 3)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn settings_of_brokers_can_be_read() {
    let broker = broker();
    let ours = cluster(broker.addresses(Listener::Plain));
    let brokers = ours.describe().await.unwrap().brokers;
    assert_eq!(brokers.iter().map(|found| found.id).collect::<Vec<_>>(), [1]);
    let settings = ours.broker_settings(1).await.unwrap();
    let limit = settings.iter().find(|found| found.name == "message.max.bytes").unwrap();
    assert_eq!(limit.value.as_deref(), Some("4194304"));
    assert!(ours.broker_settings(7).await.unwrap_err().to_string().contains("broker 7"));
    assert!(matches!(ours.topic_settings("nowhere").await, Err(Error::UnknownTopic { .. })));
}

#[tokio::test]
async fn a_listener_that_keeps_silent_costs_the_deadline_and_not_more() {
    // the kernel accepts connections, but no process reads
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let theirs = timeout(2 * SHORT_TIMEOUTS.dial, ClientBuilder::new(vec![address.clone()]).build()).await;
    assert!(theirs.is_err(), "rskafka's client has a deadline now?");

    let ours = Settings { timeouts: SHORT_TIMEOUTS, ..settings(vec![address.clone()]) };
    let (took, described) = timed(KafkaCluster::new(ours).unwrap().describe()).await;
    let error = described.unwrap_err();
    assert!(matches!(error, Error::Timeout { operation: Operation::Connect, .. }), "{error:?}");
    assert!(took >= SHORT_TIMEOUTS.dial && took < TIMEOUTS.dial, "{took:?}");

    // together with a listener that answers, the delay is small
    let broker = broker();
    let ours = cluster([vec![address], broker.addresses(Listener::Plain)].concat());
    let (took, described) = timed(ours.describe()).await;
    described.unwrap();
    assert!(took < TIMEOUTS.dial, "{took:?}");
}

#[tokio::test]
async fn a_port_without_a_listener_is_said_at_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (took, described) = timed(cluster(vec![closed.clone()]).describe()).await;
    let error = described.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { broker, .. } if *broker == closed), "{error:?}");
    assert!(error.is_transient() && took < TIMEOUTS.dial / 2, "{took:?}");
}
