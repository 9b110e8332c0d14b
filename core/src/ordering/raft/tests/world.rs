//! Simulates a cluster of chains in virtual time. Messages are lost, delayed and duplicated; nodes are disconnected,
//! and crash with writes pending; consenters are added, removed and get other certificates. After each tick all ledgers
//! must be prefixes of one chain; in the end, the chain must contain everything that was acknowledged. A run is
//! repeatable from its seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload};
use fabric_proto::etcdraft::{Consenter, Options};
use fabric_proto::raftpb;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::*;
use crate::block::{Hash, data_hash, header_hash};
use crate::envelope::{self, SignedEnvelope};
use crate::ordering::block_cutter::BatchLimits;
use crate::types::{BlockNumber, ChannelId, ConfigSequence};

const LIMITS: BatchLimits = BatchLimits { max_message_count: 4, preferred_max_bytes: 4000 };
const BATCH_TICKS: u64 = 2;
const ELECTION: u32 = 10;

/// Random numbers that the seed determines.
pub(super) struct Dice(StdRng);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0.random_range(0..limit)
    }

    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

#[derive(Clone)]
pub(super) struct Stored {
    hash: Hash,
    pub(super) envelopes: Vec<Bytes>,
    metadata: Bytes,
}

/// Pending writes of a node's disk, in their order.
enum OnItsWay {
    Log(LogWrite),
    Snapshot(Box<raftpb::Snapshot>, u64),
    Block(NewBlock),
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(super) struct Node {
    machine: Option<RaftMachine>,
    pub(super) ledger: Vec<Stored>,
    log: LogContents,
    /// Acknowledged, durable, and in no block of this ledger.
    pub(super) pending: BTreeMap<u64, Bytes>,
    next_sequence: u64,
    /// Envelopes whose senders have no response yet.
    unanswered: BTreeMap<u64, Bytes>,
    on_its_way: VecDeque<OnItsWay>,
    timer: Option<u64>,
    cut_off: bool,
    /// Whether its disk completes no write.
    stalled: bool,
    /// Whether its disk is lost, and the node with it.
    lost: bool,
    /// Work of other threads: the tick at which it completes, and its event.
    elsewhere: VecDeque<(u64, Event)>,
    removed: bool,
}

enum Parcel {
    Raft { from: u64, message: Box<raftpb::Message>, metadata: Bytes },
    Submit { from: u64, submission: Box<SubmittedEnvelope> },
}

pub(super) struct World {
    pub(super) dice: Dice,
    now: u64,
    faults: bool,
    acknowledge: AcknowledgePoint,
    pub(super) nodes: BTreeMap<String, Node>,
    wire: Vec<(u64, String, Parcel)>,
    pub(super) acknowledged: BTreeSet<Bytes>,
    pub(super) sent: u64,
    pub(super) kills: u64,
    /// Number of forwarded envelopes, by receiver.
    pub(super) forwarded: BTreeMap<String, usize>,
    configs: u64,
}

fn consenter(name: &str) -> Consenter {
    let certificate = Bytes::from(format!("certificate of {name}"));
    Consenter { host: name.to_owned(), port: 1, client_tls_cert: certificate.clone(), server_tls_cert: certificate }
}

pub(super) fn envelope(kind: HeaderType, data: &str) -> SignedEnvelope {
    let header = ChannelHeader { r#type: kind as i32, channel_id: "sim".into(), ..Default::default() };
    let header = Header { channel_header: header.encode_to_vec().into(), signature_header: Bytes::new() };
    let payload = Payload { header: Some(header), data: Bytes::from(data.to_owned()) };
    SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::from_static(b"signature"))
}

/// Returns the configuration sequence that a config message was made under, and the names in it.
pub(super) fn config_in(raw: &Bytes) -> Option<(u64, Vec<String>)> {
    let message = envelope::ParsedEnvelope::parse(SignedEnvelope::parse(raw.clone()).ok()?).ok()?;
    let is_config = message.channel_header.r#type == HeaderType::Config as i32;
    let text = String::from_utf8(message.data.to_vec()).ok()?;
    let (sequence, names) = text.split_once(' ')?;
    is_config.then(|| Some((sequence.parse().ok()?, names.split(' ').map(str::to_owned).collect())))?
}

fn rules(names: &[String], sequence: u64) -> OrderingConfig {
    let consenters = names.iter().map(|name| consenter(name)).collect();
    OrderingConfig { sequence: ConfigSequence(sequence), limits: LIMITS, consenters, snapshot_bytes: 1500 }
}

pub(super) fn rules_of(ledger: &[Stored]) -> (Vec<String>, OrderingConfig) {
    let configs: Vec<_> = ledger.iter().filter_map(|block| config_in(block.envelopes.first()?)).collect();
    let names = configs.last().cloned().unwrap_or_default().1;
    (names.clone(), rules(&names, configs.len() as u64))
}

/// Returns the name without the marks that count how often the consenter's certificate was replaced.
pub(super) fn who(name: &str) -> String {
    name.split('\'').next().unwrap_or_default().to_owned()
}

impl World {
    pub(super) fn new(seed: u64, names: &[&str]) -> Self {
        Self::acknowledging(AcknowledgePoint::Durable, seed, names)
    }

