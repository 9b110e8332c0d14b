//! The chain of one channel that etcdraft orders, as a state machine around the one of Raft.
//!
//! [`Machine::step`] takes an [`Event`] and gives back the [`Effect`]s that its caller performs, in their order. Raft's own
//! decisions come out of [`orderer_raft::Machine`]: what to write, to send and to apply. Here they become blocks. Four files share
//! the state: this one takes events and Raft's decisions, `applying` makes blocks of committed entries, `leading` cuts and proposes
//! blocks, and `restore` begins from what is on the disk.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use fabric_proto::raftpb;
use orderer_raft::{self as raft, MachineFailed, Ready, Role, SoftState, Status, StepError};

use super::acknowledge::{Acknowledge, Stage};
use super::active::ActiveNodes;
use super::applying::Pause;
use super::event::{ChainFailed, Effect, Event, LogWrite, Origin, Rules, Submission};
use super::leading::Leading;
use super::members::Members;
use super::outbox::Outbox;
use crate::block::Hash;
use crate::channel::BlockNumber;

/// If nothing that this node has acknowledged gets into a block for so many election timeouts, all is sent again.
const PATIENCE_ELECTIONS: u64 = 6;

/// The newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) number: BlockNumber,
    pub(super) hash: Hash,
}

/// A snapshot that is taken when its block is durable.
#[derive(Clone, Debug)]
struct WantedSnapshot {
    number: BlockNumber,
    index: u64,
    data: Bytes,
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) raft: raft::Machine,
    pub(super) id: u64,
    pub(super) election_tick: u64,
    pub(super) members: Members,
    pub(super) rules: Rules,
    pub(super) tip: Tip,
    /// Entries up to here are in blocks that are written already: after a restart, Raft gives some of them again.
    pub(super) written_index: u64,
    /// What the newest block says of Raft's index.
    pub(super) metadata_index: u64,
    /// Raft's entries are applied up to here.
    pub(super) applied: u64,
    pub(super) to_apply: VecDeque<raftpb::Entry>,
    pub(super) pause: Option<Pause>,
    unpersisted: VecDeque<Unpersisted>,
    pub(super) term: u64,
    pub(super) leader: Option<u64>,
    role: Role,
    /// The newest term of which an entry is applied.
    pub(super) settled_term: u64,
    pub(super) leading: Option<Leading>,
    /// What came in and is neither in the cutter nor forwarded, in its order.
    pub(super) intake: VecDeque<Submission>,
    pub(super) outbox: Outbox,
    pub(super) acknowledge: Acknowledge,
    /// The leader did not get what was forwarded to it: nothing more is before this tick,
    forward_again: u64,
    /// and before it is heard that it still leads. One that has been started again does not, and who forwards to it has it forward
    /// all of that to the next leader, which gets it twice.
    hears_leader: bool,
    active: ActiveNodes,
    pub(super) ticks: u64,
    /// What an earlier leader had may be lost by now.
    pub(super) look_for_lost: bool,
    /// It was picked to ask for votes first, and no leader has been seen yet.
    pub(super) campaigns: bool,
    next_campaign: u64,
    /// Bytes of blocks in the log since the last snapshot.
    pub(super) since_snapshot: u64,
    /// A snapshot is taken after this number of bytes even if the configuration allows more.
    max_log_bytes: u64,
    wanted_snapshot: Option<WantedSnapshot>,
    /// Ticks without a leader.
    leaderless: u64,
    /// A message for another ID lets it ask others how the channel stands, not before this tick.
    suspect_id_again: u64,
    /// After so many of them it asks others how the channel stands.
    pub(super) suspicion_ticks: u64,
    pub(super) kept_entries: u64,
    pub(super) effects: Vec<Effect>,
}

/// A decision of Raft's that is on its way to the disk.
#[derive(Clone, Debug)]
struct Unpersisted {
    number: u64,
    on_its_way: bool,
    messages: Vec<raftpb::Message>,
}

/// How a chain stands, for people and metrics.
#[derive(Clone, Debug)]
pub struct ChainStatus {
    /// Raft's part.
    pub raft: Status,
    /// The consenters that the leader hears from, as far as this node knows.
    pub active: BTreeSet<u64>,
    /// Envelopes that were acknowledged here and are in no block, and their bytes.
    pub outbox: (usize, usize),
    /// Envelopes that were sent to a leader more than once.
    pub sent_again: u64,
    /// Envelopes that came in and wait for a leader, or for this one to take them.
    pub intake: usize,
    /// Blocks that are proposed and not committed.
    pub in_flight: usize,
}

