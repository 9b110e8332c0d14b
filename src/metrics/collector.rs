//! Metrics that are not counted: states, heights, offsets, the actor tree. Read from published status on collection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use orderer_actors::NodeContext;
use orderer_actors::channel::{Channel, ChannelEntry, ChannelState, ConsensusRelation};
use orderer_actors::observer::{MetricDefinition, metric_table};
use orderer_core::ordering::kafka::LastBlock;
use orderer_core::rate_limit::LimitScope;
use orderer_hsm::TokenStatus;
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
    pub(super) fn collect_all(&self) -> Vec<MetricFamily> {
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
        all.add(&metric_table::VERSION, &[env!("CARGO_PKG_VERSION")], 1.0);
        // a disk that cannot be read has no series
        if let Ok(room) = disk_monitor::disk_space(self.context.ledgers.folder()) {
            all.add(&metric_table::DISK_FREE, &[], float(room.free));
            all.add(&metric_table::DISK_SIZE, &[], float(room.whole));
        }
        if let Some(token) = &self.context.token {
            let TokenStatus { label, away, waiting, signatures, signing, failures, outages, .. } = token.status();
            let label: &[&str] = &[&label];
            all.add(&metric_table::TOKEN_AVAILABLE, label, if away.is_none() { 1.0 } else { 0.0 });
            all.add(&metric_table::TOKEN_SIGNATURES, label, float(signatures));
            all.add(&metric_table::TOKEN_SECONDS, label, signing.as_secs_f64());
            all.add(&metric_table::TOKEN_FAILURES, label, float(failures));
            all.add(&metric_table::TOKEN_OUTAGES, label, float(outages));
            all.add(&metric_table::TOKEN_WAITING, label, size(waiting));
        }
        for (level, lines) in telemetry::lines() {
            all.add(&metric_table::LOG_CHECKED, &[level], float(lines));
            all.add(&metric_table::LOG_WRITTEN, &[level], float(lines));
        }
        all.finish()
    }

    fn channels(&self, all: &mut FamilyBuilder, rates: &mut MovingRates) {
        for (id, entry) in &*self.context.directory.entries() {
            let id = id.as_str();
            let (state, status) = match entry {
                ChannelEntry::Unavailable(_) => ("failed", 3.0),
                ChannelEntry::Open(channel) => state_of(&channel.state()),
            };
            all.add(&metric_table::STATE, &[id, state], 1.0);
            all.add(&metric_table::PARTICIPATION_STATUS, &[id], status);
            let ChannelEntry::Open(channel) = entry else { continue };
            // Fabric's numbers
            let relation = match channel.relation() {
                ConsensusRelation::Other => 0.0,
                ConsensusRelation::Consenter => 1.0,
                ConsensusRelation::Follower => 2.0,
            };
            all.add(&metric_table::PARTICIPATION_RELATION, &[id], relation);
            all.add(&metric_table::HEIGHT, &[id], float(channel.ledger().height()));
            all.add(&metric_table::GATE_ENVELOPES, &[id], size(channel.gate().waiting()));
            all.add(&metric_table::GATE_BYTES, &[id], size(channel.gate().bytes_in_flight()));
            all.add(&metric_table::GATE_OUTSIDE, &[id], size(channel.gate().outside_bytes()));
            all.add(&metric_table::GATE_CAPACITY, &[id], size(channel.gate().capacity_bytes()));
            let (pending, pending_bytes) = channel.observer().waiting();
            all.add(&metric_table::PENDING, &[id], size(pending));
            all.add(&metric_table::PENDING_BYTES, &[id], size(pending_bytes));
            all.add(&metric_table::SUBSCRIBERS, &[id], size(channel.observer().subscribers()));
            topic(channel, all, rates);
            raft(channel, all);
        }
    }

    fn brokers(&self, all: &mut FamilyBuilder, rates: &mut MovingRates) {
        for broker in self.brokers.by_broker() {
            let id = &*broker.broker.to_string();
            let (requests, answers) = (float(broker.requests.max(1)), float(broker.answers.max(1)));
            all.add(&metric_table::KAFKA_IN_RATE, &[id], rate(rates, "received", id, broker.received_bytes));
            all.add(&metric_table::KAFKA_OUT_RATE, &[id], rate(rates, "sent", id, broker.sent_bytes));
            all.add(&metric_table::KAFKA_REQUEST_RATE, &[id], rate(rates, "requests", id, broker.requests));
            all.add(&metric_table::KAFKA_RESPONSE_RATE, &[id], rate(rates, "answers", id, broker.answers));
            all.add(&metric_table::KAFKA_REQUEST_SIZE, &[id], float(broker.sent_bytes) / requests);
            all.add(&metric_table::KAFKA_RESPONSE_SIZE, &[id], float(broker.received_bytes) / answers);
            all.add(&metric_table::KAFKA_REQUEST_LATENCY, &[id], broker.waited.as_secs_f64() * 1000.0 / answers);
        }
    }

    fn senders(&self, all: &mut FamilyBuilder) {
        let (fairness, now) = (&self.context.fairness, self.context.uptime());
        for (whose, senders) in
            [(LimitScope::Client, fairness.clients(now)), (LimitScope::Organization, fairness.organizations(now))]
        {
            all.add(
                &metric_table::ACTIVE_SENDERS,
                &[whose.word()],
                size(senders.iter().filter(|sender| sender.active).count()),
            );
            if let Some(allowed) = senders.first().and_then(|sender| sender.allowed_per_second) {
                all.add(&metric_table::ALLOWED_RATE, &[whose.word()], allowed);
            }
        }
    }

    fn memory(&self, all: &mut FamilyBuilder) {
        let Admission { budget, outgoing, .. } = &self.admission;
        for (part, used, limit, waiting) in [
            ("incoming", budget.used(), budget.limit(), budget.waiting()),
            ("outgoing", outgoing.used(), outgoing.limit(), outgoing.waiting()),
        ] {
            all.add(&metric_table::MEMORY_USED, &[part], size(used));
            all.add(&metric_table::MEMORY_LIMIT, &[part], size(limit));
            all.add(&metric_table::MEMORY_WAITING, &[part], size(waiting));
        }
        let blocks = self.context.ledgers.block_cache();
        all.add(&metric_table::MEMORY_USED, &["blocks"], float(blocks.bytes()));
        all.add(&metric_table::MEMORY_LIMIT, &["blocks"], float(blocks.max_bytes()));
        all.add(&metric_table::MEMORY_LIMIT, &["process"], size(self.admission.process_bytes()));
        for (kind, counts) in self.admission.connections() {
            let kind = kind.word();
            all.add(&metric_table::CONNECTIONS_OPEN, &[kind], size(counts.open));
            all.add(&metric_table::CONNECTIONS_TURNED_AWAY, &[kind, "refused"], float(counts.refused));
            all.add(&metric_table::CONNECTIONS_TURNED_AWAY, &[kind, "closed"], float(counts.closed));
        }
        for (kind, streams) in self.admission.streams_open() {
            all.add(&metric_table::STREAMS_OPEN, &[kind.word()], size(streams));
        }
        for (why, count) in self.admission.refusals.all() {
            all.add(&metric_table::ADMISSION_REFUSALS, &[why.word()], float(count));
        }
    }

    fn actors(&self, all: &mut FamilyBuilder) {
        for (path, cell) in self.context.status_board.all() {
            let mut parts = path.split('/');
            let (first, channel, last) = (parts.next().unwrap_or_default(), parts.next(), parts.next_back());
            let actor = match (channel, last) {
                (None, _) => first,
                (Some(_), None) => "chain-support",
                (Some(_), Some(last)) => last,
            };
            let labels = [channel.unwrap_or_default(), actor];
            all.add(&metric_table::ACTOR_HANDLED, &labels, float(cell.handled()));
            all.add(&metric_table::ACTOR_RESTARTS, &labels, float(cell.report().restarts));
        }
        all.add(&metric_table::PANICS, &[], float(orderer_actors::supervision::panic_count()));
    }
}