    pub(super) fn acknowledging(acknowledge: AcknowledgePoint, seed: u64, names: &[&str]) -> Self {
        let genesis = envelope(HeaderType::Config, &format!("0 {}", names.join(" "))).raw().clone();
        let hash = header_hash(0, &[], &data_hash([genesis.as_ref()]));
        let genesis = Stored { hash, envelopes: vec![genesis], metadata: Bytes::new() };
        let mut world = Self {
            dice: Dice(StdRng::seed_from_u64(seed)),
            now: 0,
            faults: true,
            acknowledge,
            nodes: BTreeMap::new(),
            wire: Vec::new(),
            acknowledged: BTreeSet::new(),
            sent: 0,
            kills: 0,
            forwarded: BTreeMap::new(),
            configs: 0,
        };
        for name in names {
            let members = ConsenterSet::first(&names.iter().map(|name| consenter(name)).collect::<Vec<_>>());
            let node = Node { ledger: vec![genesis.clone()], log: first_log(&members), ..Node::default() };
            world.nodes.insert((*name).to_owned(), node);
            world.start(name);
        }
        world
    }

    pub(super) fn start(&mut self, name: &str) {
        let seed = self.dice.below(1 << 30);
        let Some(node) = self.nodes.get_mut(name) else { return };
        let (names, rules) = rules_of(&node.ledger);
        let Some(place) = names.iter().position(|listed| who(listed) == name) else { return };
        let newest = node.ledger.last().expect("a genesis block").clone();
        let number = BlockNumber(node.ledger.len() as u64 - 1);
        let ordered: BTreeSet<&Bytes> = node.ledger.iter().flat_map(|block| &block.envelopes).collect();
        let pending =
            node.pending.iter().filter(|(_, raw)| !ordered.contains(raw)).map(|(&sequence, raw)| SubmittedEnvelope {
                envelope: SignedEnvelope::parse(raw.clone()).expect("an envelope"),
                validated_at: ConfigSequence(0),
                is_config: config_in(raw).is_some(),
                origin: EnvelopeOrigin::Local(sequence),
            });
        let start = InitialState {
            channel: ChannelId::parse("sim").expect("a name"),
            number,
            header_hash: newest.hash,
            metadata: newest.metadata,
            rules,
            options: Options {
                tick_interval: "500ms".into(),
                election_tick: ELECTION,
                heartbeat_tick: 1,
                max_inflight_blocks: 5,
                snapshot_interval_size: 0,
            },
            place,
            pending: pending.collect(),
            next_sequence: node.next_sequence,
            acknowledge: self.acknowledge,
            suspicion_ticks: 20 * u64::from(ELECTION),
            seed,
        };
        let new = number == BlockNumber::GENESIS;
        let mut machine = RaftMachine::restore(start, node.log.clone(), new).expect("ledger and log fit");
        let effects = machine.start().expect("it starts");
        node.machine = Some(machine);
        self.perform(name, effects);
    }

