//! A machine in the place of a recorded orderer.
//!
//! The recording contains the messages that arrived and those that were sent. It does not say when ticks passed, when a
//! client's envelopes arrived, or which of two nodes' messages was processed first, so these are [`Choice`]s. Whatever
//! is chosen, every message that the machine sends is compared byte for byte with the next recorded one to that node,
//! and every block with the recorded one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Block, HeaderType};
use fabric_proto::raftpb::{Entry, EntryType, MessageType};
use orderer_core::envelope::{self, SignedEnvelope};
use orderer_core::ordering::raft::{
    AcknowledgePoint, EnvelopeOrigin, Event, InitialState, LogContents, LogWrite, RaftMachine, Role, SubmittedEnvelope,
    first_log,
};
use orderer_core::types::{BlockNumber, ChannelId, ConfigSequence};

use crate::chain::{Chain, number_of};
use crate::comparing::shown;
use crate::script::{Item, Run};

/// Seed of the election timeouts. The moment of a campaign is the recorded one.
const SEED: u64 = 3;
/// The recorded channel's `ElectionTick`.
const ELECTION_TICKS: usize = 10;
/// Origin of forwarded envelopes: another consenter, which keeps them. The machine would itself resend a client's
/// envelope.
const ELSEWHERE: EnvelopeOrigin = EnvelopeOrigin::Consenter(u64::MAX);

/// An event that may have happened next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next message of this node was processed.
    Receive(u64),
    /// The next message of this node was processed, an election timeout after the leader's last message.
    ReceiveLate(u64),
    /// A client's envelope was forwarded.
    Submit,
    /// The leader's heartbeats were due.
    Tick,
    /// A block was proposed.
    Propose,
    /// A config message that removes the leader arrived.
    HandOver,
    /// The leader was silent for an election timeout.
    Campaign,
    /// Pending writes reached the disk.
    Written,
    /// The leader has applied a config block.
    Applied,
    /// The process ended.
    End,
}

/// A step, and the speed of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) step: Step,
    /// Whether the disk is slow: messages that wait for it are sent after the following ones.
    pub(crate) slow_disk: bool,
}

impl Choice {
    fn of(step: Step) -> Self {
        Self { step, slow_disk: false }
    }
}

/// Numbers of what was compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Messages, by type.
    pub(crate) messages: BTreeMap<&'static str, u64>,
    /// Forwarded envelopes.
    pub(crate) forwarded: u64,
    /// Blocks written when their entries were applied.
    pub(crate) written: u64,
    /// Blocks replicated from other orderers.
    pub(crate) copied: u64,
    /// Blocks proposed by the machine.
    pub(crate) proposed: u64,
    /// Campaigns.
    pub(crate) campaigns: u64,
    /// Messages without a stream, or lost with it.
    pub(crate) lost: u64,
}

#[derive(Clone)]
pub(crate) struct Player<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) runs: &'a [Run],
    pub(crate) node: u64,
    pub(crate) run: usize,
    pub(crate) machine: Option<RaftMachine>,
    pub(crate) disk: LogContents,
    /// Writes that have not reached the disk.
    pub(crate) unwritten: VecDeque<LogWrite>,
    pub(crate) tip: u64,
    /// Number of processed messages, by node.
    pub(crate) received: BTreeMap<u64, usize>,
    /// Number of sent messages, by ID.
    pub(crate) sent: BTreeMap<u64, usize>,
    pub(crate) submitted: usize,
    /// Active nodes that were reported to an ID before the tick at which the machine reports them.
    pub(crate) told_early: BTreeMap<u64, (BTreeSet<u64>, usize)>,
    pub(crate) timer: bool,
    /// The node is no longer a consenter. Fabric's orderers still send what is due.
    pub(crate) is_removed: bool,
    /// The config block that the leader is applying.
    pub(crate) applying: Option<u64>,
    /// The block whose config message is being validated.
    pub(crate) examined: u64,
    /// Position in the recording.
    pub(crate) now: usize,
    pub(crate) choice: Choice,
    pub(crate) tally: Tally,
}