/// Adds the metrics of a channel that Kafka orders.
fn topic(channel: &Channel, all: &mut FamilyBuilder, rates: &mut MovingRates) {
    let id = channel.id().as_str();
    if let Some((next, end)) = channel.observer().offsets() {
        all.add(&metric_table::KAFKA_NEXT, &[id], signed(next));
        all.add(&metric_table::KAFKA_END, &[id], signed(end));
        all.add(&metric_table::KAFKA_LAG, &[id], signed((end - next).max(0)));
        if let Ok(last) = LastBlock::parse(&channel.ledger().last_block()) {
            all.add(&metric_table::KAFKA_PERSISTED, &[id], signed(last.metadata.last_offset_persisted.0));
        }
    }
    if let Some(health) = channel.topic_health() {
        all.add(&metric_table::KAFKA_IN_SYNC, &[id], size(health.in_sync));
        if let Some((start, _)) = health.offsets {
            all.add(&metric_table::KAFKA_START, &[id], signed(start));
        }
        if let Some(hours) = health.hours_left {
            all.add(&metric_table::KAFKA_HOURS, &[id], hours);
        }
    }
    let sent = channel.observer().sent_to_topic();
    if sent.batches > 0 {
        let batches = float(sent.batches);
        all.add(&metric_table::KAFKA_BATCH_SIZE, &[id], float(sent.bytes) / batches);
        all.add(&metric_table::KAFKA_RECORDS, &[id], float(sent.records) / batches);
        all.add(&metric_table::KAFKA_COMPRESSION, &[id], 100.0);
        all.add(&metric_table::KAFKA_SEND_RATE, &[id], rate(rates, "records", id, sent.records));
    }
}

