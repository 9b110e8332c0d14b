//! Tests with three real brokers that hang, are killed and restarted, and a producer that retries. Acknowledged records
//! are in the topic, in order; a record is there twice only if a call failed that may have appended it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod broker;
mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use broker::{Brokers, KAFKA_4, Listener, Plan};
use bytes::Bytes;
use orderer_kafka::{Cluster, Error, KafkaCluster, Operation, Producer, Timeouts, Unavailable};
use support::{LIMITS, bare, bare_partition, bare_produce, eventually, read, settings, spec, text, values, within};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

static BROKERS: Mutex<Weak<Brokers>> = Mutex::new(Weak::new());

/// Only one test runs at a time, because its faults would affect the others.
static ALONE: AsyncMutex<()> = AsyncMutex::const_new(());

/// Starts brokers that are fenced after three seconds of silence instead of nine.
fn brokers() -> Arc<Brokers> {
    let plan = Plan::new(KAFKA_4).three();
    plan.set("broker.session.timeout.ms=3000").set("broker.heartbeat.interval.ms=500").shared(&BROKERS)
}

fn cluster(brokers: &Brokers, timeouts: Timeouts) -> Arc<KafkaCluster> {
    let settings = orderer_kafka::Settings { timeouts, ..settings(brokers.addresses(Listener::Plain)) };
    Arc::new(KafkaCluster::new(settings).unwrap())
}

async fn leader(cluster: &KafkaCluster, topic: &str) -> i32 {
    let led = async || cluster.topic(topic).await.ok().and_then(|found| found.leader);
    eventually("the topic has a leader", led).await
}

/// Waits until all three brokers are in sync, so that the next test begins without a fault.
async fn all_in_sync(cluster: &KafkaCluster, topic: &str) {
    let in_sync = async || cluster.topic(topic).await.ok().filter(|found| found.in_sync.len() == 3);
    eventually("all replicas are in sync", in_sync).await;
}

/// The progress of a producer that retries without end.
#[derive(Debug, Clone, Default)]
struct Progress {
    acknowledged: Vec<String>,
    /// Values of calls that failed and may have appended.
    ambiguous: Vec<String>,
    failures: Vec<String>,
}

/// A load that produces one record after the other, each until it is acknowledged.
struct Load {
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(cluster: &KafkaCluster, topic: &str) -> Self {
        let mut producer = cluster.producer(topic);
        let (progress_of, progress) = watch::channel(Progress::default());
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            for number in 0_u64.. {
                if *stopped.borrow() {
                    return;
                }
                produce_until_acknowledged(&mut *producer, &format!("record {number}"), &progress_of).await;
            }
        });
        Self { progress, stop, task }
    }

    fn acknowledged(&self) -> usize {
        self.progress.borrow().acknowledged.len()
    }

    /// Waits for another acknowledgement.
    async fn goes_on(&mut self) {
        let before = self.acknowledged();
        within("the load goes on", self.progress.wait_for(|now| now.acknowledged.len() > before)).await.unwrap();
    }

    async fn stop(self) -> Progress {
        self.stop.send_replace(true);
        within("the load stops", self.task).await.unwrap();
        self.progress.borrow().clone()
    }
}