impl<'a> Player<'a> {
    /// Creates a player. A first consenter of the channel has its genesis block; any other node joins later.
    pub(crate) fn new(node: u64, chain: &'a Chain, runs: &'a [Run]) -> Self {
        let (members, _) = chain.members(0);
        let is_first = members.ids().any(|id| id == node);
        let mut player = Self {
            chain,
            runs,
            node,
            run: 0,
            machine: None,
            disk: if is_first { first_log(&members) } else { LogContents::default() },
            unwritten: VecDeque::new(),
            tip: 0,
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            submitted: 0,
            told_early: BTreeMap::new(),
            timer: false,
            is_removed: false,
            applying: None,
            examined: 0,
            now: 0,
            choice: Choice::of(Step::End),
            tally: Tally::default(),
        };
        if is_first {
            player.start(node).expect("a first start sends nothing");
        }
        player
    }

    pub(crate) fn script(&self) -> &'a Run {
        &self.runs[self.run]
    }

    pub(crate) fn is_done(&self) -> bool {
        self.run == self.runs.len()
    }

    /// Returns the progress: the number of processed and sent messages, with the run in the upper bits.
    pub(crate) fn progress(&self) -> usize {
        let taken: usize = self.received.values().chain(self.sent.values()).sum();
        (self.run << 20) + taken + self.submitted
    }

    /// Returns the state that later steps depend on, to recognize equal states.
    pub(crate) fn state(&mut self) -> String {
        let status = self.machine.as_mut().map(|machine| machine.status().unwrap());
        let taken = (self.run, &self.received, &self.sent, self.submitted, self.unwritten.len(), self.applying);
        format!("{taken:?} {status:?}")
    }

    /// Describes the state for error texts.
    pub(crate) fn describe(&mut self) -> String {
        let heads: Vec<_> = self.heads().map(|item| (item.at, shown(&item.message))).collect();
        let status = self.machine.as_mut().map(|machine| machine.status().unwrap().raft);
        format!(
            "node {} in run {} at record {}, block {}: {status:?}; recorded next: {heads:?}",
            self.node, self.run, self.now, self.tip
        )
    }

    /// Restores the machine from disk as the consenter of this ID.
    fn start(&mut self, id: u64) -> Result<(), String> {
        let block = self.chain.block(self.tip);
        let (members, _) = self.chain.members(self.tip);
        let start = InitialState {
            channel: ChannelId::parse("ch").unwrap(),
            number: BlockNumber(self.tip),
            header_hash: *block.encoded.header_hash(),
            metadata: block.metadata.clone(),
            rules: block.configuration.rules.clone(),
            options: block.configuration.options.clone(),
            place: members.ids().position(|listed| listed == id).ok_or("it is no consenter")?,
            pending: Vec::new(),
            next_sequence: 0,
            acknowledge: AcknowledgePoint::Durable,
            suspicion_ticks: u64::MAX,
            seed: SEED,
        };
        let mut machine = RaftMachine::restore(start, self.disk.clone(), self.tip == 0).map_err(|e| e.to_string())?;
        let effects = machine.start().map_err(|e| e.to_string())?;
        self.machine = Some(machine);
        self.perform_all(effects)
    }

    /// Returns the next recorded message to each ID.
    fn heads(&self) -> impl Iterator<Item = &'a Item> {
        let script = self.runs.get(self.run);
        let sent = self.sent.clone();
        let queues = script.into_iter().flat_map(|script| &script.sent);
        queues.filter_map(move |(id, queue)| queue.get(sent.get(id).copied().unwrap_or(0)))
    }

    pub(crate) fn next_received(&self, peer: u64) -> Option<&'a Item> {
        self.script().received.get(&peer)?.get(self.received.get(&peer).copied().unwrap_or(0))
    }

    /// Returns the events that may have happened next, the likeliest first.
    pub(crate) fn choices(&mut self) -> VecDeque<Choice> {
        let script = self.script();
        let heads: Vec<&Item> = self.heads().collect();
        let frontier = heads.iter().map(|item| item.at).min().unwrap_or(usize::MAX);
        // a message that was sent before another one arrived was created before that one was processed
        let peers = script.received.keys();
        let mut waiting: Vec<_> = peers
            .filter_map(|&peer| Some((self.next_received(peer)?, peer)))
            .filter(|(m, _)| m.at < frontier)
            .collect();
        waiting.sort_by_key(|(item, _)| item.at);
        let first = waiting.first().map_or(frontier, |(item, _)| item.at);
        if script.submits.get(self.submitted).is_some_and(|submit| submit.at < first.min(frontier)) {
            return VecDeque::from([Choice::of(Step::Submit)]);
        }
        let mut steps = Vec::new();
        let status = self.machine.as_mut().map(|machine| machine.status().unwrap().raft);
        for (item, peer) in &waiting {
            let asks = matches!(item.message.r#type(), MessageType::MsgPreVote | MessageType::MsgVote);
            let hears_leader = status.as_ref().is_some_and(|status| status.leader.is_some());
            if asks && hears_leader && item.message.context.is_none() {
                steps.push(Step::ReceiveLate(*peer));
            }
            steps.push(Step::Receive(*peer));
        }
        let next = |kind: MessageType| heads.iter().any(|item| item.message.r#type() == kind);
        if self.applying.is_some() {
            let changes = |entry: &Entry| {
                entry.r#type() == EntryType::EntryConfChange
                    && status.as_ref().is_some_and(|status| entry.index == status.last + 1)
            };
            let is_next = heads.iter().flat_map(|item| &item.message.entries).any(changes);
            steps.insert(if is_next { 0 } else { steps.len() }, Step::Applied);
        }
        if let Some(status) = status {
            let leads = status.role == Role::Leader;
            if leads && self.next_block(status.last + 1).is_some() {
                steps.push(Step::Propose);
            }
            if leads && next(MessageType::MsgHeartbeat) {
                steps.push(Step::Tick);
            }
            if leads && next(MessageType::MsgTimeoutNow) && status.transferee.is_none() {
                steps.push(Step::HandOver);
            }
            if !leads && next(MessageType::MsgPreVote) {
                steps.push(Step::Campaign);
            }
        }
        if steps.is_empty() && heads.is_empty() && self.submitted == script.submits.len() {
            steps.push(Step::End);
        }
        if !self.unwritten.is_empty() {
            steps.push(Step::Written);
        }
        let mut choices: VecDeque<_> = steps.into_iter().map(Choice::of).collect();
        if self.unwritten.is_empty() && next(MessageType::MsgHeartbeatResp) {
            let entries = waiting.iter().filter(|(item, _)| item.message.r#type() == MessageType::MsgApp);
            let slow = |(_, peer): &(_, u64)| Choice { slow_disk: true, ..Choice::of(Step::Receive(*peer)) };
            choices.extend(entries.map(slow));
        }
        choices
    }

    /// Returns the recorded entry of this index, if it is the next one and contains a block.
    fn next_block(&self, index: u64) -> Option<&'a Entry> {
        let entries = self.heads().flat_map(|item| &item.message.entries);
        let holds_block =
            |entry: &&Entry| entry.index == index && entry.r#type() == EntryType::EntryNormal && entry.data.is_some();
        entries.into_iter().find(holds_block)
    }

    /// Takes a step.
    ///
    /// # Errors The machine does something else than the recorded orderer.
    pub(crate) fn take(&mut self, choice: Choice) -> Result<(), String> {
        self.choice = choice;
        let outcome = self.take_step(choice.step);
        if std::mem::take(&mut self.is_removed) {
            self.machine = None;
        }
        outcome
    }

    fn take_step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Receive(peer) => self.receive(peer),
            Step::ReceiveLate(peer) => {
                for _ in 0..ELECTION_TICKS {
                    self.feed(Event::Tick)?;
                }
                self.receive(peer)
            }
            Step::Submit => self.submit(),
            Step::Tick => self.feed(Event::Tick),
            Step::Propose => self.propose(),
            Step::HandOver => self.hand_over(),
            Step::Campaign => self.campaign(),
            Step::Written => self.written(),
            Step::Applied => self.meaning().map_or(Ok(()), |event| self.feed(event)),
            Step::End => self.end(),
        }
    }

    fn receive(&mut self, peer: u64) -> Result<(), String> {
        let item = self.next_received(peer).ok_or("nothing came in")?;
        *self.received.entry(peer).or_default() += 1;
        self.now = self.now.max(item.at);
        let (to, from) = (item.message.to, item.message.from);
        if self.machine.is_none() {
            // a follower of the channel pulls the blocks up to the one that makes it a consenter
            let begins = self.chain.first_with(to);
            self.tally.copied += begins.saturating_sub(self.tip);
            self.tip = self.tip.max(begins);
            self.start(to)?;
        }
        self.feed(Event::Message { from, message: Box::new(item.message.clone()), metadata: item.metadata.clone() })
    }

    /// Submits a client's envelope, which has to be forwarded to the recorded node.
    fn submit(&mut self) -> Result<(), String> {
        let submit = &self.script().submits[self.submitted];
        let before = self.submitted;
        let sequence = self.chain.block(self.tip).configuration.rules.sequence;
        // it may have been validated just before the newest configuration
        if submit.sequence > sequence.0 || submit.sequence + 1 < sequence.0 {
            return Err(format!("an envelope was forwarded under configuration {}, not {sequence}", submit.sequence));
        }
        self.order(&submit.envelope, ConfigSequence(submit.sequence))?;
        if self.submitted == before { Err("an envelope was not forwarded".to_owned()) } else { Ok(()) }
    }

    fn order(&mut self, raw: &Bytes, validated_at: ConfigSequence) -> Result<(), String> {
        let envelope = SignedEnvelope::parse(raw.clone()).map_err(|e| e.to_string())?;
        let kind = envelope::ParsedEnvelope::parse(envelope.clone()).map_err(|e| e.to_string())?.channel_header.r#type;
        let is_config = kind == HeaderType::Config as i32;
        self.feed(Event::Order(SubmittedEnvelope { envelope, validated_at, is_config, origin: ELSEWHERE }))
    }

    fn last(&mut self) -> u64 {
        self.machine.as_mut().map_or(0, |machine| machine.status().unwrap().raft.last)
    }

    /// Submits the envelopes of the next recorded block. If they do not fill a block, the batch timer fires.
    fn propose(&mut self) -> Result<(), String> {
        let index = self.last() + 1;
        let entry = self.next_block(index).ok_or("no block")?;
        let block = Block::decode(entry.data.clone().unwrap()).unwrap();
        self.examined = number_of(&block).0;
        let sequence = self.chain.block(self.tip).configuration.rules.sequence;
        for raw in &block.data.unwrap().data {
            if self.last() >= index {
                return Err("it cut a block too early".to_owned());
            }
            self.order(raw, sequence)?;
        }
        if self.last() < index && std::mem::take(&mut self.timer) {
            self.feed(Event::Timer)?;
        }
        self.tally.proposed += 1;
        if self.last() == index { Ok(()) } else { Err("it does not propose the block".to_owned()) }
    }

    fn hand_over(&mut self) -> Result<(), String> {
        self.examined = self.chain.next_config(self.tip).ok_or("no config block follows")?;
        let data = self.chain.block(self.examined).decoded.data.clone().unwrap().data;
        self.order(&data[0], self.chain.block(self.tip).configuration.rules.sequence)
    }

    /// Starts a campaign at the recorded moment, at the latest after the longest election timeout.
    fn campaign(&mut self) -> Result<(), String> {
        for _ in 0..2 * ELECTION_TICKS {
            if self.machine.as_mut().unwrap().status().unwrap().raft.role == Role::PreCandidate {
                break;
            }
            self.feed(Event::Tick)?;
        }
        self.tally.campaigns += 1;
        Ok(())
    }

    fn written(&mut self) -> Result<(), String> {
        while let Some(write) = self.unwritten.pop_front() {
            let number = write.number;
            keep(&mut self.disk, write);
            self.feed(Event::Persisted(number))?;
        }
        Ok(())
    }

    pub(crate) fn meaning(&mut self) -> Option<Event> {
        let number = self.applying.take()?;
        Some(Event::Applied(Some(self.chain.block(number).configuration.rules.clone())))
    }

    fn end(&mut self) -> Result<(), String> {
        self.unwritten.clear();
        self.applying = None;
        self.told_early.clear();
        self.run += 1;
        (self.received, self.sent, self.submitted) = (BTreeMap::new(), BTreeMap::new(), 0);
        self.timer = false;
        match self.machine.take() {
            Some(machine) if !self.is_done() => self.start(machine.id()),
            _ => Ok(()),
        }
    }

    pub(crate) fn feed(&mut self, event: Event) -> Result<(), String> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        let effects = machine.step(event).map_err(|failed| failed.to_string())?;
        self.perform_all(effects)
    }
}

pub(crate) fn keep(disk: &mut LogContents, write: LogWrite) {
    if let Some(snapshot) = write.snapshot {
        disk.entries.clear();
        disk.snapshot = Some(snapshot);
    }
    if let Some(first) = write.entries.first() {
        disk.entries.retain(|entry| entry.index < first.index);
        disk.entries.extend(write.entries);
    }
    if let Some(state) = write.hard_state {
        disk.hard_state = state;
    }
}