/// Adds the metrics of a channel that Raft orders.
fn raft(channel: &Channel, all: &mut FamilyBuilder) {
    let (id, Some(raft)) = (channel.id().as_str(), channel.observer().raft().shown()) else { return };
    all.add(&metric_table::RAFT_SIZE, &[id], float(raft.cluster_size));
    all.add(&metric_table::RAFT_LEADER, &[id], if raft.is_leader { 1.0 } else { 0.0 });
    all.add(&metric_table::RAFT_ACTIVE, &[id], float(raft.active_nodes));
    all.add(&metric_table::RAFT_COMMITTED, &[id], float(raft.committed_block));
    all.add(&metric_table::RAFT_SNAPSHOT, &[id], float(raft.snapshot_block));
    all.add(&metric_table::RAFT_LEADER_CHANGES, &[id], float(raft.leader_changes));
    all.add(&metric_table::RAFT_FAILURES, &[id], float(raft.proposal_failures));
    all.add(&metric_table::RAFT_NORMAL, &[id], float(raft.normal_proposals));
    all.add(&metric_table::RAFT_CONFIG, &[id], float(raft.config_proposals));
}

fn rate(rates: &mut MovingRates, name: &'static str, label: &str, total: u64) -> f64 {
    rates.update(name, label, float(total), Instant::now())
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
        ChannelState::AwaitingKey { .. } => ("awaitingkey", 1.0),
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
const LOOKED_UP: &[&MetricDefinition] = &[
    &metric_table::HEIGHT,
    &metric_table::PARTICIPATION_STATUS,
    &metric_table::TOKEN_AVAILABLE,
    &metric_table::TOKEN_SIGNATURES,
    &metric_table::TOKEN_SECONDS,
    &metric_table::TOKEN_FAILURES,
    &metric_table::TOKEN_OUTAGES,
    &metric_table::TOKEN_WAITING,
    &metric_table::PARTICIPATION_RELATION,
    &metric_table::VERSION,
    &metric_table::LOG_CHECKED,
    &metric_table::LOG_WRITTEN,
    &metric_table::KAFKA_PERSISTED,
    &metric_table::KAFKA_IN_RATE,
    &metric_table::KAFKA_OUT_RATE,
    &metric_table::KAFKA_REQUEST_RATE,
    &metric_table::KAFKA_REQUEST_SIZE,
    &metric_table::KAFKA_REQUEST_LATENCY,
    &metric_table::KAFKA_RESPONSE_RATE,
    &metric_table::KAFKA_RESPONSE_SIZE,
    &metric_table::KAFKA_BATCH_SIZE,
    &metric_table::KAFKA_SEND_RATE,
    &metric_table::KAFKA_RECORDS,
    &metric_table::KAFKA_COMPRESSION,
    &metric_table::RAFT_SIZE,
    &metric_table::RAFT_LEADER,
    &metric_table::RAFT_ACTIVE,
    &metric_table::RAFT_COMMITTED,
    &metric_table::RAFT_SNAPSHOT,
    &metric_table::RAFT_LEADER_CHANGES,
    &metric_table::RAFT_FAILURES,
    &metric_table::RAFT_NORMAL,
    &metric_table::RAFT_CONFIG,
    &metric_table::CLUSTER_QUEUE_CAPACITY,
    &metric_table::CLUSTER_QUEUE_LENGTH,
    &metric_table::CLUSTER_WORKERS,
    &metric_table::CLUSTER_STREAMS,
    &metric_table::CLUSTER_CONNECTIONS,
    &metric_table::CLUSTER_INGRESS,
    &metric_table::CLUSTER_DROPPED,
    &metric_table::CLUSTER_SEND_TIME,
    &metric_table::STATE,
    &metric_table::GATE_ENVELOPES,
    &metric_table::GATE_BYTES,
    &metric_table::GATE_CAPACITY,
    &metric_table::PENDING,
    &metric_table::PENDING_BYTES,
    &metric_table::SUBSCRIBERS,
    &metric_table::ACTOR_HANDLED,
    &metric_table::ACTOR_RESTARTS,
    &metric_table::PANICS,
    &metric_table::DISK_FREE,
    &metric_table::DISK_SIZE,
    &metric_table::KAFKA_NEXT,
    &metric_table::KAFKA_END,
    &metric_table::KAFKA_LAG,
    &metric_table::KAFKA_START,
    &metric_table::KAFKA_IN_SYNC,
    &metric_table::KAFKA_HOURS,
    &metric_table::ACTIVE_SENDERS,
    &metric_table::ALLOWED_RATE,
    &metric_table::MEMORY_USED,
    &metric_table::MEMORY_LIMIT,
    &metric_table::MEMORY_WAITING,
    &metric_table::CONNECTIONS_OPEN,
    &metric_table::CONNECTIONS_TURNED_AWAY,
    &metric_table::STREAMS_OPEN,
    &metric_table::ADMISSION_REFUSALS,
    &metric_table::GATE_OUTSIDE,
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
        definition: &MetricDefinition,
        labels: &[&str],
        within: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        if let Some(at) = LOOKED_UP.iter().position(|known| *known == definition) {
            self.0[at].add_distribution(labels, within, count, sum);
        }
    }

    pub(super) fn add(&mut self, definition: &MetricDefinition, labels: &[&str], value: f64) {
        if let Some(at) = LOOKED_UP.iter().position(|known| *known == definition) {
            self.0[at].add(labels, value);
        }
    }
}
