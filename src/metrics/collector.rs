//! Metrics that are not counted: states, heights, offsets, the actor tree. Read from published status on collection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use orderer_actors::NodeContext;
use orderer_actors::channel::{Channel, ChannelState, Entry, Relation};
use orderer_actors::observe::{Definition, table};
use orderer_core::fairness::Whose;
use orderer_core::ordering::kafka::LastBlock;
use orderer_kafka::Traffic;
use prometheus::proto::MetricFamily;

use super::cluster::ClusterSides;
use super::family::Family;
use super::moving_rates::MovingRates;
use crate::admission::Admission;
use crate::{disk_monitor, telemetry};

/// Reads the metrics of published status.
pub(super) struct PullCollector {
    context: Arc<NodeContext>,
    admission: Admission,
    brokers: Arc<Traffic>,
    cluster: Option<ClusterSides>,
    rates: Mutex<MovingRates>,
}

impl PullCollector {
    pub(super) fn new(
        context: Arc<NodeContext>,
        brokers: Arc<Traffic>,
        cluster: Option<ClusterSides>,
        admission: Admission,
    ) -> Self {
        Self { context, brokers, cluster, admission, rates: Mutex::default() }
    }

    /// Returns all metrics that have a series.
    pub(super) fn look(&self) -> Vec<MetricFamily> {
        let mut all = FamilyBuilder::new();
        // one collection at a time, because counters are evicted that one of them has not read
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        self.channels(&mut all, &mut rates);
        self.brokers(&mut all, &mut rates);
        rates.evict_stale();
        drop(rates);
        if let Some(cluster) = &self.cluster {
            cluster.show(&mut all);
        }
        self.senders(&mut all);
        self.actors(&mut all);
        self.memory(&mut all);
        all.add(&table::VERSION, &[env!("CARGO_PKG_VERSION")], 1.0);
        // a disk that cannot be read has no series
        if let Ok(room) = disk_monitor::disk_space(self.context.ledgers.folder()) {
            all.add(&table::DISK_FREE, &[], float(room.free));
            all.add(&table::DISK_SIZE, &[], float(room.whole));
        }
        for (level, lines) in telemetry::lines() {
            all.add(&table::LOG_CHECKED, &[level], float(lines));
            all.add(&table::LOG_WRITTEN, &[level], float(lines));
        }
        all.finish()
    }

    fn channels(&self, all: &mut FamilyBuilder, rates: &mut MovingRates) {
        for (id, entry) in &*self.context.directory.all() {
            let id = id.as_str();
            let (state, status) = match entry {
                Entry::Broken(_) => ("failed", 3.0),
                Entry::Open(channel) => state_of(&channel.state()),
            };
            all.add(&table::STATE, &[id, state], 1.0);
            all.add(&table::PARTICIPATION_STATUS, &[id], status);
            let Entry::Open(channel) = entry else { continue };
            // Fabric's numbers
            let relation = match channel.relation() {
                Relation::Other => 0.0,
                Relation::Consenter => 1.0,
                Relation::Follower => 2.0,
            };
            all.add(&table::PARTICIPATION_RELATION, &[id], relation);
            all.add(&table::HEIGHT, &[id], float(channel.ledger().height()));
            all.add(&table::GATE_ENVELOPES, &[id], size(channel.gate().waiting()));
            all.add(&table::GATE_BYTES, &[id], size(channel.gate().taken_bytes()));
            all.add(&table::GATE_OUTSIDE, &[id], size(channel.gate().outside_bytes()));
            all.add(&table::GATE_CAPACITY, &[id], size(channel.gate().capacity_bytes()));
            let (pending, pending_bytes) = channel.observed().waiting();
            all.add(&table::PENDING, &[id], size(pending));
            all.add(&table::PENDING_BYTES, &[id], size(pending_bytes));
            all.add(&table::SUBSCRIBERS, &[id], size(channel.observed().subscribers()));
            topic(channel, all, rates);
            raft(channel, all);
        }
    }

