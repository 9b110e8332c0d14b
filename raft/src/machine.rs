//! The state machine of one consenter.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fabric_proto::{Message as _, raftpb};
use raft::eraftpb::{self, EntryType, MessageType};
use raft::{Error, ProgressState, RawNode, SnapshotStatus, StateRole, Storage as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::convert;
use crate::error::{MachineFailed, ProposeError, StepError};
use crate::store::Store;

/// The crate draws election timeouts by itself, up to here. A draw beyond twice the election tick, which any but one in 2^50 is,
/// is drawn again from the seed.
const DRAWN_BELOW: usize = 1 << 62;

/// What a machine is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node; not zero.
    pub id: u64,
    /// Ticks without a leader until an election; drawn anew from here to twice of it.
    pub election_tick: usize,
    /// Ticks between a leader's heartbeats; less than `election_tick`.
    pub heartbeat_tick: usize,
    /// Bytes of entries in one message; a single entry may be larger.
    pub max_size_per_msg: u64,
    /// Messages with entries on their way to one follower.
    pub max_inflight_msgs: usize,
    /// Decides the election timeouts.
    pub seed: u64,
}

/// What was on disk.
#[derive(Debug, Clone, Default)]
pub struct RestoredLog {
    /// Term, vote and commit index.
    pub hard_state: raftpb::HardState,
    /// The consenters at `applied`.
    pub conf_state: raftpb::ConfState,
    /// The newest snapshot.
    pub snapshot: Option<raftpb::Snapshot>,
    /// The entries behind the snapshot, without a gap.
    pub entries: Vec<raftpb::Entry>,
    /// Up to where entries are applied; at least the snapshot's index.
    pub applied: u64,
}

/// What a node takes itself for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows, or waits for a leader.
    Follower,
    /// It asks who would vote for it.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

impl From<StateRole> for Role {
    fn from(role: StateRole) -> Self {
        match role {
            StateRole::Follower => Self::Follower,
            StateRole::PreCandidate => Self::PreCandidate,
            StateRole::Candidate => Self::Candidate,
            StateRole::Leader => Self::Leader,
        }
    }
}

/// What needs no disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftState {
    /// Who leads, if it is known.
    pub leader: Option<u64>,
    /// What this node is.
    pub role: Role,
}

/// What is to be done. Readies are persisted in their order; [`Machine::persisted`] may be told of several at once.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// For [`Machine::persisted`].
    pub number: u64,
    /// The snapshot of the leader to restore, before `entries` are written: it replaces the whole log.
    pub snapshot: Option<raftpb::Snapshot>,
    /// Entries to write; the first replaces what the log has from its index on.
    pub entries: Vec<raftpb::Entry>,
    /// The state to write, if it changed.
    pub hard_state: Option<raftpb::HardState>,
    /// Whether what is to be written must be synced. If not, only the commit index moved, and that may be lost.
    pub must_sync: bool,
    /// Messages that may go at once: a leader's.
    pub messages: Vec<raftpb::Message>,
    /// Messages that may go when this Ready and those before it are on disk.
    pub messages_after: Vec<raftpb::Message>,
    /// Entries to apply: they are committed, and they are on this node's disk.
    pub committed: Vec<raftpb::Entry>,
    /// Leader and role, if they changed.
    pub soft_state: Option<SoftState>,
}

/// What a leader knows of a consenter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its ID.
    pub id: u64,
    /// Up to here its log is known to be the leader's.
    pub matched: u64,
    /// The next entry to send.
    pub next: u64,
    /// It answered since the leader last asked itself whether it has a quorum.
    pub active: bool,
    /// A snapshot is on its way to it.
    pub snapshot: bool,
}

