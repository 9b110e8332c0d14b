//! Topics that two Go orderers shared, recorded record by record, and the chains that each of them cut. The machine
//! must cut the same chain from the same topic, wherever it is restarted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use fabric_proto::common::{BlockMetadataIndex, HeaderType, Metadata, OrdererBlockMetadata};
use flate2::read::GzDecoder;
use orderer_core::block::{BlockContents, EncodedBlock, assemble};
use orderer_core::config::ChannelSnapshot;
use orderer_core::crypto::{SignError, Signer};
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::ordering::kafka::{
    Effect, Event, KafkaMachine, KafkaMetadata, KafkaOffset, LastBlock, OrderingConfig, Record, RecordClass,
    RegularMessage, RevalidationResult, TopicBounds, encode_connect, encode_time_to_cut,
};
use orderer_core::processing::{
    MessageOrigin, Rejection, ValidationContext, apply_config, created_channel_config, validate_normal,
};
use orderer_core::types::{BlockNumber, ConfigSequence, UnixSeconds};
use prost::Message as _;

const CHANNELS: [&str; 3] = ["syschan", "mychan", "otherchan"];

fn lines(name: &str) -> impl Iterator<Item = serde_json::Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/kafka").join(name);
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
}

/// One recorded record.
struct Recorded {
    offset: KafkaOffset,
    /// Time at which it was produced; messages are revalidated as of this time.
    at: UnixSeconds,
    value: Bytes,
    record: Record,
}

fn topic(channel: &str) -> Vec<Recorded> {
    let read = |line: serde_json::Value| {
        let value = Bytes::from(BASE64_STANDARD.decode(line["value"].as_str().expect("a value")).expect("base64"));
        Recorded {
            offset: KafkaOffset(line["offset"].as_i64().expect("an offset")),
            at: UnixSeconds(line["timestamp"].as_i64().expect("a time") / 1000),
            record: Record::decode(Some(value.clone())),
            value,
        }
    };
    lines(&format!("{channel}.topic.jsonl.gz")).map(read).collect()
}

fn chain(channel: &str, orderer: &str) -> Vec<EncodedBlock> {
    let read = |line: serde_json::Value| {
        EncodedBlock::parse(&BASE64_STANDARD.decode(line["block"].as_str().expect("a block")).expect("base64"))
            .expect("is a block")
    };
    lines(&format!("{channel}.orderer-{orderer}.blocks.jsonl.gz")).map(read).collect()
}

struct Nobody(Bytes);

impl Signer for Nobody {
    fn creator(&self) -> &Bytes {
        &self.0
    }
    fn sign(&self, _: &[u8]) -> Result<Bytes, SignError> {
        Ok(Bytes::new())
    }
}

/// A block that a machine decided to write, with the configuration in force after it.
struct Written {
    envelopes: Vec<SignedEnvelope>,
    metadata: KafkaMetadata,
    last: LastBlock,
    snapshot: Arc<ChannelSnapshot>,
}

/// An orderer without a network: a machine, its ledger, and the records that it would have produced.
struct Orderer {
    machine: KafkaMachine,
    snapshot: Arc<ChannelSnapshot>,
    written: Vec<Written>,
    resubmitted: Vec<RegularMessage>,
    /// Revalidated messages by offset and sequence, so that a signature is not verified again after each restart.
    judged: BTreeMap<(KafkaOffset, ConfigSequence), Result<(), Rejection>>,
}

impl Orderer {
    fn new(genesis: &EncodedBlock) -> Self {
        let snapshot =
            Arc::new(ChannelSnapshot::from_config_block(&genesis.decode(), &Arc::default()).expect("a genesis block"));
        let last = LastBlock::parse(genesis).expect("a last block");
        let rules = OrderingConfig::of(&snapshot);
        let first = Written { envelopes: Vec::new(), metadata: last.metadata, last, snapshot: Arc::clone(&snapshot) };
        Self {
            machine: KafkaMachine::resume(last, rules),
            snapshot,
            written: vec![first],
            resubmitted: Vec::new(),
            judged: BTreeMap::new(),
        }
    }

