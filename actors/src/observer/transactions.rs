//! The newest envelopes' histories, by their transaction ID. Each step is recorded, which takes less than 100 ns, most of them
//! to read the clock and to hash the ID; a history is assembled from the records on request.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use orderer_core::envelope::{SignedEnvelope, tx_id};
use orderer_core::types::ChannelId;
use serde::Serialize;

use super::ring::{EventRecord, EventRing};

/// Maximum number of envelopes of one transaction in a history: the newest.
const MAX_ATTEMPTS: usize = 16;

/// Stands for a transaction ID: its hash, by a secret of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxKey(u64);

/// Stands for a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChannelKey(u32);

/// A step in an envelope's history, for views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Received,
    Validated,
    Acknowledged,
    Refused,
    Consumed,
    Cut,
    Written,
    Delivered,
}

/// The histories of the newest envelopes, by their transaction ID.
#[derive(Debug)]
pub struct TransactionHistory {
    hasher: RandomState,
    ring: EventRing,
    channels: Mutex<Channels>,
    /// Origin of all times, and its value in microseconds since 1970.
    began: (Instant, u64),
}

/// Every channel there was. A channel's key stays with its name.
#[derive(Debug, Default)]
struct Channels {
    keys: HashMap<ChannelId, ChannelKey>,
    names: Vec<ChannelId>,
}

/// A recorded step: of an envelope, by its key, or of a block, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Found valid, after this many microseconds of validation.
    Accepted { validation_us: u64 },
    /// Answered with SUCCESS.
    Acknowledged,
    /// Answered otherwise.
    Refused,
    /// In the topic.
    Produced { offset: i64 },
    /// Out of the topic again.
    Consumed { offset: i64 },
    /// In a block, which is not yet on the disk.
    Cut { block: u64 },
    /// A block on the disk.
    Written,
    /// A block sent to a client for the first time.
    Delivered,
}

/// The steps of one envelope. Times are in microseconds since the node began; 0: not yet.
#[derive(Debug, Default)]
struct TransactionTimeline {
    channel: ChannelKey,
    received: u64,
    validated: u64,
    answered: u64,
    refused: bool,
    consumed: u64,
    offset: Option<i64>,
    cut: u64,
    block: u64,
    written: u64,
    delivered: u64,
}

/// The history of one envelope, for views.
#[derive(Debug, Serialize)]
pub struct TimelineView {
    tx_id: String,
    channel: String,
    block: Option<u64>,
    offset: Option<i64>,
    refused: Option<&'static str>,
    steps: Vec<StepView>,
    /// Other envelopes of the same transaction in the same channel, the oldest first.
    others: Vec<OtherAttempt>,
}

/// An envelope of a transaction that was sent more than once.
#[derive(Debug, Serialize)]
struct OtherAttempt {
    at_us: u64,
    block: Option<u64>,
    refused: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct StepView {
    step: Step,
    at_us: u64,
    after_us: u64,
}

impl Default for TransactionHistory {
    fn default() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let began = (Instant::now(), u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX));
        Self { hasher: RandomState::new(), ring: EventRing::default(), channels: Mutex::default(), began }
    }
}

impl TransactionHistory {
    /// Returns the key of a transaction; none for an envelope that names none.
    pub fn key(&self, tx_id: &[u8]) -> Option<TxKey> {
        (!tx_id.is_empty()).then(|| TxKey(self.hasher.hash_one(tx_id)))
    }

    /// Returns the key of a channel.
    pub(super) fn channel(&self, channel: &ChannelId) -> ChannelKey {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let Channels { keys, names } = &mut *channels;
        *keys.entry(channel.clone()).or_insert_with(|| {
            names.push(channel.clone());
            // no node has so many channels
            ChannelKey(u32::try_from(names.len() - 1).unwrap_or(u32::MAX))
        })
    }

    fn name(&self, channel: ChannelKey) -> String {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.names.get(channel.0 as usize).map(ToString::to_string).unwrap_or_default()
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began.0).as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn write(&self, key: Option<TxKey>, channel: ChannelKey, at: Instant, event: Event) {
        if let Some(TxKey(key)) = key {
            self.ring.write(&[event.record(key, channel, self.micros(at))]);
        }
    }

    /// Records that an envelope was found valid, and the duration of the validation.
    pub(super) fn accepted(&self, key: Option<TxKey>, channel: ChannelKey, validated_at: Instant, duration: Duration) {
        let validation_us = u64::try_from(duration.as_micros()).unwrap_or(0);
        self.write(key, channel, validated_at, Event::Accepted { validation_us });
    }

