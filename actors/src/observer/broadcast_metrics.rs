//! Counters of envelopes that Broadcast answers.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::common::{ChannelHeader, HeaderType, Status};
use prometheus::{Histogram, IntCounter};

use super::channel_series::ChannelSeries;
use super::metric_families::MetricFamilies;
use super::transactions::TxKey;

/// Types that an envelope may have; what else a client writes is counted as unknown, or it could make up a series for every
/// number there is.
const KINDS: usize = 8;
/// Statuses that an answer may have.
const STATUSES: [Status; 8] = [
    Status::Success,
    Status::BadRequest,
    Status::Forbidden,
    Status::NotFound,
    Status::RequestEntityTooLarge,
    Status::InternalServerError,
    Status::NotImplemented,
    Status::ServiceUnavailable,
];

/// An envelope's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeKind(u8);

impl EnvelopeKind {
    /// The type of an envelope whose header cannot be read, or whose type is not known.
    pub const UNKNOWN: Self = Self(7);

    /// The type with this number.
    pub fn of(header_type: i32) -> Self {
        u8::try_from(header_type).ok().filter(|number| *number < 7).map_or(Self::UNKNOWN, Self)
    }

    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        HeaderType::try_from(i32::from(self.0)).map_or("unknown", |known| known.as_str_name())
    }
}

/// The record of an envelope between its validation and its answer.
#[derive(Clone, Copy, Debug)]
pub struct ValidationRecord {
    /// Its type.
    pub kind: EnvelopeKind,
    /// Duration of the validation.
    pub took: Duration,
    /// End of the validation.
    pub at: Instant,
    /// The key of its transaction, if it names one.
    pub tx: Option<TxKey>,
}

/// The identity that an envelope claims, for later reports about it.
#[derive(Clone, Debug)]
pub struct EnvelopeIdentity {
    /// Channel, type and transaction.
    pub channel_header: ChannelHeader,
    /// The serialized `SignatureHeader`.
    pub signature_header: Bytes,
}

/// Figures of one channel's envelopes, or of those that belong to no channel. Each series begins with its first envelope, and the
/// table of them (2.5 kB) with the first of all: an idle channel does not have it.
#[derive(Default)]
pub(super) struct BroadcastSeries(OnceLock<Box<[OnceLock<ResponseSeries>]>>);

struct ResponseSeries {
    validate: Histogram,
    enqueue: OnceLock<Histogram>,
    processed: IntCounter,
}

impl BroadcastSeries {
    /// Counts one answer; `enqueued`, for an envelope that passed the gate, is how long it waited for it.
    pub(super) fn count(
        &self,
        series: &ChannelSeries,
        families: &MetricFamilies,
        validation: &ValidationRecord,
        enqueued: Option<Duration>,
        status: Status,
    ) {
        let column = STATUSES.iter().position(|known| *known == status).unwrap_or(5);
        let labels = [series.channel(), validation.kind.name(), STATUSES[column].as_str_name()];
        let table = self.0.get_or_init(|| (0..KINDS * STATUSES.len()).map(|_| OnceLock::new()).collect());
        let cell = &table[usize::from(validation.kind.0) * STATUSES.len() + column];
        let answered = cell.get_or_init(|| ResponseSeries {
            validate: series.make(&families.validate, &labels),
            enqueue: OnceLock::new(),
            processed: series.make(&families.processed, &labels),
        });
        answered.validate.observe(validation.took.as_secs_f64());
        answered.processed.inc();
        if let Some(enqueued) = enqueued {
            let enqueue = answered.enqueue.get_or_init(|| series.make(&families.enqueue, &labels));
            enqueue.observe(enqueued.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_makes_a_series_of_its_own() {
        assert_eq!(EnvelopeKind::of(0).name(), "MESSAGE");
        assert_eq!(EnvelopeKind::of(3).name(), "ENDORSER_TRANSACTION");
        assert_eq!(EnvelopeKind::of(6).name(), "CHAINCODE_PACKAGE");
        for other in [-1, 7, 8, 4711, i32::MAX, i32::MIN] {
            assert_eq!(EnvelopeKind::of(other), EnvelopeKind::UNKNOWN);
        }
        assert_eq!(EnvelopeKind::UNKNOWN.name(), "unknown");
    }
}