    fn brokers(&self, all: &mut FamilyBuilder, rates: &mut MovingRates) {
        for broker in self.brokers.look() {
            let id = &*broker.broker.to_string();
            let (requests, answers) = (float(broker.requests.max(1)), float(broker.answers.max(1)));
            all.add(&table::KAFKA_IN_RATE, &[id], rate(rates, "received", id, broker.received_bytes));
            all.add(&table::KAFKA_OUT_RATE, &[id], rate(rates, "sent", id, broker.sent_bytes));
            all.add(&table::KAFKA_REQUEST_RATE, &[id], rate(rates, "requests", id, broker.requests));
            all.add(&table::KAFKA_RESPONSE_RATE, &[id], rate(rates, "answers", id, broker.answers));
            all.add(&table::KAFKA_REQUEST_SIZE, &[id], float(broker.sent_bytes) / requests);
            all.add(&table::KAFKA_RESPONSE_SIZE, &[id], float(broker.received_bytes) / answers);
            all.add(&table::KAFKA_REQUEST_LATENCY, &[id], broker.waited.as_secs_f64() * 1000.0 / answers);
        }
    }

    fn senders(&self, all: &mut FamilyBuilder) {
        let (fairness, now) = (&self.context.fairness, self.context.uptime());
        for (whose, senders) in
            [(Whose::Client, fairness.clients(now)), (Whose::Organization, fairness.organizations(now))]
        {
            all.add(
                &table::ACTIVE_SENDERS,
                &[whose.word()],
                size(senders.iter().filter(|sender| sender.active).count()),
            );
            if let Some(allowed) = senders.first().and_then(|sender| sender.allowed_per_second) {
                all.add(&table::ALLOWED_RATE, &[whose.word()], allowed);
            }
        }
    }

    fn memory(&self, all: &mut FamilyBuilder) {
        let Admission { budget, outgoing, .. } = &self.admission;
        for (part, used, limit, waiting) in [
            ("incoming", budget.used(), budget.limit(), budget.waiting()),
            ("outgoing", outgoing.used(), outgoing.limit(), outgoing.waiting()),
        ] {
            all.add(&table::MEMORY_USED, &[part], size(used));
            all.add(&table::MEMORY_LIMIT, &[part], size(limit));
            all.add(&table::MEMORY_WAITING, &[part], size(waiting));
        }
        let blocks = self.context.ledgers.block_cache();
        all.add(&table::MEMORY_USED, &["blocks"], float(blocks.bytes()));
        all.add(&table::MEMORY_LIMIT, &["blocks"], float(blocks.max_bytes()));
        all.add(&table::MEMORY_LIMIT, &["process"], size(self.admission.process_bytes()));
        for (kind, counts) in self.admission.connections() {
            let kind = kind.word();
            all.add(&table::CONNECTIONS_OPEN, &[kind], size(counts.open));
            all.add(&table::CONNECTIONS_TURNED_AWAY, &[kind, "refused"], float(counts.refused));
            all.add(&table::CONNECTIONS_TURNED_AWAY, &[kind, "closed"], float(counts.closed));
        }
        for (kind, streams) in self.admission.streams_open() {
            all.add(&table::STREAMS_OPEN, &[kind.word()], size(streams));
        }
        for (why, count) in self.admission.refusals.all() {
            all.add(&table::ADMISSION_REFUSALS, &[why.word()], float(count));
        }
    }

    fn actors(&self, all: &mut FamilyBuilder) {
        for (path, cell) in self.context.board.all() {
            let mut parts = path.split('/');
            let (first, channel, last) = (parts.next().unwrap_or_default(), parts.next(), parts.next_back());
            let actor = match (channel, last) {
                (None, _) => first,
                (Some(_), None) => "chain-support",
                (Some(_), Some(last)) => last,
            };
            let labels = [channel.unwrap_or_default(), actor];
            all.add(&table::ACTOR_HANDLED, &labels, float(cell.handled()));
            all.add(&table::ACTOR_RESTARTS, &labels, float(cell.report().restarts));
        }
        all.add(&table::PANICS, &[], float(orderer_actors::supervision::panics()));
    }
}

