//! Tests that a chain is a function of its topic alone. It does not depend on which orderer reads the topic, when
//! timers fire, or where an orderer is restarted.
//!
//! Two orderers share a topic that grows during the test: clients' messages, and records of the orderers themselves,
//! are appended in any order. Both orderers are restarted, with some of their newest blocks not yet on disk. In the end
//! each must have the chain that a third orderer cuts from the whole topic at once, and a fourth one that is restarted
//! at every record.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload};
use orderer_core::crypto::sha256;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::ordering::block_cutter::BatchLimits;
use orderer_core::ordering::kafka::{
    Effect, Event, KafkaMachine, KafkaMetadata, KafkaOffset, LastBlock, OrderingConfig, Record, RecordClass,
    RegularMessage, RevalidationResult, TopicBounds, encode_connect, encode_time_to_cut,
};
use orderer_core::processing::Rejection;
use orderer_core::types::{BlockNumber, ConfigSequence};
use proptest::prelude::*;
use prost::Message as _;

/// Maximum length of the topic, because config messages that overtake each other multiply.
const TOPIC_MAX_RECORDS: usize = 400;
const ORDERERS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Action {
    /// A client's message is validated and queued to be produced, unless Broadcast has to wait.
    Broadcast { orderer: usize, class: RecordClass, id: u8, filler: usize },
    /// The orderer's first queued record is appended to the topic.
    Land { orderer: usize },
    /// The orderer's first queued request to cut a block fails; it may have been appended nevertheless.
    FailTimeToCut { orderer: usize, landed: bool },
    /// The orderer reads some records.
    Read { orderer: usize, records: usize },
    /// The orderer's batch timer fires, if it runs.
    Timer { orderer: usize },
    /// The orderer is killed and restarted; this number of its newest blocks was not on disk.
    Restart { orderer: usize, blocks_lost: usize },
    /// Another record is appended.
    Noise(Noise),
}

#[derive(Clone, Copy, Debug)]
enum Noise {
    Connect,
    Garbage,
    Null,
    /// Number of offsets without a record.
    Hole(i64),
    /// A message that no orderer would produce.
    Odd {
        class: RecordClass,
        id: u8,
        filler: usize,
        sequence: u64,
        original: i64,
    },
}

fn class() -> impl Strategy<Value = RecordClass> {
    prop_oneof![
        12 => Just(RecordClass::Normal),
        2 => Just(RecordClass::Config),
        1 => Just(RecordClass::Unknown),
    ]
}