    fn take(&mut self, recorded: &Recorded) {
        let Recorded { offset, record, .. } = recorded;
        if let Record::Regular(regular) = record
            && *offset >= self.machine.next_offset()
        {
            let now = self.snapshot.sequence();
            assert_eq!(now, self.machine.rules().sequence);
            assert!(regular.config_sequence <= now, "offset {offset} was judged under a configuration still to come");
        }
        let mut effects = self.machine.step(Event::Record { offset: *offset, record: record.clone() });
        while let Some(event) = self.perform(effects, recorded) {
            effects = self.machine.step(event);
        }
    }

    /// Performs effects. Returns the event that the machine waits for.
    fn perform(&mut self, effects: Vec<Effect>, recorded: &Recorded) -> Option<Event> {
        let mut next = None;
        for effect in effects {
            match effect {
                Effect::Revalidate { envelope, is_config } => {
                    assert!(!is_config, "the records hold no stale config message");
                    next = Some(Event::Revalidated(self.judge(envelope, recorded)));
                }
                Effect::WriteBlock { number, envelopes, metadata } => self.write(number, envelopes, metadata, false),
                Effect::WriteConfigBlock { number, envelope, metadata } => {
                    let message = ParsedEnvelope::parse(envelope.clone()).expect("a message");
                    if message.channel_header.r#type == HeaderType::OrdererTransaction as i32 {
                        created_channel_config(&self.snapshot, &message).expect("creates a channel");
                    } else {
                        let applied = apply_config(&self.snapshot, &message).expect("applies");
                        self.snapshot = Arc::new(applied);
                        next = Some(Event::Configured(OrderingConfig::of(&self.snapshot)));
                    }
                    self.write(number, vec![envelope], metadata, true);
                }
                Effect::Resubmit(regular) => self.resubmitted.push(regular),
                // no clock runs here: the topic contains the results of the recorded orderers' timers
                Effect::ArmTimer
                | Effect::DisarmTimer
                | Effect::Skip { .. }
                | Effect::CloseIngress
                | Effect::OpenIngress => {}
                Effect::TimeToCut(block) => panic!("block {block} asked for without a timer"),
                Effect::Fail(failure) => panic!("{failure}"),
            }
        }
        next
    }

    fn judge(&mut self, envelope: SignedEnvelope, recorded: &Recorded) -> RevalidationResult {
        let sequence = self.snapshot.sequence();
        let verdict = self.judged.entry((recorded.offset, sequence)).or_insert_with(|| {
            let message = ParsedEnvelope::parse(envelope.clone()).expect("a message");
            let at = ValidationContext { now: recorded.at, expiration_checks: true, judging: MessageOrigin::Ordered };
            validate_normal(&self.snapshot, &message, at).map(|_| ())
        });
        match verdict {
            Ok(()) => RevalidationResult::Valid { envelope, sequence },
            Err(refusal) => RevalidationResult::Invalid(refusal.clone()),
        }
    }

    fn write(&mut self, number: BlockNumber, envelopes: Vec<SignedEnvelope>, metadata: KafkaMetadata, is_config: bool) {
        assert_eq!(number.0, self.written.len() as u64);
        let size_bytes = envelopes.iter().map(SignedEnvelope::size_bytes).sum();
        let last = LastBlock { number, metadata, is_config, envelopes: envelopes.len(), size_bytes };
        self.written.push(Written { envelopes, metadata, last, snapshot: Arc::clone(&self.snapshot) });
    }

    /// Replaces the machine by one resumed from the last block. Returns the index of the first record that it needs.
    fn restart(&mut self, end: KafkaOffset) -> usize {
        let newest = &self.written[self.written.len() - 1];
        self.snapshot = Arc::clone(&newest.snapshot);
        self.machine = KafkaMachine::resume(newest.last, OrderingConfig::of(&self.snapshot));
        let from =
            newest.last.resume_offset(TopicBounds { earliest: KafkaOffset::FIRST, end }).expect("within the topic");
        usize::try_from(from.0).expect("an offset")
    }

    /// Returns all state that affects the processing of later records.
    fn state(&self) -> (KafkaOffset, BlockNumber, KafkaMetadata, usize, usize, ConfigSequence) {
        let machine = &self.machine;
        let (pending, pending_bytes) = (machine.pending(), machine.pending_bytes());
        let (next, last_cut) = (machine.next_offset(), machine.last_cut());
        (next, last_cut, machine.metadata(), pending, pending_bytes, machine.rules().sequence)
    }
}

