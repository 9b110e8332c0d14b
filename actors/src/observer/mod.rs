//! The one place where the ordering path records its events.
//!
//! A stage is a method of [`ChannelObserver`], of [`NodeObserver`] for what belongs to no channel, or of what one of these gives
//! for the life of a stream or a request. It takes references to what is at hand, adds to counters whose series was found
//! once, and returns. The steps of an envelope are recorded without a lock; texts are only made of rejections. All
//! of it was measured, with the tracing, the watchdog and the counting of senders, at about 1.5 % of an envelope's CPU time.

mod broadcast_metrics;
mod channel;
mod channel_series;
mod deliver_metrics;
mod grpc_metrics;
mod method;
mod metric_definition;
mod metric_families;
pub mod metric_table;
mod raft_metrics;
mod rejections;
mod ring;
mod streams;
mod subscription;
mod totals;
mod transactions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fabric_proto::common::Status;
use orderer_core::envelope::ParsedEnvelope;
use orderer_core::processing::Rejection;
use orderer_core::rate_limit::{RateLimited, RejectionRepeat};
use orderer_core::types::UnixSeconds;
use prometheus::{IntCounter, Registry};

pub use broadcast_metrics::{EnvelopeIdentity, EnvelopeKind, ValidationRecord};
pub use channel::{ChannelObserver, CutReason, ProduceTotals, Stage};
pub use grpc_metrics::{ConnectionObserver, StreamObserver};
pub use method::Method;
pub use metric_definition::{MetricDefinition, MetricKind};
pub use metric_table::METRICS;
pub use raft_metrics::{RaftMetrics, RaftMetricsSnapshot};
pub use rejections::{RejectedEnvelope, RejectionLog, RejectionLogView, SignerInfo};
pub use streams::{DeliverRequest, StreamHandle, StreamRegistry, StreamView};
pub use subscription::Subscription;
pub use totals::{ChannelTotals, LatencyCounts, TotalsReading};
pub use transactions::{TimelineView, TransactionHistory, TxKey};

use broadcast_metrics::BroadcastSeries;
use channel_series::ChannelSeries;
use method::MethodSeries;
use metric_families::MetricFamilies;

/// Records the events of the whole node.
pub struct NodeObserver {
    registry: Registry,
    families: MetricFamilies,
    methods: [OnceLock<MethodSeries>; method::METHODS.len()],
    streams_opened: IntCounter,
    streams_closed: IntCounter,
    connections_opened: IntCounter,
    connections_closed: IntCounter,
    /// Series of envelopes that belong to no channel of this node. The name that a client gives is no label: it could make up
    /// any number of names.
    nowhere: (ChannelSeries, BroadcastSeries),
    refusals: RejectionLog,
    streams: Arc<StreamRegistry>,
    transactions: TransactionHistory,
}

/// The reason why an envelope is not ordered.
#[derive(Clone, Copy, Debug)]
pub enum RejectionCause<'a> {
    /// It is not valid.
    Refusal(&'a Rejection),
    /// It is not accepted now, or its channel does not exist.
    Text(&'a str),
}

impl NodeObserver {
    /// Creates the observer of a node on which nothing has happened yet.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let families = MetricFamilies::register(&registry);
        Arc::new(Self {
            streams_opened: families.streams_opened.with_label_values::<&str>(&[]),
            streams_closed: families.streams_closed.with_label_values::<&str>(&[]),
            connections_opened: families.connections_opened.with_label_values::<&str>(&[]),
            connections_closed: families.connections_closed.with_label_values::<&str>(&[]),
            methods: Default::default(),
            nowhere: (ChannelSeries::of("unknown"), BroadcastSeries::default()),
            refusals: RejectionLog::default(),
            streams: Arc::default(),
            transactions: TransactionHistory::default(),
            registry,
            families,
        })
    }

    /// Returns the registry of all metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A certificate in use is good until then.
    #[expect(clippy::cast_precision_loss, reason = "seconds of this age are exact")]
    pub fn certificate(&self, kind: &str, file: &str, not_after: UnixSeconds) {
        self.families.certificates.with_label_values(&[kind, file]).set(not_after.0 as f64);
    }

    /// A call of one message and one answer came. Rare: only health is asked so.
    pub fn unary_received(&self, service: &str, method: &str) {
        self.families.unary_received.with_label_values(&[service, method]).inc();
    }

    /// Records that a unary call was answered.
    pub fn unary_completed(&self, service: &str, method: &str, code: i32, took: Duration) {
        let labels = [service, method, method::code_name(code)];
        self.families.unary_duration.with_label_values(&labels).observe(took.as_secs_f64());
        self.families.unary_completed.with_label_values(&labels).inc();
    }

    /// Records a rejected envelope: `message` if it could be read.
    pub fn refused(&self, message: Option<&ParsedEnvelope>, status: Status, why: RejectionCause<'_>) {
        let policy = match why {
            RejectionCause::Refusal(refusal) => refusal.verdict().cloned(),
            RejectionCause::Text(_) => None,
        };
        let why = match why {
            RejectionCause::Refusal(refusal) => refusal.to_string(),
            RejectionCause::Text(text) => text.to_owned(),
        };
        self.refusals.note(RejectedEnvelope::new(message, status, why, policy));
    }

    /// An envelope's sender is over its limit. All are counted; one a second is recorded in full, and one of each episode is
    /// logged.
    pub fn rate_limited(&self, message: Option<&ParsedEnvelope>, status: Status, over: &RateLimited) {
        self.families.over_limit.with_label_values(&[over.whose.word(), &*over.organization]).inc();
        if over.recurrence == RejectionRepeat::First {
            tracing::warn!(target: "orderer.grpc", organization = %over.organization, name = %over.name,
                "a {} sends more than {:.1} envelopes a second: the excess is rejected; see General.Throttling and \
                 /debug/limits", over.whose.word(), over.per_second);
        }
        if over.recurrence == RejectionRepeat::Repeated {
            self.refusals.count(status);
        } else {
            self.refusals.note(RejectedEnvelope::new(message, status, over.to_string(), None));
        }
    }

    /// A chain did not take an envelope that had been found valid.
    pub fn rejected_by_chain(&self, named: &EnvelopeIdentity, status: Status, why: &str) {
        let headers = (&named.channel_header, &named.signature_header);
        self.refusals.note(RejectedEnvelope::of_headers(Some(headers), status, why.to_owned(), None));
    }

    /// Returns the rejected envelopes.
    pub fn refusals(&self) -> &RejectionLog {
        &self.refusals
    }

    /// Streams of clients.
    pub fn streams(&self) -> &Arc<StreamRegistry> {
        &self.streams
    }

    /// The newest envelopes.
    pub fn transactions(&self) -> &TransactionHistory {
        &self.transactions
    }

    /// Records the response to an envelope that belongs to no channel of this node.
    pub fn responded_without_channel(&self, validation: &ValidationRecord, status: Status) {
        self.nowhere.1.count(&self.nowhere.0, &self.families, validation, None, status);
    }
}