async fn produce_until_acknowledged(producer: &mut dyn Producer, value: &str, progress: &watch::Sender<Progress>) {
    loop {
        match producer.produce(vec![Bytes::copy_from_slice(value.as_bytes())]).await {
            Ok(_) => {
                progress.send_modify(|now| now.acknowledged.push(value.to_owned()));
                return;
            }
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                progress.send_modify(|now| {
                    now.failures.push(error.to_string());
                    if error.may_have_appended() {
                        now.ambiguous.push(value.to_owned());
                    }
                });
                // the caller's backoff
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Asserts that everything acknowledged is in the topic, in order, and that only ambiguous records are there twice.
async fn check(cluster: &KafkaCluster, topic: &str, progress: &Progress) {
    let mut consumer = cluster.consumer(topic);
    let end = within("offsets", consumer.offsets()).await.unwrap().next;
    let found = read(&mut *consumer, 0, end).await;
    let found: Vec<_> = found.iter().map(text).filter(|value| value.starts_with("record ")).collect();
    let mut once = found.clone();
    once.dedup();
    assert_eq!(once, progress.acknowledged, "lost, invented or out of order");
    let mut surplus: HashMap<&String, usize> = HashMap::new();
    for value in &found {
        *surplus.entry(value).or_default() += 1;
    }
    for (value, times) in &surplus {
        let allowed = 1 + progress.ambiguous.iter().filter(|ambiguous| ambiguous == value).count();
        assert!(*times <= allowed, "{value} is there {times} times");
    }
    let mut failures: BTreeMap<&String, usize> = BTreeMap::new();
    for failure in &progress.failures {
        *failures.entry(failure).or_default() += 1;
    }
    let (acknowledged, twice) = (progress.acknowledged.len(), found.len() - once.len());
    println!("{topic}: {acknowledged} acknowledged, {twice} there twice, failed calls {failures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_costs_the_brokers_patience_and_no_record() {
    let _alone = ALONE.lock().await;
    let brokers = brokers();
    // the caller's deadlines are long, so the loss of the leader ends the wait
    let ours = cluster(&brokers, support::TIMEOUTS);
    ours.ensure_topic(&spec("hang", 3)).await.unwrap();
    all_in_sync(&ours, "hang").await;
    let hung = leader(&ours, "hang").await;

    let theirs = bare(brokers.addresses(Listener::Plain)).await;
    let partition = bare_partition(&theirs, "hang").await;
    // creating a topic elsewhere would have the same effect: rskafka's client does not invalidate its cached leader
    theirs.list_topics().await.unwrap();

    let mut idle = ours.producer("hang");
    idle.connect().await.unwrap();
    let mut polling = ours.consumer("hang");
    let mut load = Load::start(&ours, "hang");
    load.goes_on().await;

    brokers.pause(hung);
    let paused = Instant::now();
    let mut bare_call = Box::pin(bare_produce(&partition, 10));
    let acknowledged_before = load.acknowledged();
    let limits = orderer_kafka::FetchLimits { max_wait: Duration::from_millis(500), ..LIMITS };
    let recovered = async {
        // one call may have been answered while the signal was sent
        within("it goes on", load.progress.wait_for(|now| now.acknowledged.len() > acknowledged_before + 1))
            .await
            .unwrap();
        paused.elapsed()
    };
    let read_again = async {
        eventually("reading goes on", async || polling.fetch(0, limits).await.ok()).await;
        paused.elapsed()
    };
    let (recovered, read_again) = tokio::join!(recovered, read_again);
    println!("leader paused: produced again after {recovered:?}, read again after {read_again:?}");
    assert!(timeout(Duration::from_millis(10), &mut bare_call).await.is_err(), "rskafka's client noticed?");
    drop(bare_call);

    // the old leader is back, and no longer leads
    brokers.resume(hung);
    all_in_sync(&ours, "hang").await;
    if leader(&ours, "hang").await != hung {
        let livelock = timeout(Duration::from_secs(3), bare_produce(&partition, 10)).await;
        println!("rskafka's client after the move: {livelock:?}");
        assert!(livelock.is_err(), "rskafka's client finds the new leader now?");
    }
    drop(partition);
    load.goes_on().await;
    let progress = load.stop().await;
    check(&ours, "hang", &progress).await;
    // a connection to the old leader causes at most one error, which names that cause
    let moved = idle.produce(values(&["idle"])).await;
    let told = matches!(&moved, Err(Error::Unavailable { reason: Unavailable::LeaderMoved, .. } | Error::Lost { .. }));
    assert!(told || moved.is_ok(), "{moved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_costs_the_brokers_patience_and_no_record() {
    let _alone = ALONE.lock().await;
    let brokers = brokers();
    let ours = cluster(&brokers, Timeouts::default());
    ours.ensure_topic(&spec("kill", 3)).await.unwrap();
    all_in_sync(&ours, "kill").await;
    let mut load = Load::start(&ours, "kill");
    load.goes_on().await;
    let killed = leader(&ours, "kill").await;
    brokers.kill(killed);
    let before = Instant::now();
    load.goes_on().await;
    load.goes_on().await;
    let recovered = before.elapsed();
    println!("leader killed: produced again after {recovered:?}");

    let restarted = Arc::clone(&brokers);
    tokio::task::spawn_blocking(move || restarted.restart(killed)).await.unwrap();
    all_in_sync(&ours, "kill").await;
    load.goes_on().await;
    let progress = load.stop().await;
    check(&ours, "kill", &progress).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_hang_make_a_produce_ambiguous_and_it_says_so() {
    let _alone = ALONE.lock().await;
    let brokers = brokers();
    let write = Duration::from_secs(2);
    let ours = cluster(&brokers, Timeouts { write, ..support::SHORT_TIMEOUTS });
    ours.ensure_topic(&spec("followers", 3)).await.unwrap();
    all_in_sync(&ours, "followers").await;
    let mut producer = ours.producer("followers");
    producer.produce(values(&["before"])).await.unwrap();
    let leading = leader(&ours, "followers").await;
    let followers: Vec<_> = (1..=3).filter(|id| *id != leading).collect();
    for id in &followers {
        brokers.pause(*id);
    }
    let before = Instant::now();
    let error = within("it ends", producer.produce(values(&["during"]))).await.unwrap_err();
    let took = before.elapsed();
    for id in &followers {
        brokers.resume(*id);
    }
    println!("followers paused: {error} after {took:?}");
    assert!(error.is_transient() && error.may_have_appended(), "{error:?}");
    let own_deadline = matches!(error, Error::Timeout { operation: Operation::Produce, .. });
    assert!(own_deadline || matches!(error, Error::Unavailable { .. }), "{error:?}");
    all_in_sync(&ours, "followers").await;
    // the record had been appended, and the replicas catch up
    eventually("both are there", async || {
        let mut consumer = ours.consumer("followers");
        consumer.offsets().await.ok().filter(|held| held.next == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_killed_of_three_come_back_with_everything() {
    let _alone = ALONE.lock().await;
    let brokers = brokers();
    let ours = cluster(&brokers, support::SHORT_TIMEOUTS);
    ours.ensure_topic(&spec("quorum", 3)).await.unwrap();
    all_in_sync(&ours, "quorum").await;
    let mut load = Load::start(&ours, "quorum");
    load.goes_on().await;
    let leading = leader(&ours, "quorum").await;
    let other = if leading == 1 { 2 } else { 1 };
    brokers.kill(leading);
    brokers.kill(other);
    // at least one call has to fail
    within("it fails", load.progress.wait_for(|now| !now.failures.is_empty())).await.unwrap();

    let restarted = Arc::clone(&brokers);
    tokio::task::spawn_blocking(move || restarted.restart_all(&[leading, other])).await.unwrap();
    let back = Instant::now();
    load.goes_on().await;
    println!("quorum back: produced again {:?} after both were ready", back.elapsed());
    all_in_sync(&ours, "quorum").await;
    let progress = load.stop().await;
    check(&ours, "quorum", &progress).await;
}