    /// Records that an envelope is answered.
    pub(super) fn answered(&self, key: Option<TxKey>, channel: ChannelKey, at: Instant, well: bool) {
        self.write(key, channel, at, if well { Event::Acknowledged } else { Event::Refused });
    }

    /// Records that an envelope is in the topic.
    pub(super) fn produced(&self, tx_id: &[u8], channel: ChannelKey, offset: i64) {
        self.write(self.key(tx_id), channel, Instant::now(), Event::Produced { offset });
    }

    /// Records that an envelope came out of the topic.
    pub(super) fn consumed(&self, tx_id: &[u8], channel: ChannelKey, offset: i64) {
        self.write(self.key(tx_id), channel, Instant::now(), Event::Consumed { offset });
    }

    /// Records that these envelopes are in this block, which is not yet on the disk.
    pub(super) fn cut(&self, envelopes: &[SignedEnvelope], channel: ChannelKey, block: u64) {
        let now = self.micros(Instant::now());
        let keys = envelopes.iter().filter_map(|envelope| self.key(tx_id(envelope)));
        let records: Vec<EventRecord> = keys.map(|TxKey(key)| Event::Cut { block }.record(key, channel, now)).collect();
        self.ring.write(&records);
    }

    /// Records that a block is on the disk.
    pub(super) fn written(&self, channel: ChannelKey, block: u64) {
        self.write(Some(TxKey(block)), channel, Instant::now(), Event::Written);
    }

    /// Records that a block was sent to a client for the first time.
    pub(super) fn delivered(&self, channel: ChannelKey, block: u64) {
        self.write(Some(TxKey(block)), channel, Instant::now(), Event::Delivered);
    }

    /// Returns the retained history of a transaction's envelope: of several, the first that got into a block, else
    /// the last. Reads all retained records, which takes milliseconds.
    pub fn timeline(&self, tx_id: &str) -> Option<TimelineView> {
        let TxKey(key) = self.key(tx_id.as_bytes())?;
        let mut attempts: VecDeque<TransactionTimeline> = VecDeque::new();
        for record in self.ring.read().filter(|record| record.key == key) {
            let Some(event) = Event::of(&record).filter(|event| event.is_of_an_envelope()) else { continue };
            let channel = ChannelKey(record.channel);
            // the same name in another channel is another envelope
            let last = attempts.iter_mut().rev().find(|attempt| attempt.channel == channel);
            if let Some(attempt) = last.filter(|_| !matches!(event, Event::Accepted { .. })) {
                attempt.take(event, record.at);
                continue;
            }
            let mut attempt = TransactionTimeline { channel, ..TransactionTimeline::default() };
            attempt.take(event, record.at);
            attempts.push_back(attempt);
            if attempts.len() > MAX_ATTEMPTS {
                attempts.pop_front();
            }
        }
        self.follow_blocks(&mut attempts);
        let place = attempts.iter().position(|attempt| attempt.cut > 0).or(attempts.len().checked_sub(1))?;
        let shown = attempts.remove(place)?;
        let other = |attempt: &TransactionTimeline| OtherAttempt {
            at_us: self.began.1 + attempt.happened().first().map_or(0, |&(_, time)| time),
            block: attempt.durable_block(),
            refused: attempt.refusal(),
        };
        let happened = shown.happened();
        let first = happened.first().map_or(0, |&(_, time)| time);
        let view = |(step, time)| StepView { step, at_us: self.began.1 + time, after_us: time - first };
        Some(TimelineView {
            tx_id: tx_id.to_owned(),
            channel: self.name(shown.channel),
            block: shown.durable_block(),
            offset: shown.offset,
            refused: shown.refusal(),
            steps: happened.into_iter().map(view).collect(),
            others: attempts.iter().filter(|attempt| attempt.channel == shown.channel).map(other).collect(),
        })
    }

    /// Adds the later steps of the blocks that the envelopes are in.
    fn follow_blocks(&self, attempts: &mut VecDeque<TransactionTimeline>) {
        if attempts.iter().all(|attempt| attempt.cut == 0) {
            return;
        }
        for record in self.ring.read() {
            let event = Event::of(&record);
            if !matches!(event, Some(Event::Written | Event::Delivered)) {
                continue;
            }
            let in_it = |attempt: &&mut TransactionTimeline| {
                attempt.cut > 0 && attempt.block == record.key && attempt.channel.0 == record.channel
            };
            for attempt in attempts.iter_mut().filter(in_it) {
                match event {
                    Some(Event::Written) => attempt.written = record.at,
                    _ => attempt.delivered = record.at,
                }
            }
        }
        // a block is delivered only once it is durable, but the delivery may be recorded first
        for attempt in attempts.iter_mut().filter(|attempt| attempt.delivered > 0) {
            attempt.written =
                if attempt.written == 0 { attempt.delivered } else { attempt.written.min(attempt.delivered) };
        }
    }
}

