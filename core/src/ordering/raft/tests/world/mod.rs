//! Simulates a cluster of chains in virtual time. Messages are lost, delayed and duplicated; nodes are disconnected,
//! and crash with writes pending; consenters are added, removed and get other certificates. After each tick all ledgers
//! must be prefixes of one chain; in the end, the chain must contain everything that was acknowledged. A run is
//! repeatable from its seed.

mod control;
mod node;
mod surroundings;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fabric_proto::common::HeaderType;
use fabric_proto::etcdraft::Options;
use fabric_proto::raftpb;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::*;
use crate::block::{data_hash, header_hash};
use crate::envelope::SignedEnvelope;
use crate::types::{BlockNumber, ChannelId, ConfigSequence};
use node::{Node, PendingWrite, consenter, rules};
pub(super) use node::{Stored, config_in, envelope, rules_of, who};

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
                Effect::Persist(write) => node.pending_writes.push_back(PendingWrite::Log(write)),
                Effect::SaveSnapshot { snapshot, trim } => {
                    node.pending_writes.push_back(PendingWrite::Snapshot(snapshot, trim));
                }
                Effect::WriteBlock(block) | Effect::WriteConfigBlock(block) => {
                    node.pending_writes.push_back(PendingWrite::Block(block));
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

    /// Checks that all ledgers belong to one chain.
    fn check(&self) {
        let longest = self.nodes.values().map(|node| &node.ledger).max_by_key(|ledger| ledger.len());
        let longest = longest.expect("nodes");
        for (name, node) in &self.nodes {
            let newest = node.ledger.last().expect("a genesis block");
            assert_eq!(newest.hash, longest[node.ledger.len() - 1].hash, "{name} has the same chain at {}", self.now);
        }
    }
}