/// How a machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: u64,
    /// The term it is in.
    pub term: u64,
    /// For whom it voted in that term; 0: for nobody.
    pub vote: u64,
    /// Who leads, if it is known.
    pub leader: Option<u64>,
    /// What this node is.
    pub role: Role,
    /// Up to here entries are committed.
    pub commit: u64,
    /// Up to here they are applied.
    pub applied: u64,
    /// Where the log ends.
    pub last: u64,
    /// To whom leadership is being handed over.
    pub transferee: Option<u64>,
    /// The consenters, in order of their IDs.
    pub voters: Vec<u64>,
    /// On a leader: what it knows of them, in order of their IDs.
    pub peers: Vec<Peer>,
}

/// One consenter of a channel.
pub struct Machine {
    node: Option<RawNode<Store>>,
    failed: MachineFailed,
    id: u64,
    election_tick: usize,
    random: StdRng,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("id", &self.id).field("failed", &self.node.is_none()).finish_non_exhaustive()
    }
}

impl Machine {
    /// Takes up what was on disk. PreVote and CheckQuorum are on.
    ///
    /// # Errors
    /// The configuration or the log contradicts itself.
    pub fn new(config: &Config, log: RestoredLog) -> Result<Self, MachineFailed> {
        check(&log)?;
        let applied = log.applied;
        let snapshot = log.snapshot.map(convert::snapshot_in).unwrap_or_default();
        let entries = log.entries.into_iter().map(convert::entry_in).collect();
        let store = Store::new(
            convert::hard_state_in(log.hard_state),
            convert::conf_state_in(log.conf_state),
            snapshot,
            entries,
        );
        let inner = raft::Config {
            id: config.id,
            election_tick: config.election_tick,
            heartbeat_tick: config.heartbeat_tick,
            applied,
            max_size_per_msg: config.max_size_per_msg,
            max_inflight_msgs: config.max_inflight_msgs,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: config.election_tick,
            max_election_tick: DRAWN_BELOW,
            ..raft::Config::default()
        };
        if config.id == 0 {
            return Err(MachineFailed::new("a node's ID is not zero"));
        }
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = catch_unwind(AssertUnwindSafe(|| RawNode::new(&inner, store, &logger)))
            .map_err(|panic| MachineFailed::new(text_of(panic.as_ref())))?
            .map_err(MachineFailed::new)?;
        let mut machine = Self {
            node: Some(node),
            failed: MachineFailed::new("it has not failed"),
            id: config.id,
            election_tick: config.election_tick,
            random: StdRng::seed_from_u64(config.seed),
        };
        machine.guarded(|_| ())?;
        Ok(machine)
    }