impl TransactionTimeline {
    fn take(&mut self, event: Event, at: u64) {
        match event {
            Event::Accepted { validation_us } => {
                (self.received, self.validated) = (at.saturating_sub(validation_us).max(1), at);
            }
            Event::Acknowledged | Event::Refused => (self.answered, self.refused) = (at, event == Event::Refused),
            Event::Produced { offset } => self.offset = self.offset.or(Some(offset)),
            // of two that were on the way at once, the first counts
            Event::Consumed { offset } if self.cut == 0 => (self.consumed, self.offset) = (at, Some(offset)),
            Event::Cut { block } if self.cut == 0 => (self.cut, self.block) = (at, block),
            Event::Consumed { .. } | Event::Cut { .. } | Event::Written | Event::Delivered => {}
        }
    }

    /// Returns the steps that happened, in their order.
    fn happened(&self) -> Vec<(Step, u64)> {
        let answered = if self.refused { Step::Refused } else { Step::Acknowledged };
        let times = [
            (Step::Received, self.received),
            (Step::Validated, self.validated),
            (answered, self.answered),
            (Step::Consumed, self.consumed),
            (Step::Cut, self.cut),
            (Step::Written, self.written),
            (Step::Delivered, self.delivered),
        ];
        let mut happened: Vec<(Step, u64)> = times.into_iter().filter(|&(_, time)| time > 0).collect();
        happened.sort_by_key(|&(_, time)| time);
        happened
    }

    fn durable_block(&self) -> Option<u64> {
        (self.written > 0).then_some(self.block)
    }

    fn refusal(&self) -> Option<&'static str> {
        self.refused.then_some("its chain rejected it")
    }
}

impl Event {
    fn record(self, key: u64, channel: ChannelKey, at: u64) -> EventRecord {
        let (what, number) = match self {
            Self::Accepted { validation_us } => (0, validation_us),
            Self::Acknowledged => (1, 0),
            Self::Refused => (2, 0),
            Self::Produced { offset } => (3, offset.cast_unsigned()),
            Self::Consumed { offset } => (4, offset.cast_unsigned()),
            Self::Cut { block } => (5, block),
            Self::Written => (6, 0),
            Self::Delivered => (7, 0),
        };
        EventRecord { what, channel: channel.0, key, at, number }
    }

    fn of(record: &EventRecord) -> Option<Self> {
        Some(match record.what {
            0 => Self::Accepted { validation_us: record.number },
            1 => Self::Acknowledged,
            2 => Self::Refused,
            3 => Self::Produced { offset: record.number.cast_signed() },
            4 => Self::Consumed { offset: record.number.cast_signed() },
            5 => Self::Cut { block: record.number },
            6 => Self::Written,
            7 => Self::Delivered,
            _ => return None,
        })
    }

