//! Tests of the state machine. Each test is a script of events, with the machine's effects beside each event.

mod cutting;
mod records;
mod reordering;
mod restarting;

use std::collections::BTreeMap;

use bytes::Bytes;
use expect_test::Expect;
use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload};
use prost::Message as _;

use super::*;
use crate::envelope::{ParsedEnvelope, SignedEnvelope};
use crate::ordering::block_cutter::BatchLimits;
use crate::processing::Rejection;
use crate::types::{BlockNumber, ConfigSequence};

/// Limits of a batch: three messages or 100 bytes. A message named by a lowercase letter has 30 bytes, by an uppercase
/// letter 101, by a digit 70 (so two of these overflow a batch, and so does one with two lowercase ones).
const LIMITS: BatchLimits = BatchLimits { max_message_count: 3, preferred_max_bytes: 100 };
const RULES: OrderingConfig = OrderingConfig { sequence: ConfigSequence(1), limits: LIMITS, resubmission: true };

const GENESIS: LastBlock = LastBlock {
    number: BlockNumber::GENESIS,
    metadata: KafkaMetadata::NONE,
    is_config: true,
    envelopes: 1,
    size_bytes: 5000,
};

/// A chain with its topic, which runs a script of these words:
///
/// - `a` a normal message, `!c` a config message; `?a`, `?!c` the same, found valid under the configuration before;
///   `a<5` one that was produced again from offset 5
/// - `~a`, `~!c`, `~^c` messages without a class: normal, CONFIG, CONFIG_UPDATE; `*a` one of an unknown class
/// - `t4` a request to cut block 4; `hi` CONNECT; `bad`, `null` invalid records
/// - `yes`, `no` the verdict that the machine waits for
/// - `+` the next configuration, `+2` one with batches of two, `+old` one without resubmission
/// - `@` the timer, `x4` the request to cut block 4 could not be produced
/// - `>9` no record before offset 9, `|9` the next record is at offset 9
/// - `up` caught up
/// - `R` a restart: a machine is resumed from the last block and fed the records that it has to read again. `R-`
///   the same, with the last block not yet on disk
struct World {
    machine: KafkaMachine,
    /// Blocks, each with the rules in force after it.
    blocks: Vec<(LastBlock, OrderingConfig)>,
    rules: OrderingConfig,
    topic: BTreeMap<KafkaOffset, Record>,
    verdicts: BTreeMap<KafkaOffset, &'static str>,
    at: KafkaOffset,
}

fn check(script: &'static str, expected: Expect) {
    check_from(GENESIS, RULES, script, expected);
}

/// Runs a script after the block `last`, starting with the record that the machine needs next.
#[expect(clippy::needless_pass_by_value)]
fn check_from(last: LastBlock, rules: OrderingConfig, script: &'static str, expected: Expect) {
    let machine = KafkaMachine::resume(last, rules);
    let at = machine.next_offset();
    let (topic, verdicts) = (BTreeMap::new(), BTreeMap::new());
    let mut world = World { machine, blocks: vec![(last, rules)], rules, topic, verdicts, at };
    let mut lines = Vec::new();
    for word in script.split_whitespace() {
        let begin = format!("{} {word}:", world.at);
        let effects = world.run(word);
        lines.push(format!("{begin} {}", effects.join(", ")).trim_end().to_owned());
    }
    expected.assert_eq(&lines.join("\n"));
}