/// Adds the metrics of a channel that Kafka orders.
fn topic(channel: &Channel, all: &mut FamilyBuilder, rates: &mut MovingRates) {
    let id = channel.id().as_str();
    if let Some((next, end)) = channel.observed().offsets() {
        all.add(&table::KAFKA_NEXT, &[id], signed(next));
        all.add(&table::KAFKA_END, &[id], signed(end));
        all.add(&table::KAFKA_LAG, &[id], signed((end - next).max(0)));
        if let Ok(last) = LastBlock::read(&channel.ledger().last_block()) {
            all.add(&table::KAFKA_PERSISTED, &[id], signed(last.metadata.last_offset_persisted.0));
        }
    }
    if let Some(health) = channel.kafka_health() {
        all.add(&table::KAFKA_IN_SYNC, &[id], size(health.in_sync));
        if let Some((start, _)) = health.offsets {
            all.add(&table::KAFKA_START, &[id], signed(start));
        }
        if let Some(hours) = health.hours_left {
            all.add(&table::KAFKA_HOURS, &[id], hours);
        }
    }
    let sent = channel.observed().sent_to_topic();
    if sent.batches > 0 {
        let batches = float(sent.batches);
        all.add(&table::KAFKA_BATCH_SIZE, &[id], float(sent.bytes) / batches);
        all.add(&table::KAFKA_RECORDS, &[id], float(sent.records) / batches);
        all.add(&table::KAFKA_COMPRESSION, &[id], 100.0);
        all.add(&table::KAFKA_SEND_RATE, &[id], rate(rates, "records", id, sent.records));
    }
}

/// Adds the metrics of a channel that Raft orders.
fn raft(channel: &Channel, all: &mut FamilyBuilder) {
    let (id, Some(raft)) = (channel.id().as_str(), channel.observed().raft().shown()) else { return };
    all.add(&table::RAFT_SIZE, &[id], float(raft.cluster_size));
    all.add(&table::RAFT_LEADER, &[id], if raft.is_leader { 1.0 } else { 0.0 });
    all.add(&table::RAFT_ACTIVE, &[id], float(raft.active_nodes));
    all.add(&table::RAFT_COMMITTED, &[id], float(raft.committed_block));
    all.add(&table::RAFT_SNAPSHOT, &[id], float(raft.snapshot_block));
    all.add(&table::RAFT_LEADER_CHANGES, &[id], float(raft.leader_changes));
    all.add(&table::RAFT_FAILURES, &[id], float(raft.proposal_failures));
    all.add(&table::RAFT_NORMAL, &[id], float(raft.normal_proposals));
    all.add(&table::RAFT_CONFIG, &[id], float(raft.config_proposals));
}

fn rate(rates: &mut MovingRates, name: &'static str, label: &str, total: u64) -> f64 {
    rates.look(name, label, float(total), Instant::now())
}

/// Returns the state's name, and Fabric's number for it.
fn state_of(state: &ChannelState) -> (&'static str, f64) {
    match state {
        ChannelState::Starting => ("starting", 1.0),
        ChannelState::Connecting => ("connecting", 1.0),
        ChannelState::CatchingUp { .. } => ("catchingup", 2.0),
        ChannelState::Electing => ("electing", 1.0),
        ChannelState::Onboarding { .. } => ("onboarding", 2.0),
        ChannelState::Following => ("following", 1.0),
        ChannelState::Running => ("running", 1.0),
        ChannelState::Retrying { .. } => ("retrying", 1.0),
        ChannelState::Restarting { .. } => ("restarting", 1.0),
        ChannelState::Failed { .. } => ("failed", 3.0),
        ChannelState::Stopped => ("stopped", 0.0),
        ChannelState::Removed => ("removed", 0.0),
    }
}

/// Converts a count. Metrics are floating point: above 2^53 they lose the last digits.
#[expect(clippy::cast_precision_loss, reason = "as above")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "as above")]
fn signed(count: i64) -> f64 {
    count as f64
}