    fn is_of_an_envelope(self) -> bool {
        !matches!(self, Self::Written | Self::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use fabric_proto::common::{ChannelHeader, Header, Payload};
    use prost::Message as _;

    use super::*;

    fn channel(transactions: &TransactionHistory, name: &str) -> ChannelKey {
        transactions.channel(&ChannelId::parse(name).unwrap())
    }

    fn envelope(tx_id: &str) -> SignedEnvelope {
        let header = ChannelHeader { tx_id: tx_id.to_owned(), ..ChannelHeader::default() };
        let header = Header { channel_header: header.encode_to_vec().into(), ..Header::default() };
        let payload = Payload { header: Some(header), ..Payload::default() };
        SignedEnvelope::from_parts(payload.encode_to_vec().into(), bytes::Bytes::new())
    }

    fn steps(timeline: &TimelineView) -> Vec<Step> {
        timeline.steps.iter().map(|shown| shown.step).collect()
    }

    #[test]
    fn a_timeline_shows_the_steps_in_their_order() {
        let transactions = TransactionHistory::default();
        let (app, other) = (channel(&transactions, "app"), channel(&transactions, "other"));
        let key = transactions.key(b"tx");
        transactions.accepted(key, app, Instant::now(), Duration::from_micros(50));
        transactions.cut(&[envelope("tx")], other, 1);
        transactions.cut(&[envelope("before"), envelope("tx")], app, 7);
        assert_eq!(transactions.timeline("tx").unwrap().block, None, "it is not on the disk");
        transactions.written(other, 7);
        assert_eq!(transactions.timeline("tx").unwrap().block, None, "that was another channel's block");
        transactions.written(app, 7);
        transactions.answered(key, app, Instant::now(), true);
        transactions.answered(key, other, Instant::now(), false);
        transactions.delivered(app, 7);
        let timeline = transactions.timeline("tx").unwrap();
        assert_eq!((timeline.block, timeline.channel.as_str(), timeline.steps.len()), (Some(7), "app", 6));
        assert_eq!(timeline.refused, None, "the same name in another channel is another envelope");
        assert!(timeline.others.is_empty(), "{timeline:?}");
        assert!(timeline.steps.is_sorted_by_key(|step| step.at_us));
        assert!(transactions.timeline("another").is_none() && transactions.timeline("").is_none());
    }

    #[test]
    fn of_repeated_envelopes_the_first_in_a_block_is_shown_and_the_others_are_listed() {
        let transactions = TransactionHistory::default();
        let app = channel(&transactions, "app");
        let key = transactions.key(b"tx");
        let accepted = || transactions.accepted(key, app, Instant::now(), Duration::ZERO);
        accepted();
        transactions.answered(key, app, Instant::now(), false);
        accepted();
        transactions.cut(&[envelope("tx")], app, 7);
        transactions.written(app, 7);
        accepted();
        transactions.answered(key, app, Instant::now(), false);
        accepted();
        transactions.cut(&[envelope("tx")], app, 9);
        transactions.written(app, 9);
        let timeline = transactions.timeline("tx").unwrap();
        assert_eq!(steps(&timeline), [Step::Received, Step::Validated, Step::Cut, Step::Written]);
        assert_eq!((timeline.block, timeline.refused), (Some(7), None));
        let others: Vec<_> = timeline.others.iter().map(|other| (other.block, other.refused.is_some())).collect();
        assert_eq!(others, [(None, true), (None, true), (Some(9), false)]);
        (0..100).for_each(|_| accepted());
        assert_eq!(transactions.timeline("tx").unwrap().others.len(), MAX_ATTEMPTS - 1);
    }

    #[test]
    fn of_two_envelopes_in_progress_at_once_the_first_in_a_block_counts() {
        let transactions = TransactionHistory::default();
        let app = channel(&transactions, "app");
        let key = transactions.key(b"tx");
        for (offset, block) in [(10, 3), (11, 4)] {
            transactions.accepted(key, app, Instant::now(), Duration::ZERO);
            transactions.produced(b"tx", app, offset);
            if block == 4 {
                transactions.consumed(b"tx", app, 10);
                transactions.cut(&[envelope("tx")], app, 3);
                transactions.consumed(b"tx", app, 11);
                transactions.cut(&[envelope("tx")], app, 4);
            }
        }
        transactions.written(app, 3);
        let timeline = transactions.timeline("tx").unwrap();
        assert_eq!((timeline.block, timeline.offset), (Some(3), Some(10)));
    }

    #[test]
    fn a_block_is_shown_as_written_before_it_is_delivered_whichever_is_recorded_first() {
        let transactions = TransactionHistory::default();
        let app = channel(&transactions, "app");
        transactions.accepted(transactions.key(b"tx"), app, Instant::now(), Duration::ZERO);
        transactions.cut(&[envelope("tx")], app, 7);
        transactions.delivered(app, 7);
        transactions.write(Some(TxKey(7)), app, Instant::now() + Duration::from_millis(5), Event::Written);
        let timeline = transactions.timeline("tx").unwrap();
        assert_eq!(steps(&timeline)[2..], [Step::Cut, Step::Written, Step::Delivered]);
    }

    #[test]
    fn an_envelope_of_another_orderer_is_shown_from_the_topic_on() {
        let transactions = TransactionHistory::default();
        let app = channel(&transactions, "app");
        transactions.consumed(b"tx", app, -3);
        transactions.cut(&[envelope("tx")], app, 2);
        transactions.written(app, 2);
        let timeline = transactions.timeline("tx").unwrap();
        assert_eq!(steps(&timeline), [Step::Consumed, Step::Cut, Step::Written]);
        assert_eq!((timeline.block, timeline.offset, timeline.steps[0].after_us), (Some(2), Some(-3), 0));
    }
}