impl World {
    fn run(&mut self, word: &'static str) -> Vec<String> {
        if let Some(offset) = word.strip_prefix('|') {
            self.at = KafkaOffset(number(offset));
            return Vec::new();
        }
        if word.starts_with('R') {
            return self.restart(word == "R-");
        }
        let event = match word {
            "yes" | "no" => {
                self.verdicts.insert(self.at.previous(), word);
                self.verdict(word, self.at.previous())
            }
            "@" => Event::Timer,
            "up" => Event::CaughtUp,
            "+" | "+2" | "+old" => {
                self.rules.sequence.0 += 1;
                self.rules.limits.max_message_count = if word == "+2" { 2 } else { 3 };
                self.rules.resubmission = word != "+old";
                let last = self.blocks.len() - 1;
                self.blocks[last].1 = self.rules;
                Event::Configured(self.rules)
            }
            _ if word.starts_with('x') && word.len() > 1 => Event::TimeToCutFailed(BlockNumber(number(&word[1..]))),
            _ if word.starts_with('>') => {
                let from = self.at;
                self.at = KafkaOffset(number(&word[1..]));
                Event::NoRecords { from, until: self.at }
            }
            _ => {
                let (offset, record) = (self.at, self.record(word));
                self.topic.insert(offset, record.clone());
                self.at = offset.next();
                Event::Record { offset, record }
            }
        };
        self.step(event)
    }

    fn record(&self, word: &'static str) -> Record {
        let (rest, original) = match word.split_once('<') {
            Some((rest, offset)) => (rest, Some(KafkaOffset(number(offset)))),
            None => (word, None),
        };
        let (rest, is_stale) = rest.strip_prefix('?').map_or((rest, false), |rest| (rest, true));
        let regular = |class, envelope| {
            let config_sequence = ConfigSequence(self.rules.sequence.0 - u64::from(is_stale));
            Record::Regular(RegularMessage { class, envelope, config_sequence, original_offset: original })
        };
        match rest.as_bytes() {
            b"hi" => Record::Connect,
            b"bad" => Record::decode(Some(Bytes::from_static(b"garbage"))),
            b"null" => Record::decode(None),
            [b't', block @ ..] if !block.is_empty() => {
                Record::TimeToCut(BlockNumber(number(std::str::from_utf8(block).expect("a number"))))
            }
            [b'~', b'^', name] => regular(RecordClass::Unknown, with_header(*name, HeaderType::ConfigUpdate)),
            [b'~', b'!', name] => regular(RecordClass::Unknown, with_header(*name, HeaderType::Config)),
            [b'~', b'-'] => regular(RecordClass::Unknown, envelope(b'-')),
            [b'~', name] => regular(RecordClass::Unknown, with_header(*name, HeaderType::EndorserTransaction)),
            [b'*', name] => regular(RecordClass::Other(7), envelope(*name)),
            [b'!', name] => regular(RecordClass::Config, envelope(*name)),
            [name] => regular(RecordClass::Normal, envelope(*name)),
            _ => panic!("cannot read {word}"),
        }
    }

    /// Returns a verdict. Each orderer creates a revalidated config message again, so its name gets a prime.
    fn verdict(&self, word: &str, offset: KafkaOffset) -> Event {
        if word == "no" {
            return Event::Revalidated(RevalidationResult::Invalid(Rejection::Empty));
        }
        let Some(Record::Regular(regular)) = self.topic.get(&offset) else { panic!("nothing to judge at {offset}") };
        let envelope = if regular.class == RecordClass::Config {
            SignedEnvelope::from_parts([name(&regular.envelope).as_bytes(), b"'"].concat().into(), Bytes::new())
        } else {
            regular.envelope.clone()
        };
        Event::Revalidated(RevalidationResult::Valid { envelope, sequence: self.rules.sequence })
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        let effects = self.machine.step(event);
        for effect in &effects {
            let (number, metadata, is_config, envelopes) = match effect {
                Effect::WriteBlock { number, envelopes, metadata } => (*number, *metadata, false, &envelopes[..]),
                Effect::WriteConfigBlock { number, envelope, metadata } => {
                    (*number, *metadata, true, std::slice::from_ref(envelope))
                }
                _ => continue,
            };
            let size_bytes = envelopes.iter().map(SignedEnvelope::size_bytes).sum();
            let last = LastBlock { number, metadata, is_config, envelopes: envelopes.len(), size_bytes };
            assert_eq!(number, self.blocks[self.blocks.len() - 1].0.number.next());
            self.blocks.push((last, self.rules));
        }
        effects.iter().map(show).collect()
    }

