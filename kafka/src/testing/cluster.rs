//! The fake's side towards its users.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::state::{Fault, State};
use crate::api::{
    BrokerDescription, Cluster, ClusterDescription, Consumer, FetchLimits, Fetched, KafkaFuture, Offsets, Produced,
    Producer, Setting, TopicDescription, TopicSpec,
};
use crate::error::{Error, Operation};

/// A cluster of one broker, in memory. Clones are the same cluster.
///
/// Faults are met in the order in which they were injected, each by the next call of its operation. `connect` of a producer
/// or consumer is [`Operation::Connect`]; no other call meets a fault of that.
#[derive(Debug, Clone)]
pub struct FakeCluster {
    state: Arc<Mutex<State>>,
    /// Counts what changed: wakes long polls and calls that are held.
    changes: Arc<watch::Sender<u64>>,
}

impl Default for FakeCluster {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeCluster {
    /// Without any topic.
    pub fn new() -> Self {
        Self { state: Arc::default(), changes: Arc::new(watch::Sender::new(0)) }
    }

    /// Creates a topic with this many partitions, as another client would. An existing one stays.
    pub fn add_topic(&self, name: &str, partitions: usize) {
        self.change(|state| state.create(name, partitions, None));
    }

    /// Deletes a topic with all it holds.
    pub fn delete_topic(&self, name: &str) {
        self.change(|state| state.delete(name));
    }

    /// Appends a record as another writer would. Returns its offset.
    ///
    /// # Errors
    /// The errors of [`Producer::produce`].
    pub fn append(&self, topic: &str, value: Option<Bytes>) -> Result<i64, Error> {
        self.change(|state| state.append(topic, value))
    }

    /// Appends something that cannot be read. Returns its offset.
    ///
    /// # Errors
    /// The errors of [`Producer::produce`].
    pub fn poison(&self, topic: &str) -> Result<i64, Error> {
        self.change(|state| state.poison(topic))
    }

    /// Deletes everything before `earliest`, as retention does.
    ///
    /// # Errors
    /// The errors of [`Producer::produce`].
    pub fn trim(&self, topic: &str, earliest: i64) -> Result<(), Error> {
        self.change(|state| state.trim(topic, earliest))
    }

    /// Returns all values the topic keeps.
    pub fn values(&self, topic: &str) -> Vec<Option<Bytes>> {
        self.lock().values(topic)
    }

    /// Returns the number of batches that were appended, to any topic.
    pub fn produced_batches(&self) -> u64 {
        self.lock().produced_batches
    }

    /// The next call of `operation` that no earlier fault is for goes wrong.
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.lock().faults.entry(operation).or_default().push_back(fault);
    }

    /// Every call fails, polls that wait included, until [`end_outage`](Self::end_outage).
    pub fn begin_outage(&self, error: fn(Operation) -> Error) {
        self.change(|state| state.outage = Some(error));
    }

    /// Ends the outage.
    pub fn end_outage(&self) {
        self.change(|state| state.outage = None);
    }

    /// Answers the calls that are held.
    pub fn release(&self) {
        self.change(|_| ());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
        changed
    }

    /// Performs one call, or meets its fault.
    async fn call<T>(
        &self,
        operation: Operation,
        done: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.call_with_pause(operation, done).await.map(|(done, _)| done)
    }

    /// Performs a call, and returns its result with the pause that is asked for, if any.
    async fn call_with_pause<T>(
        &self,
        operation: Operation,
        done: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<(T, Option<Duration>), Error> {
        let fault = {
            let mut state = self.lock();
            if let Some(error) = state.outage {
                return Err(error(operation));
            }
            state.faults.get_mut(&operation).and_then(std::collections::VecDeque::pop_front)
        };
        let throttled = match fault {
            None => None,
            Some(Fault::Refuse(error)) => return Err(error),
            Some(Fault::DoneThenLost(error)) => {
                self.change(done)?;
                return Err(error);
            }
            Some(Fault::Throttle(pause)) => Some(pause),
            Some(Fault::Hold) => {
                // the sender lives as long as this cluster
                let _ = self.changes.subscribe().changed().await;
                None
            }
        };
        Ok((self.change(done)?, throttled))
    }
}

impl Cluster for FakeCluster {
    fn describe(&self) -> KafkaFuture<'_, ClusterDescription> {
        Box::pin(async {
            let broker = BrokerDescription { id: 1, address: "fake:9092".to_owned() };
            self.call(Operation::Metadata, |_| Ok(())).await?;
            let (cluster_id, answered_by) = (Some("fake".to_owned()), broker.address.clone());
            Ok(ClusterDescription { cluster_id, answered_by, brokers: vec![broker] })
        })
    }

