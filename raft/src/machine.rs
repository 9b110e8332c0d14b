//! The public state machine of one consenter.

use std::collections::VecDeque;

use bytes::Bytes;
use fabric_proto::{Message as _, raftpb};

use crate::admission::{self, Admitted};
use crate::core::Core;
use crate::error::{MachineFailed, ProposeError, StepError};
use crate::log::{EntryId, Log};
use crate::types::{Config, Peer, Ready, RestoredLog, Role, SoftState, Status};

/// The effects of a Ready that are due when it is on disk.
#[derive(Clone)]
struct Unsynced {
    number: u64,
    /// This node's vote for itself, and its acknowledgements of its own proposals.
    own: Vec<raftpb::Message>,
    /// The term in which the Ready was made, and the last entry of the log then, if not all of it was on disk.
    end: Option<(u64, EntryId)>,
    snapshot: Option<u64>,
}

/// State machine of one consenter of a channel.
#[derive(Clone)]
pub struct Machine {
    core: Core,
    failed: Option<MachineFailed>,
    /// The hard state of the last Ready.
    hard_state: raftpb::HardState,
    soft_state: SoftState,
    ready_number: u64,
    unsynced: VecDeque<Unsynced>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("id", &self.core.id)
            .field("failed", &self.failed.is_some())
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// Creates the machine from the state on disk. PreVote and CheckQuorum are enabled.
    ///
    /// # Errors
    /// Fails if the configuration or the log contradicts itself.
    pub fn new(config: &Config, log: RestoredLog) -> Result<Self, MachineFailed> {
        admission::check(config, &log)?;
        let RestoredLog { hard_state, conf_state, snapshot, entries, applied } = log;
        let log = Log::new(snapshot, entries, hard_state.commit, applied, config.max_size_per_msg);
        let core = Core::new(config, log, hard_state, &conf_state.voters);
        Ok(Self {
            failed: None,
            hard_state: core.hard_state(),
            soft_state: core.soft_state(),
            core,
            ready_number: 0,
            unsynced: VecDeque::new(),
        })
    }