    fn restart(&mut self, last_block_is_lost: bool) -> Vec<String> {
        if last_block_is_lost {
            self.blocks.pop();
        }
        let (last, rules) = self.blocks[self.blocks.len() - 1];
        self.rules = rules;
        self.machine = KafkaMachine::resume(last, rules);
        let mut lines = Vec::new();
        let from =
            last.resume_offset(TopicBounds { earliest: KafkaOffset::FIRST, end: self.at }).expect("within the topic");
        let again: Vec<_> = self.topic.range(from..).map(|(offset, record)| (*offset, record.clone())).collect();
        for (offset, record) in again {
            let next = self.machine.next_offset();
            self.machine.step(Event::NoRecords { from: next, until: offset });
            let mut effects = self.step(Event::Record { offset, record });
            if let Some(word) = self.verdicts.get(&offset) {
                effects.extend(self.step(self.verdict(word, offset)));
            }
            if !effects.is_empty() {
                lines.push(format!("{offset} ({})", effects.join(", ")));
            }
        }
        lines
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn envelope(name: u8) -> SignedEnvelope {
    let size = match name {
        b'A'..=b'Z' => 101,
        b'0'..=b'9' => 70,
        _ => 30,
    };
    SignedEnvelope::from_parts(vec![name; size - 1].into(), "s".into())
}

fn with_header(name: u8, header_type: HeaderType) -> SignedEnvelope {
    let channel_header = ChannelHeader { r#type: header_type as i32, ..ChannelHeader::default() };
    let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    let payload = Payload { header: Some(header), data: vec![name].into() };
    SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::new())
}

fn name(envelope: &SignedEnvelope) -> String {
    let data =
        ParsedEnvelope::parse(envelope.clone()).map_or_else(|_| envelope.payload().clone(), |message| message.data);
    let prime = if data.get(1) == Some(&b'\'') { "'" } else { "" };
    format!("{}{prime}", char::from(data[0]))
}

fn show(effect: &Effect) -> String {
    let kept = |m: &KafkaMetadata| {
        let (persisted, processed) = (m.last_offset_persisted, m.last_original_offset_processed);
        format!("{{{persisted} {processed} {}}}", m.last_resubmitted_config_offset)
    };
    match effect {
        Effect::Revalidate { envelope, is_config: false } => format!("recheck {}", name(envelope)),
        Effect::Revalidate { envelope, is_config: true } => format!("recheck config {}", name(envelope)),
        Effect::WriteBlock { number, envelopes, metadata } => {
            let names: String = envelopes.iter().map(name).collect();
            format!("block {number}: {names} {}", kept(metadata))
        }
        Effect::WriteConfigBlock { number, envelope, metadata } => {
            format!("config block {number}: {} {}", name(envelope), kept(metadata))
        }
        Effect::Resubmit(RegularMessage { envelope, config_sequence, original_offset, class }) => {
            let original = original_offset.map_or("nowhere".to_owned(), |offset| offset.to_string());
            format!("resubmit {class:?} {} from {original} at sequence {config_sequence}", name(envelope))
        }
        Effect::TimeToCut(block) => format!("ask for block {block}"),
        Effect::CloseIngress => "block ingress".to_owned(),
        Effect::OpenIngress => "unblock ingress".to_owned(),
        Effect::ArmTimer => "arm".to_owned(),
        Effect::DisarmTimer => "disarm".to_owned(),
        Effect::Skip { reason: SkipReason::AlreadyTaken, .. } => "again".to_owned(),
        Effect::Skip { offset, reason } => format!("skip {offset}: {reason}"),
        Effect::Fail(failure) => format!("fail: {failure}"),
    }
}
