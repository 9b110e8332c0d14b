//! The one place where the ordering path records its events.
//!
//! A stage is a method of [`ChannelObserved`], of [`Observed`] for what belongs to no channel, or of what one of these gives
//! for the life of a stream or a request. It takes references to what is at hand, adds to counters whose series was found
//! once, and returns. The steps of an envelope are recorded without a lock; texts are only made of rejections. All
//! of it was measured, with the tracing, the watchdog and the counting of senders, at about 1.5 % of an envelope's CPU time.

mod broadcast;
mod channel;
mod definition;
mod deliver;
mod families;
mod method;
mod raft;
mod refusals;
mod ring;
mod series;
mod stream;
mod streams;
mod subscription;
pub mod table;
mod transactions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fabric_proto::common::Status;
use orderer_core::channel::UnixSeconds;
use orderer_core::envelope::Message;
use orderer_core::fairness::{OverLimit, Recurrence};
use orderer_core::processing::Refusal;
use prometheus::{IntCounter, Registry};

pub use broadcast::{EnvelopeKind, Judged, Named};
pub use channel::{ChannelObserved, CutReason, SentToTopic, Stage};
pub use definition::{Definition, Kind};
pub use method::Method;
pub use raft::{RaftFigures, RaftShown};
pub use refusals::{Refusals, RefusalsShown, RefusedEnvelope, Who};
pub use stream::{ConnectionObserved, StreamObserved};
pub use streams::{Request, StreamPlace, StreamShown, Streams};
pub use subscription::Subscription;
pub use table::METRICS;
pub use transactions::{LifeShown, Transactions, TxKey};

use broadcast::BroadcastSeries;
use families::Families;
use method::MethodSeries;
use series::Series;

/// Records the events of the whole node.
pub struct Observed {
    registry: Registry,
    families: Families,
    methods: [OnceLock<MethodSeries>; method::METHODS.len()],
    streams_opened: IntCounter,
    streams_closed: IntCounter,
    connections_opened: IntCounter,
    connections_closed: IntCounter,
    /// Series of envelopes that belong to no channel of this node. The name that a client gives is no label: it could make up
    /// any number of names.
    nowhere: (Series, BroadcastSeries),
    refusals: Refusals,
    streams: Arc<Streams>,
    transactions: Transactions,
}

/// The reason why an envelope is not ordered.
#[derive(Clone, Copy, Debug)]
pub enum Why<'a> {
    /// It is not valid.
    Refusal(&'a Refusal),
    /// It is not accepted now, or its channel does not exist.
    Text(&'a str),
}

impl Observed {
    /// Creates the observer of a node on which nothing has happened yet.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let families = Families::register(&registry);
        Arc::new(Self {
            streams_opened: families.streams_opened.with_label_values::<&str>(&[]),
            streams_closed: families.streams_closed.with_label_values::<&str>(&[]),
            connections_opened: families.connections_opened.with_label_values::<&str>(&[]),
            connections_closed: families.connections_closed.with_label_values::<&str>(&[]),
            methods: Default::default(),
            nowhere: (Series::of("unknown"), BroadcastSeries::new()),
            refusals: Refusals::default(),
            streams: Arc::default(),
            transactions: Transactions::default(),
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
    pub fn refused(&self, message: Option<&Message>, status: Status, why: Why<'_>) {
        let policy = match why {
            Why::Refusal(refusal) => refusal.verdict().cloned(),
            Why::Text(_) => None,
        };
        let why = match why {
            Why::Refusal(refusal) => refusal.to_string(),
            Why::Text(text) => text.to_owned(),
        };
        self.refusals.note(RefusedEnvelope::new(message, status, why, policy));
    }

    /// An envelope's sender is over its limit. All are counted; one a second is recorded in full, and one of each episode is
    /// logged.
    pub fn over_limit(&self, message: Option<&Message>, status: Status, over: &OverLimit) {
        self.families.over_limit.with_label_values(&[over.whose.word(), &*over.organization]).inc();
        if over.recurrence == Recurrence::Begins {
            tracing::warn!(target: "orderer.grpc", organization = %over.organization, name = %over.name,
                "a {} sends more than {:.1} envelopes a second: what is beyond is refused; see General.Throttling and \
                 /debug/limits", over.whose.word(), over.per_second);
        }
        if over.recurrence == Recurrence::Again {
            self.refusals.count(status);
        } else {
            self.refusals.note(RefusedEnvelope::new(message, status, over.to_string(), None));
        }
    }

    /// A chain did not take an envelope that had been found valid.
    pub fn refused_late(&self, named: &Named, status: Status, why: &str) {
        let headers = (&named.channel_header, &named.signature_header);
        self.refusals.note(RefusedEnvelope::of_headers(Some(headers), status, why.to_owned(), None));
    }

    /// Returns the rejected envelopes.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Streams of clients.
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// The newest envelopes.
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Records the response to an envelope that belongs to no channel of this node.
    pub fn answered_nowhere(&self, judged: &Judged, status: Status) {
        self.nowhere.1.count(&self.nowhere.0, &self.families, judged, None, status);
    }
}
