//! The chain of one channel of type etcdraft, as a state machine around Raft's state machine.
//!
//! [`RaftMachine::step`] processes an [`Event`] and returns the [`Effect`]s that the caller has to perform, in their order.
//! [`orderer_raft::Machine`] decides what to write, to send and to apply; this state machine turns committed entries
//! into blocks. Five files share the state: this one handles events and Raft's decisions, `applying` turns committed
//! entries into blocks, `leader_state` cuts and proposes blocks, `forwarding` passes envelopes to the leader, and
//! `restore` creates the machine from the ledger and the Raft log.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use fabric_proto::raftpb;
use orderer_raft::{self as raft, MachineFailed, Ready, Role, SoftState, Status, StepError};

use super::acknowledge::{AcknowledgePoint, EnvelopeStage};
use super::active_nodes::ActiveNodes;
use super::applying::ApplyPause;
use super::consenter_set::ConsenterSet;
use super::event::{ChainFailed, Effect, Event, LogWrite, OrderingConfig, SubmittedEnvelope};
use super::leader_state::LeaderState;
use super::outbox::Outbox;
use super::suspicion::Suspicion;
use crate::block::Hash;
use crate::types::BlockNumber;

/// Number and header hash of the newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockTip {
    pub(super) number: BlockNumber,
    pub(super) hash: Hash,
}

/// A snapshot to take once its block is durable.
#[derive(Clone, Debug)]
struct PendingSnapshot {
    number: BlockNumber,
    index: u64,
    data: Bytes,
}

/// State machine of one channel of type etcdraft. Performs no I/O; see the module's documentation.
#[derive(Clone, Debug)]
pub struct RaftMachine {
    pub(super) raft: raft::Machine,
    pub(super) id: u64,
    pub(super) election_tick: u64,
    pub(super) members: ConsenterSet,
    pub(super) rules: OrderingConfig,
    pub(super) tip: BlockTip,
    /// Index of the newest entry whose block is written. After a restart, Raft returns some of these entries again.
    pub(super) written_index: u64,
    /// Raft index in the metadata of the newest block.
    pub(super) metadata_index: u64,
    /// Index of the newest applied entry.
    pub(super) applied: u64,
    pub(super) to_apply: VecDeque<raftpb::Entry>,
    pub(super) pause: Option<ApplyPause>,
    unpersisted: VecDeque<Unpersisted>,
    pub(super) term: u64,
    pub(super) leader: Option<u64>,
    role: Role,
    /// Newest term of which an entry is applied.
    pub(super) settled_term: u64,
    pub(super) leading: Option<LeaderState>,
    /// Envelopes that came in and are neither in the cutter nor forwarded, in their order.
    pub(super) intake: VecDeque<SubmittedEnvelope>,
    pub(super) outbox: Outbox,
    pub(super) acknowledge: AcknowledgePoint,
    /// Tick before which nothing more is forwarded, because the leader did not receive a forwarded envelope.
    pub(super) forward_again: u64,
    /// Whether a message from the leader has arrived since it was last unreachable. Nothing is forwarded until then: a
    /// leader that was restarted leads no longer, and would forward the envelopes to the next leader, which would get
    /// them twice.
    pub(super) hears_leader: bool,
    pub(super) active: ActiveNodes,
    pub(super) ticks: u64,
    /// Whether to search the outbox for envelopes that an earlier leader may have lost.
    pub(super) look_for_lost: bool,
    /// Whether this node was selected to campaign first in a new channel, and has not seen a leader yet.
    pub(super) campaigns: bool,
    next_campaign: u64,
    /// Bytes of blocks in the log since the last snapshot.
    pub(super) since_snapshot: u64,
    /// A snapshot is taken after this number of bytes even if the configuration allows more.
    max_log_bytes: u64,
    wanted_snapshot: Option<PendingSnapshot>,
    /// When this node asks others whether it has missed a config update.
    suspicion: Suspicion,
    /// Tick before which a message for another Raft ID causes no further [`Effect::Suspect`].
    suspect_id_again: u64,
    pub(super) kept_entries: u64,
    pub(super) effects: Vec<Effect>,
}