fn noise() -> impl Strategy<Value = Noise> {
    let odd_class = prop_oneof![3 => class(), 1 => Just(RecordClass::Other(9))];
    let odd = (odd_class, any::<u8>(), 0usize..120, 0u64..6, -2i64..60);
    prop_oneof![
        Just(Noise::Connect),
        Just(Noise::Garbage),
        Just(Noise::Null),
        (1i64..4).prop_map(Noise::Hole),
        odd.prop_map(|(class, id, filler, sequence, original)| Noise::Odd { class, id, filler, sequence, original }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let orderer = || 0..ORDERERS;
    prop_oneof![
        12 => (orderer(), class(), any::<u8>(), 0usize..120)
            .prop_map(|(orderer, class, id, filler)| Action::Broadcast { orderer, class, id, filler }),
        12 => orderer().prop_map(|orderer| Action::Land { orderer }),
        2 => (orderer(), any::<bool>()).prop_map(|(orderer, landed)| Action::FailTimeToCut { orderer, landed }),
        10 => (orderer(), 1usize..6).prop_map(|(orderer, records)| Action::Read { orderer, records }),
        4 => orderer().prop_map(|orderer| Action::Timer { orderer }),
        2 => (orderer(), 0usize..3).prop_map(|(orderer, blocks_lost)| Action::Restart { orderer, blocks_lost }),
        2 => noise().prop_map(Action::Noise),
    ]
}

/// A topic; a record's value may be missing.
#[derive(Default)]
struct Topic {
    records: BTreeMap<KafkaOffset, Option<Bytes>>,
    end: KafkaOffset,
}

impl Topic {
    fn append(&mut self, value: Option<Bytes>) {
        self.records.insert(self.end, value);
        self.end = self.end.next();
    }

    fn is_full(&self) -> bool {
        self.records.len() >= TOPIC_MAX_RECORDS
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Block {
    envelopes: Vec<SignedEnvelope>,
    last: LastBlock,
    /// Rules in force after the block.
    rules: OrderingConfig,
}

enum Produce {
    TimeToCut(BlockNumber),
    Message(RegularMessage),
}

struct Orderer {
    mark: u8,
    machine: KafkaMachine,
    rules: OrderingConfig,
    blocks: Vec<Block>,
    /// Queued records, in their order.
    producing: VecDeque<Produce>,
    timer_runs: bool,
    blocked: bool,
    was_restarted: bool,
}

fn envelope(class: RecordClass, id: u8, mark: u8, filler: usize) -> SignedEnvelope {
    let header_type = match (class, id % 8) {
        (RecordClass::Config, _) | (RecordClass::Unknown, 0) => HeaderType::Config,
        (RecordClass::Unknown, 1) => HeaderType::ConfigUpdate,
        _ => HeaderType::EndorserTransaction,
    };
    let channel_header = ChannelHeader { r#type: header_type as i32, ..ChannelHeader::default() };
    let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    let data = [vec![id, mark], vec![b'.'; filler]].concat().into();
    SignedEnvelope::from_parts(Payload { header: Some(header), data }.encode_to_vec().into(), Bytes::new())
}

fn id_and_filler(envelope: &SignedEnvelope) -> (u8, usize) {
    let data = ParsedEnvelope::parse(envelope.clone()).expect("a message").data;
    (data[0], data.len() - 2)
}

/// Returns whether a message is valid, which depends only on itself and the configuration.
fn is_valid(envelope: &SignedEnvelope, sequence: ConfigSequence) -> bool {
    let (id, _) = id_and_filler(envelope);
    !sha256(&[&[id], &sequence.0.to_be_bytes()])[0].is_multiple_of(4)
}

/// The change of a config message depends only on itself.
fn apply(rules: OrderingConfig, envelope: &SignedEnvelope) -> OrderingConfig {
    let (id, _) = id_and_filler(envelope);
    let limits = BatchLimits {
        max_message_count: usize::from(1 + id % 5),
        preferred_max_bytes: 80 + 20 * usize::from(id / 5 % 6),
    };
    OrderingConfig { sequence: ConfigSequence(rules.sequence.0 + 1), limits, resubmission: !id.is_multiple_of(7) }
}

impl Orderer {
    fn new(mark: u8) -> Self {
        let limits = BatchLimits { max_message_count: 4, preferred_max_bytes: 150 };
        let rules = OrderingConfig { sequence: ConfigSequence(0), limits, resubmission: true };
        let (number, metadata) = (BlockNumber::GENESIS, KafkaMetadata::NONE);
        let last = LastBlock { number, metadata, is_config: true, envelopes: 1, size_bytes: 1000 };
        Self {
            mark,
            machine: KafkaMachine::resume(last, rules),
            rules,
            blocks: vec![Block { envelopes: Vec::new(), last, rules }],
            producing: VecDeque::new(),
            timer_runs: false,
            blocked: false,
            was_restarted: false,
        }
    }

    /// Reads the next record, if there is one.
    fn read(&mut self, topic: &mut Topic, from: &mut KafkaOffset) -> bool {
        let Some((&offset, value)) = topic.records.range(*from..).next() else {
            self.step(Event::CaughtUp, topic);
            return false;
        };
        let record = Record::decode(value.clone());
        if offset > *from {
            self.step(Event::NoRecords { from: *from, until: offset }, topic);
        }
        *from = offset.next();
        self.step(Event::Record { offset, record }, topic);
        true
    }

    fn step(&mut self, event: Event, topic: &mut Topic) {
        let mut effects = self.machine.step(event);
        while let Some(event) = self.perform(effects, topic) {
            effects = self.machine.step(event);
        }
        assert_eq!(self.blocked, self.machine.ingress_blocked());
    }

    fn perform(&mut self, effects: Vec<Effect>, topic: &mut Topic) -> Option<Event> {
        let mut next = None;
        for effect in effects {
            match effect {
                Effect::Revalidate { envelope, is_config } => {
                    next = Some(Event::Revalidated(self.judge(envelope, is_config)));
                }
                Effect::WriteBlock { number, envelopes, metadata } => {
                    self.write(number, envelopes, metadata, false, topic);
                }
                Effect::WriteConfigBlock { number, envelope, metadata } => {
                    self.rules = apply(self.rules, &envelope);
                    self.write(number, vec![envelope], metadata, true, topic);
                    next = Some(Event::Configured(self.rules));
                }
                Effect::Resubmit(regular) => self.producing.push_back(Produce::Message(regular)),
                Effect::TimeToCut(block) => self.producing.push_back(Produce::TimeToCut(block)),
                Effect::CloseIngress => assert!(!std::mem::replace(&mut self.blocked, true)),
                Effect::OpenIngress => assert!(std::mem::replace(&mut self.blocked, false)),
                Effect::ArmTimer => assert!(!std::mem::replace(&mut self.timer_runs, true)),
                Effect::DisarmTimer => assert!(std::mem::replace(&mut self.timer_runs, false)),
                Effect::Skip { .. } => {}
                Effect::Fail(failure) => panic!("{failure}"),
            }
        }
        next
    }

    /// Returns the verdict. Each orderer creates a config message again, so the message differs between orderers.
    fn judge(&self, envelope: SignedEnvelope, is_config: bool) -> RevalidationResult {
        let sequence = self.rules.sequence;
        if !is_valid(&envelope, sequence) {
            return RevalidationResult::Invalid(Rejection::Empty);
        }
        if !is_config {
            return RevalidationResult::Valid { envelope, sequence };
        }
        let (id, filler) = id_and_filler(&envelope);
        RevalidationResult::Valid { envelope: self::envelope(RecordClass::Config, id, self.mark, filler), sequence }
    }

    fn write(
        &mut self,
        number: BlockNumber,
        envelopes: Vec<SignedEnvelope>,
        metadata: KafkaMetadata,
        is_config: bool,
        topic: &mut Topic,
    ) {
        // a message that is produced again is in the topic before a block says that its record was processed
        while self.producing.iter().any(|p| matches!(p, Produce::Message(m) if m.original_offset.is_some())) {
            self.land(topic);
        }
        assert_eq!(number.0, self.blocks.len() as u64);
        let size_bytes = envelopes.iter().map(SignedEnvelope::size_bytes).sum();
        let last = LastBlock { number, metadata, is_config, envelopes: envelopes.len(), size_bytes };
        self.blocks.push(Block { envelopes, last, rules: self.rules });
    }

    fn land(&mut self, topic: &mut Topic) {
        match self.producing.pop_front() {
            Some(Produce::TimeToCut(block)) => topic.append(Some(encode_time_to_cut(block))),
            Some(Produce::Message(regular)) => topic.append(Some(regular.encode())),
            None => {}
        }
    }

    fn fail_time_to_cut(&mut self, landed: bool, topic: &mut Topic) {
        if let Some(Produce::TimeToCut(block)) = self.producing.front() {
            let block = *block;
            if landed {
                self.land(topic);
            } else {
                self.producing.pop_front();
            }
            self.step(Event::TimeToCutFailed(block), topic);
        }
    }

    fn timer(&mut self, topic: &mut Topic) {
        if std::mem::take(&mut self.timer_runs) {
            self.step(Event::Timer, topic);
        }
    }

    /// Returns the offset from which the topic is read again.
    fn restart(&mut self, blocks_lost: usize, end: KafkaOffset) -> KafkaOffset {
        self.blocks.truncate(self.blocks.len().saturating_sub(blocks_lost).max(1));
        let newest = &self.blocks[self.blocks.len() - 1];
        self.rules = newest.rules;
        self.machine = KafkaMachine::resume(newest.last, newest.rules);
        self.producing.clear();
        self.timer_runs = false;
        self.blocked = self.machine.ingress_blocked();
        self.was_restarted = true;
        newest.last.resume_offset(TopicBounds { earliest: KafkaOffset::FIRST, end }).expect("within the topic")
    }

    /// Returns the parts of a chain that do not depend on restarts. The offset of resubmitted config messages does:
    /// Fabric omits it from a block that the timer cut, and a machine resumed from there does not know it.
    fn chain(&self, with_resubmitted: bool) -> Vec<Block> {
        let mut blocks = self.blocks.clone();
        for block in &mut blocks {
            if !with_resubmitted {
                block.last.metadata.last_resubmitted_config_offset = KafkaOffset(0);
            }
        }
        blocks
    }
}

#[derive(Default)]
struct World {
    topic: Topic,
    orderers: Vec<Orderer>,
    read_up_to: [KafkaOffset; ORDERERS],
}

impl World {
    fn new() -> Self {
        Self { orderers: vec![Orderer::new(b'a'), Orderer::new(b'b')], ..Self::default() }
    }

    fn act(&mut self, action: Action) {
        if self.topic.is_full() {
            return;
        }
        match action {
            Action::Broadcast { orderer, class, id, filler } => {
                let orderer = &mut self.orderers[orderer];
                let config_sequence = orderer.rules.sequence;
                let envelope = envelope(class, id, orderer.mark, filler);
                if !orderer.blocked && is_valid(&envelope, config_sequence) {
                    let message = RegularMessage { class, envelope, config_sequence, original_offset: None };
                    orderer.producing.push_back(Produce::Message(message));
                }
            }
            Action::Land { orderer } => self.orderers[orderer].land(&mut self.topic),
            Action::FailTimeToCut { orderer, landed } => {
                self.orderers[orderer].fail_time_to_cut(landed, &mut self.topic);
            }
            Action::Read { orderer, records } => {
                for _ in 0..records {
                    self.orderers[orderer].read(&mut self.topic, &mut self.read_up_to[orderer]);
                }
            }
            Action::Timer { orderer } => self.orderers[orderer].timer(&mut self.topic),
            Action::Restart { orderer, blocks_lost } => {
                self.read_up_to[orderer] = self.orderers[orderer].restart(blocks_lost, self.topic.end);
            }
            Action::Noise(noise) => self.make_noise(noise),
        }
    }

    fn make_noise(&mut self, noise: Noise) {
        match noise {
            Noise::Connect => self.topic.append(Some(encode_connect())),
            Noise::Garbage => self.topic.append(Some(Bytes::from_static(b"garbage"))),
            Noise::Null => self.topic.append(None),
            Noise::Hole(offsets) => self.topic.end.0 += offsets,
            Noise::Odd { class, id, filler, sequence, original } => {
                let message = RegularMessage {
                    class,
                    envelope: envelope(class, id, b'?', filler),
                    config_sequence: ConfigSequence(sequence),
                    original_offset: Some(KafkaOffset(original)),
                };
                self.topic.append(Some(message.encode()));
            }
        }
    }

    /// Appends all queued records and lets all orderers read them, up to the maximum length of the topic.
    fn settle(&mut self) {
        loop {
            for (orderer, from) in self.orderers.iter_mut().zip(&mut self.read_up_to) {
                while orderer.read(&mut self.topic, from) {}
            }
            let nobody_produces = self.orderers.iter().all(|orderer| orderer.producing.is_empty());
            if nobody_produces || self.topic.is_full() {
                break;
            }
            for orderer in &mut self.orderers {
                orderer.land(&mut self.topic);
            }
        }
        // records that were appended while the last orderer read
        let end = self.topic.end;
        for (orderer, from) in self.orderers.iter_mut().zip(&mut self.read_up_to) {
            while *from < end && orderer.read(&mut self.topic, from) {}
        }
    }
}

/// Returns an orderer that starts when the topic is complete. Its own records are discarded.
fn read_alone(topic: &Topic, up_to: KafkaOffset, restart_at_every_record: bool) -> Orderer {
    let (mut orderer, mut from) = (Orderer::new(b'c'), KafkaOffset::FIRST);
    let records = topic.records.range(..up_to).map(|(offset, value)| (*offset, value.clone())).collect();
    let mut whole = Topic { records, end: up_to };
    let mut nowhere = Topic::default();
    loop {
        if restart_at_every_record {
            let reached = from;
            from = orderer.restart(0, up_to);
            while from < reached {
                read_into(&mut orderer, &mut whole, &mut from, &mut nowhere);
            }
        }
        if !read_into(&mut orderer, &mut whole, &mut from, &mut nowhere) {
            return orderer;
        }
    }
}

fn read_into(orderer: &mut Orderer, whole: &mut Topic, from: &mut KafkaOffset, nowhere: &mut Topic) -> bool {
    let Some((&offset, value)) = whole.records.range(*from..).next() else { return false };
    if offset > *from {
        orderer.step(Event::NoRecords { from: *from, until: offset }, nowhere);
    }
    *from = offset.next();
    orderer.step(Event::Record { offset, record: Record::decode(value.clone()) }, nowhere);
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_chain_is_a_function_of_the_topic_alone(actions in proptest::collection::vec(action(), 0..160)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        world.settle();
        let alone = [false, true].map(|restarted| {
            world.read_up_to.map(|up_to| read_alone(&world.topic, up_to, restarted))
        });
        for (i, orderer) in world.orderers.iter().enumerate() {
            let [in_one_go, restarted] = [&alone[0][i], &alone[1][i]];
            prop_assert_eq!(orderer.chain(false), in_one_go.chain(false));
            prop_assert_eq!(restarted.chain(false), in_one_go.chain(false));
            if !orderer.was_restarted {
                prop_assert_eq!(orderer.chain(true), in_one_go.chain(true));
            }
        }
    }
}