    /// Changes or reads the state. An error from which the machine cannot continue terminates only this machine.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Core) -> Result<T, MachineFailed>) -> Result<T, MachineFailed> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        act(&mut self.core).inspect_err(|failed| self.failed = Some(failed.clone()))
    }

    /// Lets one tick of the clock pass.
    pub fn tick(&mut self) -> Result<(), MachineFailed> {
        self.guarded(|core| {
            core.tick();
            Ok(())
        })
    }

    /// Starts an election, as if the election timeout had passed. Does nothing on a leader, and on a node that is not a
    /// voter.
    pub fn campaign(&mut self) -> Result<(), MachineFailed> {
        self.guarded(|core| {
            core.campaign();
            Ok(())
        })
    }

    /// Processes a message from another consenter. Ignores responses of a node that is no longer a consenter.
    ///
    /// # Errors
    /// Returns the reason why the message is rejected. After [`StepError::LogLost`] and [`StepError::Fork`] this node
    /// cannot follow that leader.
    pub fn step(&mut self, message: raftpb::Message) -> Result<(), StepError> {
        let admitted = self.guarded(|core| Ok(admission::admit(core, &message)))??;
        if admitted == Admitted::FromStranger {
            return Ok(());
        }
        Ok(self.guarded(|core| core.step(message))?)
    }

    /// Appends a block, if this node is the leader.
    pub fn propose(&mut self, data: Bytes) -> Result<(), ProposeError> {
        self.append(raftpb::EntryType::EntryNormal, data)
    }

    /// Appends a membership change, if this node is the leader. While another change is not applied, an empty entry is
    /// appended instead.
    pub fn propose_conf_change(&mut self, change: &raftpb::ConfChange) -> Result<(), ProposeError> {
        if !admission::adds_or_removes(change) {
            return Err(ProposeError::Dropped);
        }
        self.append(raftpb::EntryType::EntryConfChange, change.encode_to_vec().into())
    }

    fn append(&mut self, kind: raftpb::EntryType, data: Bytes) -> Result<(), ProposeError> {
        let leader = self.guarded(|core| Ok((core.role != Role::Leader).then(|| core.soft_state().leader)))?;
        if let Some(leader) = leader {
            return Err(ProposeError::NotLeader { leader });
        }
        let data = (!data.is_empty()).then_some(data);
        let entry = raftpb::Entry { r#type: kind as i32, data, ..raftpb::Entry::default() };
        if self.guarded(|core| core.propose(entry))? { Ok(()) } else { Err(ProposeError::Dropped) }
    }

    /// Starts to transfer leadership to another consenter. Until that is done or the election timeout passes, proposals
    /// are dropped. Does nothing on a node that does not lead.
    pub fn transfer_leadership(&mut self, to: u64) -> Result<(), MachineFailed> {
        self.guarded(|core| {
            core.hand_over(to);
            Ok(())
        })
    }

    /// Reports that a message to a consenter was not delivered.
    pub fn report_unreachable(&mut self, id: u64) -> Result<(), MachineFailed> {
        self.guarded(|core| {
            core.unreachable(id);
            Ok(())
        })
    }

    /// Reports whether a snapshot was sent to a consenter. The caller has to report this for every `MsgSnap`: until
    /// then, nothing else is sent to that consenter.
    pub fn report_snapshot(&mut self, id: u64, sent: bool) -> Result<(), MachineFailed> {
        self.guarded(|core| {
            core.snapshot_sent(id, sent);
            Ok(())
        })
    }

    fn has_ready(&self) -> bool {
        let core = &self.core;
        core.soft_state() != self.soft_state
            || core.hard_state() != self.hard_state
            || core.log.has_unwritten()
            || core.log.has_appliable()
            || !core.at_once.is_empty()
            || !core.after.is_empty()
    }

    /// Returns the work that has become due since the last call; `None` if there is none.
    pub fn ready(&mut self) -> Result<Option<Ready>, MachineFailed> {
        self.guarded(|_| Ok(()))?;
        if !self.has_ready() {
            return Ok(None);
        }
        let core = &mut self.core;
        self.ready_number += 1;
        let (hard_state, soft_state) = (core.hard_state(), core.soft_state());
        let promised = hard_state.term != self.hard_state.term || hard_state.vote != self.hard_state.vote;
        let mut ready = Ready {
            number: self.ready_number,
            hard_state: (hard_state != self.hard_state).then_some(hard_state),
            soft_state: (soft_state != self.soft_state).then_some(soft_state),
            snapshot: core.log.take_restoring(),
            committed: core.log.take_appliable(),
            entries: core.log.take_unwritten(),
            ..Ready::default()
        };
        ready.must_sync = promised || !ready.entries.is_empty() || ready.snapshot.is_some();
        let own;
        (own, ready.messages_after) = std::mem::take(&mut core.after).into_iter().partition(|m| m.to == core.id);
        ready.messages = std::mem::take(&mut core.at_once);
        for snapshot in ready.messages.iter_mut().filter_map(|message| message.snapshot.as_mut()) {
            // the receiver gets the current consenters, as in Fabric
            snapshot.metadata.conf_state.voters = core.voters();
        }
        if promised {
            // no message of a term is sent before the term and the vote in it are on disk
            let answers = std::mem::replace(&mut ready.messages_after, std::mem::take(&mut ready.messages));
            ready.messages_after.extend(answers);
        }
        self.unsynced.push_back(Unsynced {
            number: ready.number,
            own,
            end: core.log.last_unstable().map(|end| (core.term, end)),
            snapshot: ready.snapshot.as_ref().map(|snapshot| snapshot.metadata.index),
        });
        (self.hard_state, self.soft_state) = (hard_state, soft_state);
        Ok(Some(ready))
    }

    /// Reports that a Ready, and those before it, are on disk and synced.
    pub fn persisted(&mut self, number: u64) -> Result<(), MachineFailed> {
        while self.unsynced.front().is_some_and(|unsynced| unsynced.number <= number) {
            let Some(unsynced) = self.unsynced.pop_front() else { break };
            self.guarded(|core| {
                for message in unsynced.own {
                    core.step(message)?;
                }
                // in a later term, these entries may have been replaced since
                if let Some((_, end)) = unsynced.end.filter(|(term, _)| *term == core.term) {
                    core.log.stable_to(end);
                }
                unsynced.snapshot.map_or(Ok(()), |index| core.log.restored(index))
            })?;
        }
        Ok(())
    }

    /// Reports that entries are applied up to `index`.
    pub fn applied(&mut self, index: u64) -> Result<(), MachineFailed> {
        self.guarded(|core| core.log.applied_to(index))
    }

    /// Applies a committed membership change, and returns the resulting consenters. A leader that is removed stops
    /// leading.
    ///
    /// # Errors
    /// Fails if the change would leave no consenter, or is of a kind that etcdraft does not use.
    pub fn apply_conf_change(&mut self, change: &raftpb::ConfChange) -> Result<raftpb::ConfState, MachineFailed> {
        self.guarded(|core| {
            core.apply_change(change)?;
            Ok(conf_state(core))
        })
    }

    /// Makes a snapshot of the state that is applied up to `index`, with `data` for a follower that lags behind the
    /// log. Returns `None` if a snapshot already covers `index`, or `index` is not applied. The machine keeps the
    /// snapshot, to send it; the caller writes it.
    pub fn make_snapshot(&mut self, index: u64, data: Bytes) -> Result<Option<raftpb::Snapshot>, MachineFailed> {
        self.guarded(|core| {
            if index > core.log.applied() || index <= core.log.snapshot_index() {
                return Ok(None);
            }
            let Some(term) = core.log.term(index) else { return Ok(None) };
            let metadata = raftpb::SnapshotMetadata { conf_state: conf_state(core), index, term };
            let snapshot = raftpb::Snapshot { data: (!data.is_empty()).then_some(data), metadata };
            core.log.set_snapshot(snapshot.clone());
            Ok(Some(snapshot))
        })
    }

    /// Returns the index up to which entries can be forgotten so that of those up to `index` the newest are kept: at most
    /// `entries`, and at most `bytes` of them.
    pub fn behind_newest(&mut self, index: u64, entries: u64, bytes: u64) -> Result<u64, MachineFailed> {
        self.guarded(|core| Ok(core.log.behind_newest(index, entries, bytes)))
    }

    /// Removes entries up to `index` from memory, as far as a snapshot covers them.
    pub fn compact(&mut self, index: u64) -> Result<(), MachineFailed> {
        self.guarded(|core| {
            let covered = core.log.snapshot_index();
            core.log.compact(index.min(covered));
            Ok(())
        })
    }

    /// Returns the state of the machine.
    pub fn status(&mut self) -> Result<Status, MachineFailed> {
        self.guarded(|core| {
            let peer = |(&id, progress): (&u64, &crate::progress::Progress)| Peer {
                id,
                matched: progress.matched,
                next: progress.next,
                active: progress.active,
                flow: progress.flow,
                paused: progress.is_paused(),
                in_flight: progress.in_flight(),
            };
            let leads = core.role == Role::Leader;
            let (soft, last) = (core.soft_state(), core.log.last());
            Ok(Status {
                id: core.id,
                term: core.term,
                vote: core.vote,
                leader: soft.leader,
                role: soft.role,
                commit: core.log.committed(),
                applied: core.log.applied(),
                last: last.index,
                last_term: last.term,
                transferee: (core.transferee != crate::core::NOBODY).then_some(core.transferee),
                voters: core.voters(),
                peers: if leads { core.peers.iter().map(peer).collect() } else { Vec::new() },
            })
        })
    }
}

fn conf_state(core: &Core) -> raftpb::ConfState {
    raftpb::ConfState { voters: core.voters(), ..raftpb::ConfState::default() }
}