    /// Does something with the crate's node; a panic in it is this machine's end.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut RawNode<Store>) -> T) -> Result<T, MachineFailed> {
        let Some(node) = &mut self.node else { return Err(self.failed.clone()) };
        match catch_unwind(AssertUnwindSafe(|| act(node))) {
            Ok(value) => {
                if node.raft.randomized_election_timeout() >= 2 * self.election_tick {
                    let drawn = self.random.random_range(self.election_tick..2 * self.election_tick);
                    node.raft.set_randomized_election_timeout(drawn);
                }
                Ok(value)
            }
            Err(panic) => {
                self.failed = MachineFailed::new(text_of(panic.as_ref()));
                self.node = None;
                Err(self.failed.clone())
            }
        }
    }

    /// Lets one tick of the clock pass.
    pub fn tick(&mut self) -> Result<(), MachineFailed> {
        self.guarded(|node| {
            node.tick();
        })
    }

    /// Asks to be elected, as if the election timeout had passed. Leaders, and who is no voter, do nothing.
    pub fn campaign(&mut self) -> Result<(), MachineFailed> {
        self.guarded(|node| {
            if node.raft.promotable() {
                // its only failures are those of messages from others
                let _ = node.campaign();
            }
        })
    }

    /// Takes a message of another consenter.
    ///
    /// # Errors
    /// The message is refused, and why. After [`StepError::LogLost`] and [`StepError::Fork`] this node cannot follow that leader.
    pub fn step(&mut self, message: raftpb::Message) -> Result<(), StepError> {
        let id = self.id;
        self.guarded(|node| {
            let kind = acceptable(node, id, &message)?;
            match node.step(convert::message_in(message, kind)) {
                // answers of who is no consenter any more
                Ok(()) | Err(Error::StepPeerNotFound | Error::ProposalDropped) => Ok(()),
                Err(error) => Err(StepError::Failed(MachineFailed::new(error))),
            }
        })?
    }

    /// Appends a block, as the leader.
    pub fn propose(&mut self, data: Bytes) -> Result<(), ProposeError> {
        self.append(EntryType::EntryNormal, data)
    }

    /// Appends a change of the consenters, as the leader. While another is not applied, an empty entry is appended instead.
    pub fn propose_conf_change(&mut self, change: &raftpb::ConfChange) -> Result<(), ProposeError> {
        if convert::conf_change_in(change.clone()).is_none() {
            return Err(ProposeError::Dropped);
        }
        self.append(EntryType::EntryConfChange, change.encode_to_vec().into())
    }

    fn append(&mut self, kind: EntryType, data: Bytes) -> Result<(), ProposeError> {
        let id = self.id;
        self.guarded(|node| {
            if node.raft.state != StateRole::Leader {
                return Err(ProposeError::NotLeader { leader: known(node.raft.leader_id) });
            }
            let mut entry = eraftpb::Entry { data, ..Default::default() };
            entry.set_entry_type(kind);
            let mut message = eraftpb::Message { from: id, ..Default::default() };
            message.set_msg_type(MessageType::MsgPropose);
            message.set_entries(vec![entry].into());
            match node.raft.step(message) {
                Ok(()) => Ok(()),
                Err(Error::ProposalDropped) => Err(ProposeError::Dropped),
                Err(error) => Err(ProposeError::Failed(MachineFailed::new(error))),
            }
        })?
    }

    /// Starts handing leadership over to another consenter; until that is done or the election timeout passes, proposals are
    /// dropped. Who does not lead does nothing.
    pub fn transfer_leadership(&mut self, to: u64) -> Result<(), MachineFailed> {
        self.guarded(|node| {
            if node.raft.state == StateRole::Leader {
                node.transfer_leader(to);
            }
        })
    }

    /// Tells that a message to a consenter was not delivered.
    pub fn report_unreachable(&mut self, id: u64) -> Result<(), MachineFailed> {
        self.guarded(|node| node.report_unreachable(id))
    }

    /// Tells whether a snapshot was sent to a consenter. This has to be told of every `MsgSnap`: until then, nothing else is sent
    /// to that consenter.
    pub fn report_snapshot(&mut self, id: u64, sent: bool) -> Result<(), MachineFailed> {
        let status = if sent { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.guarded(|node| node.report_snapshot(id, status))
    }

    /// What is to be done since the last call, if anything is.
    pub fn ready(&mut self) -> Result<Option<Ready>, MachineFailed> {
        self.guarded(|node| {
            if !node.has_ready() {
                return None;
            }
            let mut inner = node.ready();
            let mut ready = Ready {
                number: inner.number(),
                must_sync: inner.must_sync(),
                hard_state: inner.hs().map(convert::hard_state_out),
                soft_state: inner
                    .ss()
                    .map(|state| SoftState { leader: known(state.leader_id), role: state.raft_state.into() }),
                ..Ready::default()
            };
            let new_vote = ready.must_sync && ready.hard_state.is_some();
            let conf_state = node.raft.prs().conf().to_conf_state();
            let at_once = inner.take_messages();
            let later = inner.take_persisted_messages();
            for (may_go, message) in at_once.into_iter().map(|m| (true, m)).chain(later.into_iter().map(|m| (false, m)))
            {
                let Some(mut message) = convert::message_out(message) else { continue };
                if let Some(snapshot) = &mut message.snapshot {
                    snapshot.metadata.conf_state = convert::conf_state_out(conf_state.clone());
                }
                // an answer stands on what is written with it, whoever leads by now
                let answer = matches!(
                    message.r#type(),
                    raftpb::MessageType::MsgAppResp
                        | raftpb::MessageType::MsgVoteResp
                        | raftpb::MessageType::MsgPreVoteResp
                );
                if may_go && !answer && !new_vote { &mut ready.messages } else { &mut ready.messages_after }
                    .push(message);
            }
            if inner.snapshot().get_metadata().index != 0 {
                node.mut_store().restore(inner.snapshot().clone());
                ready.snapshot = Some(convert::snapshot_out(inner.snapshot().clone()));
            }
            let entries = inner.take_entries();
            node.mut_store().append(&entries);
            ready.entries = entries.into_iter().map(convert::entry_out).collect();
            ready.committed = inner.take_committed_entries().into_iter().map(convert::entry_out).collect();
            node.advance_append_async(inner);
            Some(ready)
        })
    }

    /// Tells that a Ready, and those before it, are on disk and synced.
    pub fn persisted(&mut self, number: u64) -> Result<(), MachineFailed> {
        self.guarded(|node| node.on_persist_ready(number))
    }

    /// Tells that entries are applied up to `index`.
    pub fn applied(&mut self, index: u64) -> Result<(), MachineFailed> {
        self.guarded(|node| node.advance_apply_to(index))
    }

    /// Applies a committed change of the consenters, and returns who they are now. A leader that is removed stops leading.
    ///
    /// # Errors
    /// The change cannot be: it would leave nobody, or is of a kind that etcdraft does not use.
    pub fn apply_conf_change(&mut self, change: raftpb::ConfChange) -> Result<raftpb::ConfState, MachineFailed> {
        let Some(inner) = convert::conf_change_in(change) else {
            return Err(MachineFailed::new("a committed change of the consenters neither adds nor removes one"));
        };
        let id = self.id;
        self.guarded(|node| {
            let state = node.apply_conf_change(&inner)?;
            // the crate would panic at the next answer to a leader that is no consenter any more
            if node.raft.state == StateRole::Leader && !state.voters.contains(&id) {
                let term = node.raft.term;
                node.raft.become_follower(term, raft::INVALID_ID);
            }
            Ok::<_, Error>(state)
        })?
        .map(convert::conf_state_out)
        .map_err(MachineFailed::new)
    }

    /// Makes a snapshot of what is applied up to `index`: `data` is what a node gets that lags behind the log. `None` if
    /// that is no progress, or `index` is not applied. It is kept here, to be sent; the caller writes it.
    pub fn make_snapshot(&mut self, index: u64, data: Bytes) -> Result<Option<raftpb::Snapshot>, MachineFailed> {
        self.guarded(|node| {
            if index > node.raft.raft_log.applied() || index <= node.store().snapshot_index() {
                return None;
            }
            let term = node.store().term(index).ok()?;
            let mut snapshot = eraftpb::Snapshot { data, ..Default::default() };
            let metadata = snapshot.mut_metadata();
            metadata.index = index;
            metadata.term = term;
            metadata.set_conf_state(node.raft.prs().conf().to_conf_state());
            node.mut_store().set_snapshot(snapshot.clone());
            let mut snapshot = convert::snapshot_out(snapshot);
            snapshot.metadata.conf_state.voters.sort_unstable();
            Some(snapshot)
        })
    }

    /// Forgets entries up to `index`, as far as a snapshot covers them.
    pub fn compact(&mut self, index: u64) -> Result<(), MachineFailed> {
        self.guarded(|node| {
            let covered = node.store().snapshot_index();
            node.mut_store().compact(index.min(covered));
        })
    }

    /// How the machine stands.
    pub fn status(&mut self) -> Result<Status, MachineFailed> {
        self.guarded(|node| {
            let raft = &node.raft;
            let mut peers = Vec::new();
            if raft.state == StateRole::Leader {
                peers.extend(raft.prs().iter().map(|(id, progress)| Peer {
                    id: *id,
                    matched: progress.matched,
                    next: progress.next_idx,
                    active: progress.recent_active,
                    snapshot: progress.state == ProgressState::Snapshot,
                }));
                peers.sort_by_key(|peer| peer.id);
            }
            Status {
                id: raft.id,
                term: raft.term,
                vote: raft.vote,
                leader: known(raft.leader_id),
                role: raft.state.into(),
                commit: raft.raft_log.committed,
                applied: raft.raft_log.applied(),
                last: raft.raft_log.last_index(),
                transferee: raft.lead_transferee,
                voters: convert::conf_state_out(raft.prs().conf().to_conf_state()).voters,
                peers,
            }
        })
    }
}