    fn id_of(&self, name: &str) -> Option<u64> {
        Some(self.nodes.get(name)?.machine.as_ref()?.id())
    }

    fn step(&mut self, name: &str, event: Event) {
        let Some(machine) = self.nodes.get_mut(name).and_then(|node| node.machine.as_mut()) else { return };
        let effects = machine.step(event).unwrap_or_else(|failed| panic!("{name} at {}: {failed}", self.now));
        self.perform(name, effects);
    }

    fn perform(&mut self, name: &str, effects: Vec<Effect>) {
        for effect in effects {
            let own = self.id_of(name).unwrap_or_default();
            let later = self.now + self.dice.below(3);
            let unreachable = matches!(&effect, Effect::Forward { to, .. } if self.is_unreachable(name, *to));
            let Some(node) = self.nodes.get_mut(name) else { return };
            match effect {
                Effect::Persist(write) => node.on_its_way.push_back(OnItsWay::Log(write)),
                Effect::SaveSnapshot { snapshot, trim } => {
                    node.on_its_way.push_back(OnItsWay::Snapshot(snapshot, trim));
                }
                Effect::WriteBlock(block) | Effect::WriteConfigBlock(block) => {
                    node.on_its_way.push_back(OnItsWay::Block(block));
                }
                Effect::Send { to, message, metadata } => {
                    assert_eq!(message.from, own, "{name} sends as itself");
                    let is_snapshot = message.snapshot.is_some();
                    self.post(name, to, |from| Parcel::Raft {
                        from,
                        message: message.clone(),
                        metadata: metadata.clone(),
                    });
                    if is_snapshot {
                        self.step(name, Event::SnapshotSent { to, sent: true });
                    }
                }
                // the connection is refused
                Effect::Forward { submission, .. } if unreachable => {
                    node.elsewhere.push_front((0, Event::NotForwarded(*submission)));
                }
                Effect::Forward { to, submission } => {
                    if let Some(receiver) = self.name_of(name, to) {
                        *self.forwarded.entry(receiver).or_default() += 1;
                    }
                    self.post(name, to, |from| {
                        let origin = EnvelopeOrigin::Consenter(from);
                        Parcel::Submit {
                            from,
                            submission: Box::new(SubmittedEnvelope { origin, ..(*submission).clone() }),
                        }
                    });
                    if let (EnvelopeOrigin::Local(sequence), true) =
                        (submission.origin, self.acknowledge.follows_forwarding())
                        && let Some(node) = self.nodes.get_mut(name)
                    {
                        node.elsewhere.push_front((0, Event::Forwarded(sequence)));
                    }
                }
                Effect::Validate(submission) => {
                    let examined = node.judge(*submission);
                    // in less than a tick: a thousand validations take less
                    node.elsewhere.push_front((0, Event::Validated(examined)));
                }
                Effect::Revalidate(submissions) => {
                    for submission in submissions {
                        let EnvelopeOrigin::Local(sequence) = submission.origin else { panic!("only what is its own") };
                        let valid = match node.judge(submission) {
                            RevalidationResult::Valid { submission, .. } => Some(submission),
                            RevalidationResult::Invalid(_) => None,
                        };
                        node.elsewhere.push_back((later, Event::Revalidated { sequence, valid }));
                    }
                }
                Effect::Apply { envelope, .. } => {
                    let sequence = rules_of(&node.all_blocks()).1.sequence.0 + 1;
                    let (_, names) = config_in(envelope.raw()).expect("a config message");
                    node.elsewhere.push_back((later, Event::Applied(Some(rules(&names, sequence)))));
                }
                Effect::Acknowledge(sequences) => {
                    assert!(!self.acknowledge.keeps());
                    let answered = sequences.iter().filter_map(|sequence| node.unanswered.remove(sequence));
                    self.acknowledged.extend(answered);
                }
                Effect::Dropped(submission, _) => {
                    self.acknowledged.remove(submission.envelope.raw());
                }
                Effect::ArmTimer => node.timer = Some(self.now + BATCH_TICKS),
                Effect::DisarmTimer => node.timer = None,
                Effect::Connect(members) => self.invite(&members),
                Effect::Leader(_) => {}
                Effect::CatchUp { number } => self.catch_up(name, number),
                Effect::Suspect => self.suspect(name),
                Effect::Removed => node.removed = true,
            }
        }
    }