/// A decision of Raft that is being written to the disk, and the messages that wait for that.
#[derive(Clone, Debug)]
struct Unpersisted {
    number: u64,
    on_its_way: bool,
    messages: Vec<raftpb::Message>,
}

/// State of a chain, for operators and metrics.
#[derive(Clone, Debug)]
pub struct ChainStatus {
    /// State of the Raft state machine.
    pub raft: Status,
    /// Raft IDs of the consenters that the leader hears from, as far as this node knows.
    pub active: BTreeSet<u64>,
    /// Number of envelopes that came in here and are in no block, and their total size in bytes.
    pub outbox: (usize, usize),
    /// Number of times that an envelope was sent to a leader again.
    pub sent_again: u64,
    /// Number of envelopes that came in and wait for a leader, or for this node as the leader to order them.
    pub intake: usize,
    /// Number of blocks that are proposed and not yet applied.
    pub in_flight: usize,
}

impl RaftMachine {
    #[expect(clippy::too_many_arguments, reason = "only `restore` calls it")]
    pub(super) fn of_parts(
        raft: raft::Machine,
        config: &raft::Config,
        members: ConsenterSet,
        rules: OrderingConfig,
        tip: BlockTip,
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
            acknowledge: AcknowledgePoint::default(),
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
            suspicion: Suspicion::default(),
            suspect_id_again: 0,
            kept_entries: super::restore::KEPT_ENTRIES,
            effects: Vec::new(),
        }
    }

    /// Processes an event. Returns the effects to perform, in their order.
    ///
    /// # Errors
    /// Fails if the chain cannot continue. The caller must not perform any effect of this event then.
    pub fn step(&mut self, event: Event) -> Result<Vec<Effect>, ChainFailed> {
        match event {
            Event::Tick => self.tick()?,
            Event::Message { from, message, metadata } => self.message(from, *message, metadata)?,
            Event::Order(submission) => self.order(submission),
            Event::Timer => self.timer_fired()?,
            Event::Persisted(number) => self.persisted(number)?,
            Event::Validated(examined) => self.examined(examined)?,
            Event::Revalidated { sequence, valid } => self.on_revalidated(sequence, valid),
            Event::Applied(rules) => self.config_applied(rules)?,
            Event::Durable(number) => self.durable(number)?,
            Event::Unreachable(id) => self.raft.report_unreachable(id)?,
            Event::Estranged(_) => self.suspicion.estranged(),
            Event::SnapshotSent { to, sent } => self.raft.report_snapshot(to, sent)?,
            Event::Forwarded(sequence) => self.has_come_to(EnvelopeStage::WithLeader, vec![sequence]),
            Event::NotForwarded(submission) => self.not_forwarded(submission),
            Event::Behind(number) => self.behind(number),
            Event::CaughtUp { number, hash, members, raft_index, rules } => {
                self.caught_up(BlockTip { number, hash }, members, raft_index, rules)?;
            }
        }
        self.go_on()?;
        Ok(std::mem::take(&mut self.effects))
    }

    /// Returns this consenter's Raft ID.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the consenters under the newest configuration.
    pub fn members(&self) -> &ConsenterSet {
        &self.members
    }

    /// Returns whether the configuration in force does not name this consenter. It stays a member until Raft has agreed
    /// on the change, which it may never hear of. What it acknowledges in the meantime could be lost with it.
    pub fn is_leaving(&self) -> bool {
        self.members.ids().all(|id| id != self.id)
    }

    /// Whether this node leads and accepts envelopes.
    pub fn serves_as_leader(&self) -> bool {
        self.leading.as_ref().is_some_and(LeaderState::serves)
    }

    /// Returns the leader's Raft ID; `None` if it is unknown.
    pub fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// Returns the newest Raft term that this node knows of.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Returns the Raft IDs of the consenters that the leader hears from, as far as this node knows.
    pub fn active(&self) -> &BTreeSet<u64> {
        self.active.get()
    }

    /// Returns the consenters that this node, as the leader, reports to its followers as active. Empty if it does not
    /// lead, or has not reported yet.
    pub fn settled_active(&self) -> &BTreeSet<u64> {
        self.active.settled()
    }

    /// Returns the number of envelopes that came in here and are in no block.
    pub fn outbox_len(&self) -> usize {
        self.outbox.held().0
    }

    /// Returns the total size in bytes of the envelopes that came in here and are in no block.
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.held().1
    }

    /// Returns the number of envelopes that came in and are neither in the cutter nor forwarded.
    pub fn intake_len(&self) -> usize {
        self.intake.len()
    }

    /// Returns the state of the chain.
    ///
    /// # Errors
    /// Fails if Raft's state machine has failed.
    pub fn status(&mut self) -> Result<ChainStatus, MachineFailed> {
        Ok(ChainStatus {
            raft: self.raft.status()?,
            active: self.active.get().clone(),
            outbox: self.outbox.held(),
            sent_again: self.outbox.sent_again(),
            intake: self.intake.len(),
            in_flight: self.leading.as_ref().map_or(0, LeaderState::in_flight),
        })
    }

    /// Transfers leadership to another active consenter, if this node leads; for a node that is about to stop. Returns
    /// the ID of that consenter, and the effects to perform.
    ///
    /// # Errors
    /// Fails if Raft's state machine has failed, or the chain cannot continue.
    pub fn hand_over(&mut self) -> Result<(Option<u64>, Vec<Effect>), ChainFailed> {
        let to = self.transfer_to_another()?;
        self.go_on()?;
        Ok((to, std::mem::take(&mut self.effects)))
    }

    /// Starts the chain. Returns the first effects to perform.
    ///
    /// # Errors
    /// Fails as [`step`](Self::step) does.
    pub fn start(&mut self) -> Result<Vec<Effect>, ChainFailed> {
        self.effects.push(Effect::Connect(self.members.clone()));
        self.go_on()?;
        Ok(std::mem::take(&mut self.effects))
    }

    fn tick(&mut self) -> Result<(), ChainFailed> {
        self.ticks += 1;
        self.look_for_lost = true;
        // read before the tick, because on a leader the election timeout resets which peers are active
        let status = self.raft.status()?;
        self.active.tick(&status);
        self.raft.tick()?;
        if self.campaigns && self.ticks >= self.next_campaign {
            // the pause doubles: on a slow network, votes take longer than the interval between two campaigns in Fabric
            self.next_campaign = 2 * self.ticks;
            self.raft.campaign()?;
        }
        self.suspect();
        self.tick_of_leader()
    }

    /// Emits [`Effect::Suspect`] after long periods without a leader, or shorter ones in which other consenters do not accept
    /// this node: it may have missed a change of the consenters, or its own removal.
    fn suspect(&mut self) {
        if self.suspicion.tick(self.leader.is_none(), self.pause.is_none(), self.election_tick) {
            self.effects.push(Effect::Suspect);
        }
    }

    /// Sets the number of ticks without a leader after which [`Effect::Suspect`] is emitted.
    pub(super) fn suspect_after(&mut self, ticks: u64) {
        self.suspicion = Suspicion::after(ticks);
    }

    /// Emits [`Effect::Suspect`] when other consenters address this node by another Raft ID: it was removed and added
    /// again, and has not seen those blocks.
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
            // an invalid message: it changes nothing here
            Err(StepError::Local(_) | StepError::Malformed(_)) => return Ok(()),
        }
        if !metadata.is_empty() && self.leader == Some(from) {
            self.active.told_by_leader(metadata);
        }
        Ok(())
    }

    fn persisted(&mut self, number: u64) -> Result<(), ChainFailed> {
        for unpersisted in &mut self.unpersisted {
            if unpersisted.number <= number {
                unpersisted.on_its_way = false;
            }
        }
        self.release_persisted()
    }

    /// Reports to Raft what is durable, and sends the messages that waited for that.
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

    /// Processes Raft's output, applies and proposes entries until no further progress is possible.
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

    /// Requests a snapshot at this block, to be taken once the block is durable.
    pub(super) fn want_snapshot(&mut self, number: BlockNumber, index: u64, data: Bytes) {
        self.wanted_snapshot = Some(PendingSnapshot { number, index, data });
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

/// Whether only a leader sends messages of this type.
fn is_of_leader(message: &raftpb::Message) -> bool {
    use raftpb::MessageType::{MsgApp, MsgHeartbeat, MsgSnap};
    [MsgApp as i32, MsgHeartbeat as i32, MsgSnap as i32].contains(&message.r#type)
}
