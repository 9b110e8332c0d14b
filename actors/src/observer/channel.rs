//! Records the events of one channel.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fabric_proto::common::Status;
use orderer_core::envelope::{SignedEnvelope, tx_id};
use orderer_core::types::{BlockNumber, ChannelId};
use prometheus::{Histogram, IntCounter};

use super::NodeObserver;
use super::broadcast_metrics::{BroadcastSeries, ValidationRecord};
use super::channel_series::ChannelSeries;
use super::deliver_metrics::DeliverSeries;
use super::raft_metrics::RaftMetrics;
use super::totals::ChannelTotals;
use super::transactions::ChannelKey;

/// Part of an envelope's or a block's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Found, filtered, its signature verified.
    Judge,
    /// Waited for room at the gate.
    Gate,
    /// From the end of the validation to the answer.
    Order,
    /// A batch on its way to Kafka.
    Produce,
    /// A block put together and signed.
    Assemble,
    /// Made durable, with all that gathered.
    Commit,
}

const STAGES: [&str; 6] = ["judge", "gate", "order", "produce", "assemble", "commit"];

/// The reason why a block was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// It had as many envelopes as a block may have.
    Count,
    /// The next would not have fitted in, or is too large for any company.
    Bytes,
    /// Its time was over.
    Timer,
    /// A config message is alone in its block.
    Config,
    /// The consenters have agreed on it; the block does not say why their leader has cut it.
    Agreed,
}

const REASONS: [&str; 5] = ["count", "bytes", "timer", "config", "agreed"];

/// Records the events of one channel. A stage is a method, which costs some tens of nanoseconds.
pub struct ChannelObserver {
    node: Arc<NodeObserver>,
    key: ChannelKey,
    series: ChannelSeries,
    broadcast: BroadcastSeries,
    deliver: DeliverSeries,
    stages: [OnceLock<Histogram>; STAGES.len()],
    cut: [OnceLock<IntCounter>; REASONS.len()],
    fill: OnceLock<Histogram>,
    commit: OnceLock<Histogram>,
    block_envelopes: OnceLock<Histogram>,
    pending: AtomicUsize,
    pending_bytes: AtomicUsize,
    /// Number behind the newest block that was sent to any subscriber.
    sent_below: AtomicU64,
    next_offset: AtomicI64,
    end_offset: AtomicI64,
    batches: AtomicU64,
    batch_records: AtomicU64,
    batch_bytes: AtomicU64,
    pub(super) raft: RaftMetrics,
    totals: ChannelTotals,
}

/// Totals of what was produced to a channel's topic since the process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceTotals {
    /// Requests.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
}

impl ChannelObserver {
    pub(crate) fn new(node: &Arc<NodeObserver>, channel: &ChannelId) -> Self {
        Self {
            node: Arc::clone(node),
            key: node.transactions.channel(channel),
            series: ChannelSeries::of(channel.as_str()),
            broadcast: BroadcastSeries::default(),
            deliver: DeliverSeries::default(),
            stages: Default::default(),
            cut: Default::default(),
            fill: OnceLock::new(),
            commit: OnceLock::new(),
            block_envelopes: OnceLock::new(),
            pending: AtomicUsize::new(0),
            pending_bytes: AtomicUsize::new(0),
            sent_below: AtomicU64::new(0),
            next_offset: AtomicI64::new(NO_OFFSET),
            end_offset: AtomicI64::new(NO_OFFSET),
            batches: AtomicU64::new(0),
            batch_records: AtomicU64::new(0),
            batch_bytes: AtomicU64::new(0),
            raft: RaftMetrics::default(),
            totals: ChannelTotals::default(),
        }
    }

    /// Returns the figures of the channel's Raft chain.
    pub fn raft(&self) -> &RaftMetrics {
        &self.raft
    }

    /// Returns the channel's totals, from which its history is sampled.
    pub fn totals(&self) -> &ChannelTotals {
        &self.totals
    }

    /// Entries and state of Raft were made durable.
    pub fn raft_persisted(&self, took: Duration) {
        let make = || self.series.make(&self.node.families.raft_persist, &[self.series.channel()]);
        self.raft.persist.get_or_init(make).observe(took.as_secs_f64());
    }

    /// Records the duration of a stage.
    pub fn stage(&self, stage: Stage, took: Duration) {
        let make = || self.series.make(&self.node.families.stage, &[self.series.channel(), STAGES[stage as usize]]);
        self.stages[stage as usize].get_or_init(make).observe(took.as_secs_f64());
    }

    /// An envelope was found valid and goes to the gate.
    pub fn accepted(&self, validation: &ValidationRecord) {
        self.node.transactions.accepted(validation.tx, self.key, validation.at, validation.took);
    }

    /// An envelope was answered. `passed` says whether it got through the gate.
    pub fn answered(&self, validation: &ValidationRecord, passed: bool, status: Status) {
        let now = Instant::now();
        self.node.transactions.answered(validation.tx, self.key, now, status == Status::Success);
        self.stage(Stage::Judge, validation.took);
        let enqueued = passed.then(|| now.saturating_duration_since(validation.at));
        match status {
            Status::Success => self.totals.acknowledged(validation.took + enqueued.unwrap_or_default()),
            _ => self.totals.rejected(),
        }
        if let Some(enqueued) = enqueued {
            self.stage(Stage::Order, enqueued);
        }
        self.broadcast.count(&self.series, &self.node.families, validation, enqueued, status);
    }