    /// Returns the name of the node that `at` knows by this Raft ID.
    fn name_of(&self, at: &str, id: u64) -> Option<String> {
        Some(who(&self.nodes[at].machine.as_ref()?.members().get(id)?.host))
    }

    /// Returns the leader, according to the first node that knows one.
    pub(super) fn leader(&self) -> Option<String> {
        self.nodes.iter().find_map(|(name, node)| self.name_of(name, node.machine.as_ref()?.leader()?))
    }

    /// Stops injecting faults.
    pub(super) fn calm(&mut self) {
        self.faults = false;
    }

    /// Whether the sender learns at once that a message cannot be delivered.
    fn is_unreachable(&self, from: &str, to: u64) -> bool {
        let Some(name) = self.name_of(from, to) else { return true };
        let is_gone = |node: &Node| node.machine.is_none() || node.cut_off;
        self.nodes[from].cut_off || self.nodes.get(&name).is_none_or(is_gone)
    }

    fn post(&mut self, from: &str, to: u64, parcel: impl Fn(u64) -> Parcel) {
        let own = self.id_of(from).unwrap_or_default();
        let Some(name) = self.name_of(from, to) else { return };
        let lost = self.faults && self.dice.one_in(25);
        if !lost {
            let mut arrives = self.now + self.dice.below(if self.faults { 4 } else { 1 });
            if let Parcel::Submit { .. } = parcel(own) {
                // one stream keeps its order
                let before = |(at, to, parcel): &(u64, String, Parcel)| {
                    (*to == name && matches!(parcel, Parcel::Submit { from, .. } if *from == own)).then_some(*at)
                };
                arrives = arrives.max(self.wire.iter().filter_map(before).max().unwrap_or_default());
            }
            self.wire.push((arrives, name.clone(), parcel(own)));
        }
        if self.faults && self.dice.one_in(60) && matches!(parcel(own), Parcel::Raft { .. }) {
            self.wire.push((self.now + self.dice.below(20), name, parcel(own)));
        }
    }

    /// Starts each added consenter with the blocks of another node.
    fn invite(&mut self, members: &ConsenterSet) {
        for (_, consenter) in members.iter() {
            let name = who(&consenter.host);
            if self.nodes.contains_key(&name) {
                continue;
            }
            let longest = self.nodes.values().max_by_key(|node| node.ledger.len()).map(|node| node.ledger.clone());
            let ledger = longest.unwrap_or_default();
            if rules_of(&ledger).0.iter().any(|listed| who(listed) == name) {
                self.nodes.insert(name.clone(), Node { ledger, ..Node::default() });
                self.start(&name);
            }
        }
    }

    /// Determines from the newest config block of the longest chain whether the node is a consenter.
    fn suspect(&mut self, name: &str) {
        let longest = self.nodes.values().map(|node| &node.ledger).max_by_key(|ledger| ledger.len()).expect("nodes");
        let is_config = |block: &Stored| block.envelopes.first().is_some_and(|raw| config_in(raw).is_some());
        let newest = longest.iter().rposition(is_config).expect("a genesis block");
        let is_member = rules_of(longest).0.iter().any(|listed| who(listed) == name);
        let later = self.now + 1 + self.dice.below(5);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if is_member {
            node.elsewhere.push_back((later, Event::Behind(BlockNumber(newest as u64))));
        } else {
            node.removed = true;
        }
    }