fn known(id: u64) -> Option<u64> {
    (id != raft::INVALID_ID).then_some(id)
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it gave no reason").to_owned()
}

/// What is on disk has to fit together.
fn check(log: &RestoredLog) -> Result<(), MachineFailed> {
    let mut last = log.snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.metadata.index, snapshot.metadata.term));
    let first = last.0;
    for entry in &log.entries {
        if entry.index != last.0 + 1 || entry.term < last.1 {
            return Err(MachineFailed::new(format!(
                "entry {} of term {} in the log follows entry {} of term {}",
                entry.index, entry.term, last.0, last.1
            )));
        }
        last = (entry.index, entry.term);
    }
    let commit = log.hard_state.commit.max(first);
    if commit > last.0 {
        return Err(MachineFailed::new(format!("entry {commit} was committed, and the log ends at {}", last.0)));
    }
    if log.applied < first || log.applied > commit {
        return Err(MachineFailed::new(format!(
            "entry {} is applied, which is not between the snapshot, {first}, and what was committed, {commit}",
            log.applied
        )));
    }
    Ok(())
}

/// Whether a message can be taken without harm.
fn acceptable(node: &RawNode<Store>, id: u64, message: &raftpb::Message) -> Result<MessageType, StepError> {
    if message.to != id {
        return Err(StepError::NotForUs { to: message.to, id });
    }
    let Some((wire, kind)) = convert::inner_type(message.r#type) else { return Err(StepError::Local(message.r#type)) };
    if message.from == 0 || message.from == id {
        return Err(StepError::Malformed("it comes from no other node"));
    }
    if message.term == 0 {
        return Err(StepError::Malformed("it has no term"));
    }
    let log = &node.raft.raft_log;
    let last = log.last_index();
    let current = message.term >= node.raft.term;
    match wire {
        raftpb::MessageType::MsgApp => {
            let mut before = (message.index, message.log_term);
            for entry in &message.entries {
                if before.0.checked_add(1) != Some(entry.index) || entry.term < before.1 || entry.term > message.term {
                    return Err(StepError::Malformed("its entries are in no order"));
                }
                before = (entry.index, entry.term);
                if current && entry.index <= log.committed {
                    let here = log.term(entry.index).unwrap_or(entry.term);
                    // zero: compacted
                    if here != 0 && here != entry.term {
                        return Err(StepError::Fork { index: entry.index, here, there: entry.term });
                    }
                }
            }
        }
        raftpb::MessageType::MsgHeartbeat if current && message.commit > last => {
            return Err(StepError::LogLost { commit: message.commit, last });
        }
        raftpb::MessageType::MsgSnap => {
            let Some(snapshot) = &message.snapshot else { return Err(StepError::Malformed("its snapshot is missing")) };
            if snapshot.metadata.index == 0 || snapshot.metadata.conf_state.voters.is_empty() {
                return Err(StepError::Malformed("its snapshot is empty"));
            }
        }
        raftpb::MessageType::MsgAppResp
            if message.term == node.raft.term && !message.reject && message.index > last =>
        {
            return Err(StepError::Malformed("it acknowledges entries that were not sent"));
        }
        _ => {}
    }
    Ok(kind)
}