pub(super) fn size(count: usize) -> f64 {
    float(count as u64)
}

/// Metrics being collected, in the order of [`LOOKED_UP`].
pub(super) struct FamilyBuilder(Vec<Family>);

/// Definitions of the metrics that are read on collection.
const LOOKED_UP: &[&Definition] = &[
    &table::HEIGHT,
    &table::PARTICIPATION_STATUS,
    &table::PARTICIPATION_RELATION,
    &table::VERSION,
    &table::LOG_CHECKED,
    &table::LOG_WRITTEN,
    &table::KAFKA_PERSISTED,
    &table::KAFKA_IN_RATE,
    &table::KAFKA_OUT_RATE,
    &table::KAFKA_REQUEST_RATE,
    &table::KAFKA_REQUEST_SIZE,
    &table::KAFKA_REQUEST_LATENCY,
    &table::KAFKA_RESPONSE_RATE,
    &table::KAFKA_RESPONSE_SIZE,
    &table::KAFKA_BATCH_SIZE,
    &table::KAFKA_SEND_RATE,
    &table::KAFKA_RECORDS,
    &table::KAFKA_COMPRESSION,
    &table::RAFT_SIZE,
    &table::RAFT_LEADER,
    &table::RAFT_ACTIVE,
    &table::RAFT_COMMITTED,
    &table::RAFT_SNAPSHOT,
    &table::RAFT_LEADER_CHANGES,
    &table::RAFT_FAILURES,
    &table::RAFT_NORMAL,
    &table::RAFT_CONFIG,
    &table::CLUSTER_QUEUE_CAPACITY,
    &table::CLUSTER_QUEUE_LENGTH,
    &table::CLUSTER_WORKERS,
    &table::CLUSTER_STREAMS,
    &table::CLUSTER_CONNECTIONS,
    &table::CLUSTER_INGRESS,
    &table::CLUSTER_DROPPED,
    &table::CLUSTER_SEND_TIME,
    &table::STATE,
    &table::GATE_ENVELOPES,
    &table::GATE_BYTES,
    &table::GATE_CAPACITY,
    &table::PENDING,
    &table::PENDING_BYTES,
    &table::SUBSCRIBERS,
    &table::ACTOR_HANDLED,
    &table::ACTOR_RESTARTS,
    &table::PANICS,
    &table::DISK_FREE,
    &table::DISK_SIZE,
    &table::KAFKA_NEXT,
    &table::KAFKA_END,
    &table::KAFKA_LAG,
    &table::KAFKA_START,
    &table::KAFKA_IN_SYNC,
    &table::KAFKA_HOURS,
    &table::ACTIVE_SENDERS,
    &table::ALLOWED_RATE,
    &table::MEMORY_USED,
    &table::MEMORY_LIMIT,
    &table::MEMORY_WAITING,
    &table::CONNECTIONS_OPEN,
    &table::CONNECTIONS_TURNED_AWAY,
    &table::STREAMS_OPEN,
    &table::ADMISSION_REFUSALS,
    &table::GATE_OUTSIDE,
];

impl FamilyBuilder {
    pub(super) fn new() -> Self {
        Self(LOOKED_UP.iter().map(|definition| Family::of(definition)).collect())
    }

    /// Returns the metrics that have a series.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        self.0.into_iter().map(Family::finish).filter(|family| !family.get_metric().is_empty()).collect()
    }

    /// Adds a histogram of times: cumulative counts by upper bound in seconds.
    pub(super) fn add_times(
        &mut self,
        definition: &Definition,
        labels: &[&str],
        within: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        if let Some(at) = LOOKED_UP.iter().position(|known| *known == definition) {
            self.0[at].add_distribution(labels, within, count, sum);
        }
    }

    pub(super) fn add(&mut self, definition: &Definition, labels: &[&str], value: f64) {
        if let Some(at) = LOOKED_UP.iter().position(|known| *known == definition) {
            self.0[at].add(labels, value);
        }
    }
}