    fn catch_up(&mut self, name: &str, number: BlockNumber) {
        let longest = self.nodes.values().max_by_key(|node| node.ledger.len()).map(|node| node.ledger.clone());
        let later = self.now + 1 + self.dice.below(5);
        let Some(node) = self.nodes.get_mut(name) else { return };
        let blocks = longest.unwrap_or_default();
        let end = usize::try_from(number.0).expect("a small number") + 1;
        assert!(blocks.len() >= end, "somebody has a block that a snapshot stands for");
        // pending writes of blocks are dropped, because the pulled blocks include them
        for on_its_way in std::mem::take(&mut node.on_its_way) {
            if !matches!(on_its_way, OnItsWay::Block(_)) {
                node.on_its_way.push_back(on_its_way);
            }
        }
        node.ledger = blocks[..end].to_vec();
        let newest = node.ledger.last().expect("a block").clone();
        let (_, rules) = rules_of(&node.ledger);
        let (members, raft_index) = ConsenterSet::read(&newest.metadata, &rules.consenters).expect("they fit");
        node.elsewhere.push_back((later, Event::CaughtUp { number, hash: newest.hash, members, raft_index, rules }));
    }

    fn one_write(&mut self, name: &str) -> bool {
        let Some(node) = self.nodes.get_mut(name).filter(|node| !node.stalled) else { return false };
        let Some(next) = node.on_its_way.pop_front() else { return false };
        let event = match next {
            OnItsWay::Log(write) => {
                node.log.write(&write);
                Event::Persisted(write.number)
            }
            OnItsWay::Snapshot(snapshot, trim) => {
                node.log.entries.retain(|entry| entry.index > trim);
                node.log.snapshot = Some(*snapshot);
                return true;
            }
            OnItsWay::Block(block) => {
                assert_eq!(block.number.0, node.ledger.len() as u64, "{name} writes block after block");
                let previous = node.ledger.last().expect("a block").hash;
                let data = data_hash(block.envelopes.iter().map(|envelope| envelope.raw().as_ref()));
                assert_eq!(header_hash(block.number.0, &previous, &data), block.header_hash);
                let envelopes = block.envelopes.iter().map(|envelope| envelope.raw().clone()).collect();
                node.ledger.push(Stored { hash: block.header_hash, envelopes, metadata: block.metadata });
                node.pending.retain(|sequence, _| *sequence >= block.pending_below);
                Event::Durable(block.number)
            }
        };
        self.step(name, event);
        true
    }

    pub(super) fn tick(&mut self) {
        self.now += 1;
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in &names {
            for _ in 0..=self.dice.below(if self.faults { 4 } else { 12 }) {
                if !self.one_write(name) {
                    break;
                }
            }
            while let Some(node) = self.nodes.get_mut(name)
                && node.elsewhere.front().is_some_and(|(at, _)| *at <= self.now)
            {
                let Some((_, event)) = node.elsewhere.pop_front() else { break };
                self.step(name, event);
            }
            let due = |node: &mut Node, now| node.timer.take_if(|at| *at <= now).is_some();
            if self.nodes.get_mut(name).is_some_and(|node| due(node, self.now)) {
                self.step(name, Event::Timer);
            }
            self.step(name, Event::Tick);
            if self.nodes[name].removed && self.nodes[name].machine.is_some() {
                self.kill(name);
            }
        }
        let now = self.now;
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wire).into_iter().partition(|(at, ..)| *at <= now);
        self.wire = rest;
        for (_, name, parcel) in due {
            if self.nodes.get(&name).is_none_or(|node| node.cut_off) {
                continue;
            }
            match parcel {
                Parcel::Raft { from, message, metadata } => {
                    // like the transport: messages from unknown senders are rejected
                    let machine = self.nodes[&name].machine.as_ref();
                    let is_known = machine.is_some_and(|machine| machine.members().get(from).is_some());
                    if is_known && self.id_of(&name) == Some(message.to) {
                        self.step(&name, Event::Message { from, message, metadata });
                    }
                }
                Parcel::Submit { submission, .. } => self.step(&name, Event::Order(*submission)),
            }
        }
        self.check();
    }

