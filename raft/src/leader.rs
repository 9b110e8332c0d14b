//! The leader's part: sends entries, snapshots and heartbeats, and evaluates the responses.

use fabric_proto::raftpb::{Entry, EntryType, Message, MessageType};

use crate::core::{Core, Done, NOBODY, message};
use crate::error::MachineFailed;
use crate::log::EntryId;
use crate::progress::{Progress, ReplicationMode};
use crate::types::Role;

impl Core {
    pub(crate) fn become_leader(&mut self) -> Done {
        let term = self.term;
        self.become_follower(term, self.id);
        self.role = Role::Leader;
        if let Some(own) = self.peers.get_mut(&self.id) {
            own.replicate();
            own.active = true;
        }
        // a membership change may be anywhere in the log
        self.pending_change = self.log.last().index;
        self.append(Entry::default())?;
        self.send_to_all();
        Ok(())
    }

    fn append(&mut self, entry: Entry) -> Done {
        let index = self.log.last().index + 1;
        self.log.append(vec![Entry { term: self.term, index, ..entry }])?;
        // the entry counts as acknowledged by this node when it is on disk
        self.send(Message { index, ..message(MessageType::MsgAppResp, self.id) });
        Ok(())
    }

    /// Appends an entry, and sends it. Returns false if proposals are not accepted at present.
    pub(crate) fn propose(&mut self, mut entry: Entry) -> Result<bool, MachineFailed> {
        if !self.peers.contains_key(&self.id) || self.transferee != NOBODY {
            return Ok(false);
        }
        if entry.r#type == EntryType::EntryConfChange as i32 {
            if self.pending_change > self.log.applied() {
                entry = Entry::default();
            } else {
                self.pending_change = self.log.last().index + 1;
            }
        }
        self.append(entry)?;
        self.send_to_all();
        Ok(true)
    }

    fn others(&self) -> Vec<u64> {
        self.peers.keys().copied().filter(|&id| id != self.id).collect()
    }

    fn send_to_all(&mut self) {
        for id in self.others() {
            self.send_entries(id, true);
        }
    }

    /// Sends the entries that a consenter lacks, as far as its flow permits. Sends a message without entries only if
    /// `or_none`. Returns whether anything was sent.
    fn send_entries(&mut self, to: u64, or_none: bool) -> bool {
        let (window, commit) = (self.window, self.log.committed());
        let Some(progress) = self.peers.get_mut(&to).filter(|progress| !progress.is_paused()) else { return false };
        let index = progress.next - 1;
        let Some(log_term) = self.log.term(index) else { return self.send_snapshot(to) };
        let full = progress.flow == ReplicationMode::Replicate && progress.is_full(window);
        let entries = if full { Vec::new() } else { self.log.entries_from(progress.next, self.max_bytes) };
        if entries.is_empty() && !or_none {
            return false;
        }
        progress.sent(entries.len(), window);
        progress.sent_commit(commit);
        self.send(Message { index, log_term, entries, commit, ..message(MessageType::MsgApp, to) });
        true
    }

    fn send_snapshot(&mut self, to: u64) -> bool {
        let Some(snapshot) = self.log.snapshot().cloned() else { return false };
        let Some(progress) = self.peers.get_mut(&to).filter(|progress| progress.active) else { return false };
        progress.send_snapshot(snapshot.metadata.index);
        self.send(Message { snapshot: Some(snapshot), ..message(MessageType::MsgSnap, to) });
        true
    }

    fn send_heartbeats(&mut self) {
        for id in self.others() {
            let Some(progress) = self.peers.get_mut(&id) else { continue };
            // never beyond the index that the peer is known to have
            let commit = progress.matched.min(self.log.committed());
            progress.sent_commit(commit);
            self.send(Message { commit, ..message(MessageType::MsgHeartbeat, id) });
        }
    }

    pub(crate) fn tick_leader(&mut self) {
        self.heartbeat_elapsed += 1;
        self.election_elapsed += 1;
        if self.election_elapsed >= self.election_tick {
            self.election_elapsed = 0;
            if !self.hears_quorum() {
                self.become_follower(self.term, NOBODY);
            }
            let own = self.id;
            for (_, progress) in self.peers.iter_mut().filter(|(id, _)| **id != own) {
                progress.active = false;
            }
            if self.role == Role::Leader {
                self.transferee = NOBODY;
            }
        }
        if self.role == Role::Leader && self.heartbeat_elapsed >= self.heartbeat_tick {
            self.heartbeat_elapsed = 0;
            self.send_heartbeats();
        }
    }

    fn hears_quorum(&self) -> bool {
        self.peers.values().filter(|progress| progress.active).count() > self.peers.len() / 2
    }

    /// Commits the entries that a quorum has, if the last one is of this term. Returns whether the commit index has
    /// advanced.
    fn commit(&mut self) -> Result<bool, MachineFailed> {
        let mut matched: Vec<u64> = self.peers.values().map(|progress| progress.matched).collect();
        matched.sort_unstable_by(|one, other| other.cmp(one));
        let Some(&index) = matched.get(matched.len() / 2) else { return Ok(false) };
        if index <= self.log.committed() || !self.log.has(EntryId { index, term: self.term }) {
            return Ok(false);
        }
        self.log.commit_to(index)?;
        Ok(true)
    }

    /// Commits and sends what is possible after a membership change was applied.
    pub(crate) fn voters_changed(&mut self) -> Done {
        if self.commit()? {
            self.send_to_all();
        } else {
            for id in self.others() {
                self.send_entries(id, false);
            }
        }
        if !self.peers.contains_key(&self.transferee) {
            self.transferee = NOBODY;
        }
        Ok(())
    }

    pub(crate) fn step_leader(&mut self, m: &Message) -> Done {
        match m.r#type() {
            MessageType::MsgAppResp if m.reject => self.entries_refused(m),
            MessageType::MsgAppResp => return self.entries_acknowledged(m),
            MessageType::MsgHeartbeatResp => {
                let last = self.log.last().index;
                let Some(progress) = self.peers.get_mut(&m.from) else { return Ok(()) };
                progress.active = true;
                progress.resume();
                // if the window is full, a message without entries finds out whether all messages in flight were lost
                if progress.matched < last || progress.flow == ReplicationMode::Probe {
                    self.send_entries(m.from, true);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn entries_refused(&mut self, m: &Message) {
        let Some(progress) = self.peers.get_mut(&m.from) else { return };
        progress.active = true;
        // entries of this log with later terms than the follower has at its hint cannot be in the follower's log
        let hint = if m.log_term > 0 { self.log.agreement(m.reject_hint, m.log_term).index } else { m.reject_hint };
        if progress.refused(m.index, hint) {
            if progress.flow == ReplicationMode::Replicate {
                progress.probe();
            }
            self.send_entries(m.from, true);
        }
    }

    fn entries_acknowledged(&mut self, m: &Message) -> Done {
        let (from, first) = (m.from, self.log.first_index());
        let Some(progress) = self.peers.get_mut(&from) else { return Ok(()) };
        progress.active = true;
        let new = progress.acknowledged(m.index);
        // the logs agree at this index, which ends probing
        let found = progress.flow == ReplicationMode::Probe && progress.matched == m.index;
        if !new && !found {
            return Ok(());
        }
        match progress.flow {
            ReplicationMode::Probe => progress.replicate(),
            // the log has the entries after the peer's last one, whichever snapshot the peer has restored
            ReplicationMode::Snapshot { .. } if progress.matched + 1 >= first => {
                progress.probe();
                progress.replicate();
            }
            ReplicationMode::Snapshot { .. } => {}
            ReplicationMode::Replicate => progress.answered(m.index),
        }
        if self.commit()? {
            self.send_to_all();
        } else if from != self.id && self.lacks_commit(from) {
            self.send_entries(from, true);
        }
        if from != self.id {
            while self.send_entries(from, false) {}
        }
        if from == self.transferee && self.matched(from) == self.log.last().index {
            self.send(message(MessageType::MsgTimeoutNow, from));
        }
        Ok(())
    }

    fn lacks_commit(&self, id: u64) -> bool {
        self.peers.get(&id).is_some_and(|progress| progress.lacks_commit(self.log.committed()))
    }

    fn matched(&self, id: u64) -> u64 {
        self.peers.get(&id).map_or(0, |progress| progress.matched)
    }

    fn led(&mut self, id: u64) -> Option<&mut Progress> {
        if self.role == Role::Leader { self.peers.get_mut(&id) } else { None }
    }

    /// Starts to transfer leadership.
    pub(crate) fn hand_over(&mut self, to: u64) {
        if self.led(to).is_none() || to == self.transferee {
            return;
        }
        self.transferee = NOBODY;
        if to == self.id {
            return;
        }
        // the transfer may take one election timeout
        self.election_elapsed = 0;
        self.transferee = to;
        if self.matched(to) == self.log.last().index {
            self.send(message(MessageType::MsgTimeoutNow, to));
        } else {
            self.send_entries(to, true);
        }
    }

    /// Handles an undelivered message: others in flight may be lost as well.
    pub(crate) fn unreachable(&mut self, id: u64) {
        if let Some(progress) = self.led(id).filter(|progress| progress.flow == ReplicationMode::Replicate) {
            progress.probe();
        }
    }

    /// Handles that a snapshot was sent, or was not. The next message waits for a response, to the snapshot or to a
    /// heartbeat.
    pub(crate) fn snapshot_sent(&mut self, id: u64, sent: bool) {
        let Some(progress) = self.led(id).filter(|progress| matches!(progress.flow, ReplicationMode::Snapshot { .. }))
        else {
            return;
        };
        if !sent {
            progress.flow = ReplicationMode::Snapshot { index: 0 };
        }
        progress.probe();
        progress.pause();
    }
}