impl Machine {
    #[expect(clippy::too_many_arguments, reason = "only `restore` calls it")]
    pub(super) fn of_parts(
        raft: raft::Machine,
        config: &raft::Config,
        members: Members,
        rules: Rules,
        tip: Tip,
        written_index: u64,
        applied: u64,
        next_sequence: u64,
    ) -> Self {
        Self {
            raft,
            id: config.id,
            election_tick: config.election_tick as u64,
            members,
            rules,
            tip,
            written_index,
            metadata_index: written_index,
            applied,
            to_apply: VecDeque::new(),
            pause: None,
            unpersisted: VecDeque::new(),
            term: 0,
            leader: None,
            role: Role::Follower,
            settled_term: 0,
            leading: None,
            intake: VecDeque::new(),
            outbox: Outbox::new(next_sequence),
            acknowledge: Acknowledge::default(),
            forward_again: 0,
            hears_leader: false,
            active: ActiveNodes::default(),
            ticks: 0,
            look_for_lost: false,
            campaigns: false,
            next_campaign: 2 * config.heartbeat_tick as u64,
            since_snapshot: 0,
            max_log_bytes: u64::MAX,
            wanted_snapshot: None,
            leaderless: 0,
            suspect_id_again: 0,
            suspicion_ticks: u64::MAX,
            kept_entries: super::restore::KEPT_ENTRIES,
            effects: Vec::new(),
        }
    }

    /// Takes in what happened; gives back what is to be done, in order.
    ///
    /// # Errors
    /// The chain cannot go on. Nothing that it wanted done with this event may be done.
    pub fn step(&mut self, event: Event) -> Result<Vec<Effect>, ChainFailed> {
        match event {
            Event::Tick => self.tick()?,
            Event::Message { from, message, metadata } => self.message(from, *message, metadata)?,
            Event::Order(submission) => self.order(submission),
            Event::Timer => self.timer_fired()?,
            Event::Persisted(number) => self.persisted(number)?,
            Event::Examined(examined) => self.examined(examined)?,
            Event::Rejudged { sequence, valid } => self.rejudged(sequence, valid),
            Event::Applied(rules) => self.config_applied(rules)?,
            Event::Durable(number) => self.durable(number)?,
            Event::Unreachable(id) => self.raft.report_unreachable(id)?,
            Event::SnapshotSent { to, sent } => self.raft.report_snapshot(to, sent)?,
            Event::Forwarded(sequence) => self.has_come_to(Stage::WithLeader, vec![sequence]),
            Event::NotForwarded(submission) => self.not_forwarded(submission),
            Event::Behind(number) => self.behind(number),
            Event::CaughtUp { number, hash, members, raft_index, rules } => {
                self.caught_up(Tip { number, hash }, members, raft_index, rules)?;
            }
        }
        self.go_on()?;
        Ok(std::mem::take(&mut self.effects))
    }

    /// This consenter's ID.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The consenters under the newest configuration.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Whether this node leads, and takes envelopes.
    pub fn serves_as_leader(&self) -> bool {
        self.leading.as_ref().is_some_and(Leading::serves)
    }

    /// Who leads, if it is known.
    pub fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// The term that it knows of.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The consenters that the leader hears from, as far as this node knows.
    pub fn active(&self) -> &BTreeSet<u64> {
        self.active.get()
    }

    /// The consenters that this node, as the leader, tells the others to be active; none if it has not, or does not lead.
    pub fn settled_active(&self) -> &BTreeSet<u64> {
        self.active.settled()
    }