    pub(super) fn kill(&mut self, name: &str) {
        self.kills += 1;
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.machine = None;
        // their senders see the connection end
        node.unanswered.clear();
        node.on_its_way.clear();
        node.elsewhere.clear();
        node.timer = None;
    }

    /// Makes a node transfer its leadership.
    pub(super) fn hand_over(&mut self, name: &str) {
        let machine = self.nodes.get_mut(name).and_then(|node| node.machine.as_mut()).expect("it is at work");
        let (_, effects) = machine.hand_over().unwrap_or_else(|failed| panic!("{name}: {failed}"));
        self.perform(name, effects);
    }

    /// Bounds the log of a node, and returns the bytes of the blocks in it.
    pub(super) fn limit_log(&mut self, name: &str, bytes: u64) -> usize {
        let node = self.nodes.get_mut(name).expect("a node");
        node.machine.as_mut().expect("it is at work").limit_log(bytes);
        node.log.entries.iter().filter_map(|entry| entry.data.as_ref()).map(Bytes::len).sum()
    }

    /// Disconnects a node from all others, or reconnects it.
    pub(super) fn cut_off(&mut self, name: &str, is_cut_off: bool) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.cut_off = is_cut_off;
        }
    }

    pub(super) fn stall(&mut self, name: &str) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.stalled = !node.stalled;
    }

    /// Removes a node for good, with its disk.
    pub(super) fn lose(&mut self, name: &str) {
        self.kill(name);
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.pending.clear();
        node.ledger.truncate(1);
        (node.log, node.lost) = (LogContents::default(), true);
    }

    /// Checks that all ledgers belong to one chain.
    fn check(&self) {
        let longest = self.nodes.values().map(|node| &node.ledger).max_by_key(|ledger| ledger.len());
        let longest = longest.expect("nodes");
        for (name, node) in &self.nodes {
            let newest = node.ledger.last().expect("a genesis block");
            assert_eq!(newest.hash, longest[node.ledger.len() - 1].hash, "{name} has the same chain at {}", self.now);
        }
    }

    pub(super) fn send(&mut self, name: &str, envelope: SignedEnvelope, is_config: bool) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.machine.is_none() || node.removed {
            return;
        }
        self.sent += 1;
        let sequence = node.next_sequence;
        node.next_sequence += 1;
        let kept = if self.acknowledge.keeps() { &mut node.pending } else { &mut node.unanswered };
        kept.insert(sequence, envelope.raw().clone());
        if self.acknowledge.keeps() {
            self.acknowledged.insert(envelope.raw().clone());
        }
        let validated_at = rules_of(&node.ledger).1.sequence;
        let submission =
            SubmittedEnvelope { envelope, validated_at, is_config, origin: EnvelopeOrigin::Local(sequence) };
        self.step(name, Event::Order(submission));
    }

    pub(super) fn some_node(&mut self) -> String {
        let place = self.dice.below(self.nodes.len() as u64);
        self.nodes.keys().nth(usize::try_from(place).expect("a small number")).expect("a node").clone()
    }

    pub(super) fn cause_trouble(&mut self) {
        let name = self.some_node();
        match self.dice.below(400) {
            0 | 1 => self.kill(&name),
            2..5 => {
                if let Some(node) = self.nodes.get_mut(&name) {
                    node.cut_off = !node.cut_off;
                }
            }
            5..25 if self.nodes[&name].may_start() => self.start(&name),
            _ => {}
        }
    }

    pub(super) fn change_consenters(&mut self) {
        let name = self.some_node();
        let (mut names, rules) = rules_of(&self.nodes[&name].ledger);
        let place = usize::try_from(self.dice.below(names.len() as u64)).expect("a small number");
        match self.dice.below(3) {
            0 if names.len() < 5 => names.push(format!("n{}", self.configs)),
            1 if names.len() > 3 => {
                names.remove(place);
            }
            _ => names[place].push('\''),
        }
        self.configs += 1;
        let text = format!("{} {}", rules.sequence, names.join(" "));
        self.send(&name, envelope(HeaderType::Config, &text), true);
    }

    /// Has the configuration name all consenters but one, by an update that is sent to `to`.
    pub(super) fn remove_consenter(&mut self, name: &str, to: &str) {
        let (mut names, rules) = rules_of(&self.nodes[to].ledger);
        names.retain(|known| who(known) != name);
        self.configs += 1;
        let text = format!("{} {}", rules.sequence, names.join(" "));
        self.send(to, envelope(HeaderType::Config, &text), true);
    }

    /// Returns whether a node's configuration does not name it; `None` if it runs no chain.
    pub(super) fn is_leaving(&self, name: &str) -> Option<bool> {
        self.nodes[name].machine.as_ref().map(RaftMachine::is_leaving)
    }

    pub(super) fn describe(&mut self, raw: &Bytes) -> String {
        let mut text = String::new();
        for (name, node) in &mut self.nodes {
            let waits: Vec<_> = node.pending.iter().filter(|(_, pending)| *pending == raw).map(|(at, _)| *at).collect();
            let status = node.machine.as_mut().map(RaftMachine::status);
            let _ = writeln!(text, "{name}: {} blocks, it waits at {waits:?}, {status:?}", node.ledger.len());
        }
        text
    }

    /// Stops all faults, restarts every node, and waits until everything acknowledged is ordered.
    pub(super) fn settle(&mut self) {
        self.faults = false;
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            node.cut_off = false;
            if node.may_start() {
                self.start(&name);
            }
        }
        for _ in 0..60 * u64::from(ELECTION) {
            self.tick();
        }
    }
}