/// Assembles the decided blocks as a block writer does.
fn assembled(genesis: &EncodedBlock, written: &[Written]) -> Vec<EncodedBlock> {
    let mut chain: Vec<EncodedBlock> = vec![genesis.clone()];
    let mut last_config = BlockNumber::GENESIS;
    for pair in written.windows(2) {
        let (before, block) = (&pair[0], &pair[1]);
        if block.snapshot.sequence() > before.snapshot.sequence() {
            last_config = block.last.number;
        }
        let contents = BlockContents {
            number: block.last.number,
            previous_hash: chain[chain.len() - 1].header_hash(),
            envelopes: &block.envelopes,
            last_config,
            consenter_metadata: block.metadata.encode(),
        };
        chain.push(assemble(contents, &Nobody(Bytes::new()), [0; 24]).expect("a block"));
    }
    chain
}

/// Asserts that two blocks are equal except for the signer.
fn assert_same_block(ours: &EncodedBlock, theirs: &EncodedBlock) {
    let number = theirs.number();
    let last = |block| LastBlock::parse(block).expect("readable metadata");
    assert_eq!(last(ours), last(theirs), "block {number}");
    let (ours, theirs) = (ours.decode(), theirs.decode());
    assert_eq!(ours.header, theirs.header, "block {number}");
    assert_eq!(ours.data, theirs.data, "block {number}");
    let (ours, theirs) = (ours.metadata.unwrap_or_default().metadata, theirs.metadata.unwrap_or_default().metadata);
    assert_eq!(ours.len(), theirs.len(), "block {number}");
    for (slot, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        if slot == BlockMetadataIndex::Signatures as usize {
            let value = |slot: &Bytes| Metadata::decode(slot.clone()).expect("metadata").value;
            let (ours, theirs) = (value(ours), value(theirs));
            let read = |value: &Bytes| OrdererBlockMetadata::decode(value.clone()).expect("metadata");
            assert_eq!(read(&ours), read(&theirs), "block {number}");
            assert_eq!(ours, theirs, "block {number}");
        } else {
            assert_eq!(ours, theirs, "block {number} slot {slot}");
        }
    }
}

/// Asserts that decisions are equal. Does not compare hashes, which follow from the rest, because it is used for many
/// replays.
fn assert_same_decisions(ours: &[Written], theirs: &[Written]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.last, theirs.last);
        assert!(ours.envelopes == theirs.envelopes, "block {}", theirs.last.number);
    }
}

fn replay(topic: &[Recorded], genesis: &EncodedBlock) -> Orderer {
    let mut orderer = Orderer::new(genesis);
    for recorded in topic {
        orderer.take(recorded);
    }
    orderer
}

#[test]
fn the_recorded_topics_lead_to_the_chains_of_both_recorded_orderers() {
    for channel in CHANNELS {
        let topic = topic(channel);
        for orderer in ["a", "b"] {
            let theirs = chain(channel, orderer);
            let ours = assembled(&theirs[0], &replay(&topic, &theirs[0]).written);
            assert_eq!(ours.len(), theirs.len(), "{channel}");
            for (ours, theirs) in ours.iter().zip(&theirs).skip(1) {
                assert_same_block(ours, theirs);
            }
        }
    }
}

#[test]
fn what_is_read_from_a_record_and_made_again_is_the_record() {
    for channel in CHANNELS {
        for Recorded { offset, value, record, .. } in topic(channel) {
            let made = match &record {
                Record::Connect => encode_connect(),
                Record::TimeToCut(block) => encode_time_to_cut(*block),
                Record::Regular(regular) => regular.encode(),
                Record::Malformed(cause) => panic!("{channel} offset {offset}: {cause}"),
            };
            assert!(made == value, "{channel} offset {offset}");
        }
    }
}

