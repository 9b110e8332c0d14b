//! Against one real broker on the same machine: a record at a time, batches, and reading.

#![allow(clippy::unwrap_used, reason = "a bench that panics has failed")]

#[path = "../tests/broker/mod.rs"]
mod broker;

use std::time::{Duration, Instant};

use broker::{KAFKA_4, Listener, Plan};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orderer_kafka::{Cluster, FetchLimits, KafkaCluster, Settings, TopicSpec};
use tokio::runtime::Runtime;

const KIB: usize = 1024;
const TOPIC: &str = "bench";
const LIMITS: FetchLimits = FetchLimits { max_wait: Duration::from_secs(1), max_bytes: 4 * 1024 * 1024 };

fn one_broker(c: &mut Criterion) {
    let broker = Plan::new(KAFKA_4).set("message.max.bytes=10000000").start();
    let runtime = Runtime::new().unwrap();
    let cluster = KafkaCluster::new(Settings::new(broker.addresses(Listener::Plain))).unwrap();
    let spec = TopicSpec { name: TOPIC.to_owned(), replication_factor: 1, max_message_bytes: None };
    runtime.block_on(cluster.ensure_topic(&spec)).unwrap();
    produce(c, &runtime, &cluster);
    fetch(c, &runtime, &cluster);
}

fn produce(c: &mut Criterion, runtime: &Runtime, cluster: &KafkaCluster) {
    let mut producer = cluster.producer(TOPIC);
    let mut group = c.benchmark_group("produce, records of 1 KiB");
    for records in [1, 16, 100, 1000] {
        group.throughput(Throughput::Elements(records));
        group.bench_function(format!("batches of {records}"), |bencher| {
            let values: Vec<_> = (0..records).map(|_| Bytes::from(vec![7; KIB])).collect();
            bencher.iter(|| runtime.block_on(producer.produce(values.clone())).unwrap());
        });
    }
}

fn fetch(c: &mut Criterion, runtime: &Runtime, cluster: &KafkaCluster) {
    let (mut producer, mut consumer) = (cluster.producer(TOPIC), cluster.consumer(TOPIC));
    let values: Vec<_> = (0..1000).map(|_| Bytes::from(vec![7; KIB])).collect();
    for _ in 0..20 {
        runtime.block_on(producer.produce(values.clone())).unwrap();
    }
    let end = runtime.block_on(consumer.offsets()).unwrap().next;
    let mut group = c.benchmark_group("fetch, records of 1 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("the same 20,000 again and again", |bencher| {
        bencher.iter_custom(|wanted| {
            let before = Instant::now();
            let (mut offset, mut left) = (end - 20_000, wanted);
            while left > 0 {
                let fetched = runtime.block_on(consumer.fetch(offset, LIMITS)).unwrap();
                left = left.saturating_sub(u64::try_from(fetched.records.len()).unwrap());
                offset = if fetched.next_offset < end { fetched.next_offset } else { end - 20_000 };
            }
            before.elapsed()
        });
    });
}

criterion_group!(benches, one_broker);
criterion_main!(benches);