impl Node {
    fn may_start(&self) -> bool {
        self.machine.is_none() && !self.removed && !self.lost
    }

    /// Validates an envelope: a config message is valid only under the configuration that it was made under; any other
    /// envelope is always valid.
    fn judge(&self, submission: SubmittedEnvelope) -> RevalidationResult {
        let validated_at = rules_of(&self.all_blocks()).1.sequence;
        let submission = SubmittedEnvelope { validated_at, ..submission };
        match config_in(submission.envelope.raw()) {
            Some((sequence, _)) if sequence != validated_at.0 => RevalidationResult::Invalid(submission),
            config => {
                let consenters = config.map(|(_, names)| names.iter().map(|name| consenter(name)).collect::<Vec<_>>());
                RevalidationResult::Valid { submission, consenters }
            }
        }
    }

    /// Returns the blocks of the ledger and those that are being written.
    fn all_blocks(&self) -> Vec<Stored> {
        let mut all = self.ledger.clone();
        for on_its_way in &self.on_its_way {
            if let OnItsWay::Block(block) = on_its_way {
                let envelopes = block.envelopes.iter().map(|envelope| envelope.raw().clone()).collect();
                all.push(Stored { hash: block.header_hash, envelopes, metadata: block.metadata.clone() });
            }
        }
        all
    }
}

impl LogContents {
    fn write(&mut self, write: &LogWrite) {
        if let Some(snapshot) = &write.snapshot {
            self.entries.clear();
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        if let Some(state) = write.hard_state {
            self.hard_state = state;
        }
    }
}