    /// Kafka has acknowledged a batch.
    pub fn batch_produced(&self, records: usize, bytes: usize, took: Duration) {
        self.stage(Stage::Produce, took);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.batch_records.fetch_add(records as u64, Ordering::Relaxed);
        self.batch_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the totals of what was produced so far.
    pub fn sent_to_topic(&self) -> ProduceTotals {
        ProduceTotals {
            batches: self.batches.load(Ordering::Relaxed),
            records: self.batch_records.load(Ordering::Relaxed),
            bytes: self.batch_bytes.load(Ordering::Relaxed),
        }
    }

    /// Kafka has acknowledged a record with this envelope.
    pub fn produced(&self, envelope: &SignedEnvelope, offset: i64) {
        self.node.transactions.produced(tx_id(envelope), self.key, offset);
    }

    /// The chain takes a record from the topic; `envelope` if it holds one.
    pub fn consumed(&self, envelope: Option<&SignedEnvelope>, offset: i64) {
        if let Some(envelope) = envelope {
            self.node.transactions.consumed(tx_id(envelope), self.key, offset);
        }
        self.next_offset.store(offset + 1, Ordering::Relaxed);
    }

    /// The topic's next record will get this offset.
    pub fn topic_ends(&self, offset: i64) {
        self.end_offset.store(offset, Ordering::Relaxed);
    }

    /// Returns, for a Kafka channel, the offset of the record that is consumed next, and the one that the topic's next record
    /// will get.
    pub fn offsets(&self) -> Option<(i64, i64)> {
        let (next, end) = (self.next_offset.load(Ordering::Relaxed), self.end_offset.load(Ordering::Relaxed));
        (next != NO_OFFSET && end != NO_OFFSET).then_some((next, end))
    }

    /// So much waits in the chain for its block.
    pub fn pending(&self, envelopes: usize, bytes: usize) {
        self.pending.store(envelopes, Ordering::Relaxed);
        self.pending_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Envelopes that wait for their block, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.pending.load(Ordering::Relaxed), self.pending_bytes.load(Ordering::Relaxed))
    }

    /// Records that a block of `envelopes` envelopes was cut. The first of them came at `since`, if it had to wait.
    pub fn cut(&self, reason: CutReason, envelopes: usize, since: Option<Instant>) {
        let (families, channel) = (&self.node.families, self.series.channel());
        let make = || self.series.make(&families.cut, &[channel, REASONS[reason as usize]]);
        self.cut[reason as usize].get_or_init(make).inc();
        // a config message fills nothing; what waited before it was cut for its sake
        if since.is_some() || reason != CutReason::Config {
            let filled = since.map(|since| since.elapsed()).unwrap_or_default();
            let fill = self.fill.get_or_init(|| self.series.make(&families.fill, &[channel]));
            fill.observe(filled.as_secs_f64());
        }
        let count = self.block_envelopes.get_or_init(|| self.series.make(&families.block_envelopes, &[channel]));
        count.observe(f64::from(u32::try_from(envelopes).unwrap_or(u32::MAX)));
    }

    /// These envelopes are block `number`; it is signed, and not yet on the disk.
    pub fn assembled(&self, number: BlockNumber, envelopes: &[SignedEnvelope], took: Duration) {
        self.node.transactions.cut(envelopes, self.key, number.0);
        self.stage(Stage::Assemble, took);
    }

    /// A commit has ended: all blocks up to `last` are on the disk, `blocks` of them since the commit before.
    pub fn written(&self, last: BlockNumber, blocks: usize, took: Duration) {
        self.stage(Stage::Commit, took);
        if blocks > 0 {
            for back in (0..blocks as u64).rev() {
                self.node.transactions.written(self.key, last.0.saturating_sub(back));
            }
            let make = || self.series.make(&self.node.families.commit, &[self.series.channel()]);
            let commit = self.commit.get_or_init(make);
            (0..blocks).for_each(|_| commit.observe(took.as_secs_f64()));
        }
    }

    /// A block was sent to a client; only the first client's counts.
    pub fn delivered(&self, block: u64) {
        // who reads old blocks costs nothing here
        if self.sent_below.fetch_max(block + 1, Ordering::Relaxed) <= block {
            self.node.transactions.delivered(self.key, block);
        }
    }

    /// Returns the number of Deliver requests in progress.
    pub fn subscribers(&self) -> usize {
        self.deliver.now()
    }

    pub(super) fn node(&self) -> &NodeObserver {
        &self.node
    }

    pub(super) fn series(&self) -> &ChannelSeries {
        &self.series
    }

    pub(super) fn deliver(&self) -> &DeliverSeries {
        &self.deliver
    }

    /// The channel was removed.
    pub(crate) fn forget(&self) {
        self.series.forget();
    }
}

/// Value of the offsets while the channel consumes no topic.
const NO_OFFSET: i64 = i64::MIN;