    fn topic<'a>(&'a self, topic: &'a str) -> KafkaFuture<'a, TopicDescription> {
        Box::pin(async { self.call(Operation::Metadata, |state| state.describe(topic)).await })
    }

    fn ensure_topic<'a>(&'a self, spec: &'a TopicSpec) -> KafkaFuture<'a, TopicDescription> {
        Box::pin(async { self.call(Operation::CreateTopic, |state| state.ensure(spec)).await })
    }

    fn topic_settings<'a>(&'a self, topic: &'a str) -> KafkaFuture<'a, Vec<Setting>> {
        Box::pin(async { self.call(Operation::Settings, |state| state.settings(topic)).await })
    }

    fn broker_settings(&self, _: i32) -> KafkaFuture<'_, Vec<Setting>> {
        Box::pin(async { self.call(Operation::Settings, |_| Ok(vec![])).await })
    }

    fn producer(&self, topic: &str) -> Box<dyn Producer> {
        Box::new(FakeProducer { cluster: self.clone(), topic: topic.to_owned() })
    }

    fn consumer(&self, topic: &str) -> Box<dyn Consumer> {
        Box::new(FakeConsumer { cluster: self.clone(), topic: topic.to_owned() })
    }
}

#[derive(Debug)]
struct FakeProducer {
    cluster: FakeCluster,
    topic: String,
}

impl Producer for FakeProducer {
    fn connect(&mut self) -> KafkaFuture<'_, ()> {
        Box::pin(async { self.cluster.call(Operation::Connect, |state| state.connect(&self.topic)).await })
    }

    fn produce(&mut self, values: Vec<Bytes>) -> KafkaFuture<'_, Produced> {
        Box::pin(async {
            let appended =
                self.cluster.call_with_pause(Operation::Produce, |state| state.produce(&self.topic, values)).await;
            appended.map(|(produced, throttled)| Produced { throttled, ..produced })
        })
    }

    fn check_permission(&mut self) -> KafkaFuture<'_, ()> {
        Box::pin(async { self.cluster.call(Operation::Produce, |state| state.connect(&self.topic)).await })
    }
}

#[derive(Debug)]
struct FakeConsumer {
    cluster: FakeCluster,
    topic: String,
}

impl FakeConsumer {
    /// Looks again after every change, until there is something or the wait is over.
    async fn poll(&self, offset: i64, limits: FetchLimits) -> Result<Fetched, Error> {
        let until = Instant::now() + limits.max_wait;
        let mut changes = self.cluster.changes.subscribe();
        loop {
            let fetched = {
                let mut state = self.cluster.lock();
                match state.outage {
                    Some(error) => Err(error(Operation::Fetch)),
                    None => state.fetch(&self.topic, offset, limits),
                }
            }?;
            if !fetched.records.is_empty() || timeout_at(until, changes.changed()).await.is_err() {
                return Ok(fetched);
            }
        }
    }
}

impl Consumer for FakeConsumer {
    fn connect(&mut self) -> KafkaFuture<'_, ()> {
        Box::pin(async { self.cluster.call(Operation::Connect, |state| state.connect(&self.topic)).await })
    }

    fn fetch(&mut self, offset: i64, limits: FetchLimits) -> KafkaFuture<'_, Fetched> {
        Box::pin(async move {
            let ((), throttled) = self.cluster.call_with_pause(Operation::Fetch, |_| Ok(())).await?;
            Ok(Fetched { throttled, ..self.poll(offset, limits).await? })
        })
    }

    fn offsets(&mut self) -> KafkaFuture<'_, Offsets> {
        Box::pin(async { self.cluster.call(Operation::Offsets, |state| state.offsets(&self.topic)).await })
    }
}