/// The machine's own records are discarded during a replay, because the topic is recorded. But the recorded orderers
/// also produced each message that the machine produces again, with the same bytes: revalidation does not change a
/// normal message, which its client signed. (Each orderer would create and sign its own version of a config message;
/// the recordings have no such message.)
#[test]
fn what_the_machine_orders_again_the_recorded_orderers_did_too() {
    let topic = topic("mychan");
    let orderer = replay(&topic, &chain("mychan", "a")[0]);
    let is_resubmitted =
        |recorded: &Recorded| matches!(&recorded.record, Record::Regular(regular) if regular.original_offset.is_some());
    let recorded: Vec<Bytes> = topic.iter().filter(|r| is_resubmitted(r)).map(|r| r.value.clone()).collect();
    assert!(!recorded.is_empty());
    let ours: Vec<Bytes> = orderer.resubmitted.iter().map(RegularMessage::encode).collect();
    assert!(ours.iter().all(|value| recorded.iter().filter(|r| *r == value).count() == 2), "once by each orderer");
    assert_eq!(recorded.len(), 2 * ours.len());
}

/// A message is validated under the configuration of its time, never under a later one, and a config update precedes
/// every stale message. (Each replay asserts at every record that no sequence is above the current one.)
#[test]
fn sequences_in_the_topic_follow_the_configuration() {
    for channel in CHANNELS {
        let (topic, genesis) = (topic(channel), chain(channel, "a").remove(0));
        let mut orderer = Orderer::new(&genesis);
        let (mut stale, mut updates) = (0, 0);
        let mut newest = orderer.snapshot.sequence();
        for recorded in &topic {
            let before = orderer.snapshot.sequence();
            if let Record::Regular(regular) = &recorded.record {
                assert!(matches!(regular.class, RecordClass::Normal | RecordClass::Config));
                newest = newest.max(regular.config_sequence);
                stale += usize::from(regular.config_sequence < before);
                if let Some(original) = regular.original_offset {
                    assert!(original < recorded.offset);
                    assert_eq!(regular.config_sequence, before, "judged again under the configuration of now");
                }
            }
            orderer.take(recorded);
            updates += orderer.snapshot.sequence().0 - before.0;
        }
        assert_eq!(newest, orderer.snapshot.sequence(), "{channel}: the last update was used");
        assert_eq!((stale, updates), if channel == "mychan" { (7, 1) } else { (0, 0) }, "{channel}");
    }
}

/// At each offset, the machine is replaced by one resumed from the last block. After the records that the new machine
/// has to read again, its state equals that of the replaced one, and it remains equal up to the end of the topic.
#[test]
fn a_restart_at_any_offset_changes_nothing() {
    for channel in CHANNELS {
        let (topic, genesis) = (topic(channel), chain(channel, "a").remove(0));
        let whole = replay(&topic, &genesis);
        let mut going_on = Orderer::new(&genesis);
        for at in 0..=topic.len() {
            let mut restarted = Orderer::new(&genesis);
            restarted.judged.clone_from(&going_on.judged);
            let kept = going_on.written.iter().map(Written::same);
            restarted.written = kept.collect();
            let from = restarted.restart(KafkaOffset(i64::try_from(at).expect("an offset")));
            topic[from..at].iter().for_each(|recorded| restarted.take(recorded));
            assert_eq!(restarted.state(), going_on.state(), "{channel}: restarted at offset {at}");
            topic[at..].iter().for_each(|recorded| restarted.take(recorded));
            assert_same_decisions(&restarted.written, &whole.written);
            if let Some(recorded) = topic.get(at) {
                going_on.take(recorded);
            }
        }
    }
}

/// Restarts after each record in turn: no machine processes more than one record.
#[test]
fn a_restart_after_every_record_changes_nothing() {
    for channel in CHANNELS {
        let (topic, genesis) = (topic(channel), chain(channel, "b").remove(0));
        let whole = replay(&topic, &genesis);
        let mut orderer = Orderer::new(&genesis);
        for at in 0..topic.len() {
            let from = orderer.restart(topic[at].offset);
            topic[from..=at].iter().for_each(|recorded| orderer.take(recorded));
        }
        assert_same_decisions(&orderer.written, &whole.written);
    }
}

impl Written {
    fn same(&self) -> Self {
        let (envelopes, snapshot) = (self.envelopes.clone(), Arc::clone(&self.snapshot));
        Self { envelopes, metadata: self.metadata, last: self.last, snapshot }
    }
}