    /// Bytes of the envelopes that were acknowledged here and are in no block.
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.held().1
    }

    /// Envelopes of other consenters that came in and are in no block.
    pub fn intake_len(&self) -> usize {
        self.intake.len()
    }

    /// How the chain stands.
    ///
    /// # Errors
    /// Raft's machine has failed.
    pub fn status(&mut self) -> Result<ChainStatus, MachineFailed> {
        Ok(ChainStatus {
            raft: self.raft.status()?,
            active: self.active.get().clone(),
            outbox: self.outbox.held(),
            sent_again: self.outbox.sent_again(),
            intake: self.intake.len(),
            in_flight: self.leading.as_ref().map_or(0, Leading::in_flight),
        })
    }

    /// Hands leadership over to another consenter that is at work, if this node leads: for a node that is about to stop. Gives
    /// back to whom.
    ///
    /// # Errors
    /// Raft's machine has failed.
    pub fn hand_over(&mut self) -> Result<(Option<u64>, Vec<Effect>), ChainFailed> {
        let to = self.transfer_to_another()?;
        self.go_on()?;
        Ok((to, std::mem::take(&mut self.effects)))
    }

    /// Begins. Gives back what is to be done first.
    ///
    /// # Errors
    /// As of [`step`](Self::step).
    pub fn start(&mut self) -> Result<Vec<Effect>, ChainFailed> {
        self.effects.push(Effect::Connect(self.members.clone()));
        self.go_on()?;
        Ok(std::mem::take(&mut self.effects))
    }

    fn tick(&mut self) -> Result<(), ChainFailed> {
        self.ticks += 1;
        self.look_for_lost = true;
        // before the tick: on a leader, an election timeout forgets who was active
        let status = self.raft.status()?;
        self.active.tick(&status);
        self.raft.tick()?;
        if self.campaigns && self.ticks >= self.next_campaign {
            // later and later: votes take longer to come than Fabric thinks where the network is slow
            self.next_campaign = 2 * self.ticks;
            self.raft.campaign()?;
        }
        self.suspect();
        self.tick_of_leader()
    }

    /// Who hears of no leader for long may have missed that the consenters are others, or that it is none of them any more.
    fn suspect(&mut self) {
        self.leaderless = if self.leader.is_none() { self.leaderless + 1 } else { 0 };
        if self.leaderless > 0 && self.leaderless.is_multiple_of(self.suspicion_ticks) && self.pause.is_none() {
            self.effects.push(Effect::Suspect);
        }
    }

    /// Other consenters know this node by another ID: it was removed and added again, and has not seen the blocks.
    fn suspect_id(&mut self) {
        if self.leader.is_none() && self.pause.is_none() && self.ticks >= self.suspect_id_again {
            self.suspect_id_again = self.ticks + self.election_tick;
            self.effects.push(Effect::Suspect);
        }
    }

    fn message(&mut self, from: u64, message: raftpb::Message, metadata: Bytes) -> Result<(), ChainFailed> {
        let is_from_leader = self.leader == Some(from) && message.term == self.term && is_of_leader(&message);
        match self.raft.step(message) {
            Ok(()) => self.hears_leader |= is_from_leader,
            Err(StepError::Failed(failed)) => return Err(failed.into()),
            Err(cause @ (StepError::LogLost { .. } | StepError::Fork { .. })) => {
                return Err(ChainFailed::Log { from, cause });
            }
            Err(StepError::NotForUs { .. }) => {
                self.suspect_id();
                return Ok(());
            }
            // nonsense: it changes nothing here
            Err(StepError::Local(_) | StepError::Malformed(_)) => return Ok(()),
        }
        if !metadata.is_empty() && self.leader == Some(from) {
            self.active.told_by_leader(metadata);
        }
        Ok(())
    }

    fn order(&mut self, submission: Submission) {
        match submission.origin {
            // it comes into the intake, or on its way, with all others that are due
            Origin::Here(sequence) => self.outbox.add(sequence, submission),
            Origin::Consenter(_) => self.intake.push_back(submission),
        }
    }

    /// The senders of these envelopes are told now, if it is time.
    pub(super) fn has_come_to(&mut self, stage: Stage, sequences: Vec<u64>) {
        if self.acknowledge.is_due(stage) && !sequences.is_empty() {
            self.effects.push(Effect::Acknowledge(sequences));
        }
    }

    /// An envelope that a leader was to get is with none. It is sent again with the next tick, the way there may be blocked, if the
    /// leader is heard of by then.
    pub(super) fn not_forwarded(&mut self, submission: Submission) {
        self.forward_again = self.ticks + 1;
        self.hears_leader = false;
        match submission.origin {
            Origin::Here(sequence) => self.outbox.not_sent(sequence),
            Origin::Consenter(_) => self.intake.push_front(submission),
        }
    }

    fn rejudged(&mut self, sequence: u64, valid: Option<Submission>) {
        match valid {
            Some(submission) => self.outbox.judged(sequence, submission),
            None => {
                if let Some(submission) = self.outbox.remove(sequence) {
                    self.effects.push(Effect::Dropped(
                        Box::new(submission),
                        "it is no longer valid under the channel's configuration",
                    ));
                }
            }
        }
    }

    fn persisted(&mut self, number: u64) -> Result<(), ChainFailed> {
        for unpersisted in &mut self.unpersisted {
            if unpersisted.number <= number {
                unpersisted.on_its_way = false;
            }
        }
        self.release_persisted()
    }

    /// Tells Raft what is on the disk, and sends what waited for that.
    fn release_persisted(&mut self) -> Result<(), ChainFailed> {
        let mut newest = None;
        let mut messages = Vec::new();
        while self.unpersisted.front().is_some_and(|first| !first.on_its_way) {
            let Some(done) = self.unpersisted.pop_front() else { break };
            newest = Some(done.number);
            messages.extend(done.messages);
        }
        if let Some(number) = newest {
            self.raft.persisted(number)?;
        }
        for message in messages {
            self.send(message);
        }
        Ok(())
    }

    fn send(&mut self, message: raftpb::Message) {
        let to = message.to;
        if to != 0 && to != self.id {
            let metadata = self.active.metadata_for(to);
            self.effects.push(Effect::Send { to, message: Box::new(message), metadata });
        }
    }

    /// Does what can be done now, until nothing can.
    fn go_on(&mut self) -> Result<(), ChainFailed> {
        loop {
            while let Some(ready) = self.raft.ready()? {
                self.take(ready)?;
            }
            let mut progress = self.apply_next()?;
            if !progress {
                self.send_due();
                progress = self.lead_on()?;
            }
            if !progress {
                return Ok(());
            }
        }
    }

    fn take(&mut self, ready: Ready) -> Result<(), ChainFailed> {
        let Ready { number, snapshot, entries, hard_state, must_sync, messages, messages_after, committed, soft_state } =
            ready;
        if let Some(state) = &hard_state {
            self.term = state.term;
        }
        if let Some(snapshot) = &snapshot {
            self.take_snapshot(snapshot);
        }
        let on_its_way = snapshot.is_some() || !entries.is_empty() || hard_state.is_some();
        if on_its_way {
            self.effects.push(Effect::Persist(LogWrite { number, snapshot, entries, hard_state, must_sync }));
        }
        for message in messages {
            self.send(message);
        }
        self.unpersisted.push_back(Unpersisted { number, on_its_way, messages: messages_after });
        self.release_persisted()?;
        self.to_apply.extend(committed);
        match soft_state {
            Some(soft) => self.leadership(soft),
            None => Ok(()),
        }
    }

    fn leadership(&mut self, SoftState { leader, role }: SoftState) -> Result<(), ChainFailed> {
        self.role = role;
        if leader == self.leader {
            return Ok(());
        }
        self.leader = leader;
        self.forward_again = 0;
        self.hears_leader = true;
        self.effects.push(Effect::Leader(leader));
        if leader.is_some() {
            self.campaigns = false;
        }
        if leader == Some(self.id) {
            return self.begin_to_lead();
        }
        self.stop_leading();
        Ok(())
    }

    /// Sends what waits to who leads: into the own intake, or to another consenter.
    fn send_due(&mut self) {
        let Some(leader) = self.leader else { return };
        if leader != self.id && (self.ticks < self.forward_again || !self.hears_leader) {
            return;
        }
        if std::mem::take(&mut self.look_for_lost) {
            let settled = self.settled_term >= self.term;
            let patience = PATIENCE_ELECTIONS * self.election_tick;
            self.outbox.look_for_lost(self.term, settled, self.ticks, patience);
        }
        let mut taken_in = Vec::new();
        for submission in self.outbox.take_unsent(self.term, self.ticks) {
            if leader == self.id {
                if let Origin::Here(sequence) = submission.origin
                    && self.acknowledge.is_due(Stage::WithLeader)
                {
                    taken_in.push(sequence);
                }
                self.intake.push_back(submission);
            } else {
                self.effects.push(Effect::Forward { to: leader, submission: Box::new(submission) });
            }
        }
        self.has_come_to(Stage::WithLeader, taken_in);
        if leader != self.id {
            let forward = |submission| Effect::Forward { to: leader, submission: Box::new(submission) };
            self.effects.extend(self.intake.drain(..).map(forward));
        }
    }

    /// Wants a snapshot behind this block, once it is durable.
    pub(super) fn want_snapshot(&mut self, number: BlockNumber, index: u64, data: Bytes) {
        self.wanted_snapshot = Some(WantedSnapshot { number, index, data });
    }

    /// Bounds the bytes of blocks that the log holds in memory: a snapshot is taken after this number even if the
    /// configuration allows more. A consenter that lags by more gets the snapshot and fetches the blocks.
    pub fn limit_log(&mut self, bytes: u64) {
        self.max_log_bytes = bytes;
    }

    /// Returns the number of bytes of blocks after which a snapshot is taken.
    pub(super) fn snapshot_interval(&self) -> u64 {
        self.rules.snapshot_bytes.min(self.max_log_bytes)
    }

    fn durable(&mut self, number: BlockNumber) -> Result<(), ChainFailed> {
        let Some(wanted) = self.wanted_snapshot.take_if(|wanted| wanted.number <= number) else { return Ok(()) };
        if let Some(snapshot) = self.raft.make_snapshot(wanted.index, wanted.data)? {
            let trim = self.raft.behind_newest(snapshot.metadata.index, self.kept_entries, self.max_log_bytes)?;
            self.raft.compact(trim)?;
            self.effects.push(Effect::SaveSnapshot { snapshot: Box::new(snapshot), trim });
        }
        Ok(())
    }
}

/// Whether only a leader sends this.
fn is_of_leader(message: &raftpb::Message) -> bool {
    use raftpb::MessageType::{MsgApp, MsgHeartbeat, MsgSnap};
    [MsgApp as i32, MsgHeartbeat as i32, MsgSnap as i32].contains(&message.r#type)
}
