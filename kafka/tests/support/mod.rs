//! Support for the tests of this crate: settings, topics, polling loops, and rskafka's own client for comparison.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

pub mod raw;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orderer_kafka::{Cluster, Consumer, FetchLimits, KafkaCluster, Record, Settings, Timeouts, TopicSpec};
use rskafka::chrono::DateTime;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};

/// Time limit of every wait in a test, long enough for a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Deadlines that every response meets, even on a slow machine, so that an earlier failure has another cause.
pub const TIMEOUTS: Timeouts =
    Timeouts { dial: Duration::from_secs(30), read: Duration::from_secs(40), write: Duration::from_secs(40) };

/// Deadlines short enough for tests that wait for them.
pub const SHORT_TIMEOUTS: Timeouts =
    Timeouts { dial: Duration::from_secs(2), read: Duration::from_secs(5), write: Duration::from_secs(5) };

pub const LIMITS: FetchLimits = FetchLimits { max_wait: Duration::from_secs(1), max_bytes: 1024 * 1024 };

pub fn settings(brokers: Vec<String>) -> Settings {
    Settings { timeouts: TIMEOUTS, ..Settings::new(brokers) }
}

pub fn cluster(brokers: Vec<String>) -> KafkaCluster {
    KafkaCluster::new(settings(brokers)).unwrap()
}

pub fn spec(name: &str, replication_factor: i16) -> TopicSpec {
    TopicSpec { name: name.to_owned(), replication_factor, max_message_bytes: None }
}

/// Creates a topic with one replica.
pub async fn with_topic(cluster: &dyn Cluster, name: &str) {
    cluster.ensure_topic(&spec(name, 1)).await.unwrap();
}

pub fn values<T: AsRef<str>>(texts: &[T]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_ref().as_bytes())).collect()
}

pub fn text(record: &Record) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"null")).into_owned()
}

/// Reads the records from `offset` until `until`.
pub async fn read(consumer: &mut dyn Consumer, mut offset: i64, until: i64) -> Vec<Record> {
    let mut records = Vec::new();
    while offset < until {
        let fetched = consumer.fetch(offset, LIMITS).await.unwrap();
        records.extend(fetched.records);
        offset = fetched.next_offset;
    }
    records
}

/// Waits for a future for at most [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Polls until `ask` returns a value. Brokers do not publish their state, so it has to be polled.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

/// Returns the median.
pub fn median(mut measured: Vec<Duration>) -> Duration {
    measured.sort();
    measured[measured.len() / 2]
}

pub async fn timed<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let before = Instant::now();
    let done = future.await;
    (before.elapsed(), done)
}

/// Connects rskafka's own client, to show its behavior.
pub async fn bare(brokers: Vec<String>) -> Client {
    within("rskafka's client", ClientBuilder::new(brokers).client_id("bare").build()).await.unwrap()
}

pub async fn bare_partition(client: &Client, topic: &str) -> PartitionClient {
    let partition = client.partition_client(topic, 0, UnknownTopicHandling::Retry);
    within("rskafka's partition client", partition).await.unwrap()
}

pub fn bare_record(bytes: usize) -> rskafka::record::Record {
    let timestamp = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
    rskafka::record::Record { key: None, value: Some(vec![7; bytes]), headers: BTreeMap::new(), timestamp }
}

pub async fn bare_produce(
    partition: &PartitionClient,
    bytes: usize,
) -> Result<Vec<i64>, rskafka::client::error::Error> {
    partition.produce(vec![bare_record(bytes)], Compression::NoCompression).await
}
