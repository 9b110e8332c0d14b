//! The follower's part: handles entries, heartbeats and snapshots of the leader.

use fabric_proto::raftpb::{Message, MessageType, Snapshot};

use crate::core::{Core, Done, message};
use crate::error::MachineFailed;
use crate::log::EntryId;
use crate::progress::Progress;

impl Core {
    pub(crate) fn follow(&mut self, m: Message) -> Done {
        match m.r#type() {
            MessageType::MsgApp => self.take_entries(m),
            MessageType::MsgHeartbeat => {
                self.log.commit_to(m.commit)?;
                self.send(Message { context: m.context, ..message(MessageType::MsgHeartbeatResp, m.from) });
                Ok(())
            }
            MessageType::MsgSnap => self.take_snapshot(m),
            _ => Ok(()),
        }
    }

    fn take_entries(&mut self, m: Message) -> Done {
        let answer = message(MessageType::MsgAppResp, m.from);
        if m.index < self.log.committed() {
            self.send(Message { index: self.log.committed(), ..answer });
            return Ok(());
        }
        let before = EntryId { index: m.index, term: m.log_term };
        if let Some(index) = self.log.take(before, m.entries, m.commit)? {
            self.send(Message { index, ..answer });
            return Ok(());
        }
        // entries of this log with later terms than the leader has there cannot be in the leader's log
        let hint = self.log.agreement(m.index.min(self.log.last().index), m.log_term);
        self.send(Message { index: m.index, reject: true, reject_hint: hint.index, log_term: hint.term, ..answer });
        Ok(())
    }

    fn take_snapshot(&mut self, m: Message) -> Done {
        let snapshot = m.snapshot.unwrap_or_default();
        let index = if self.restore(snapshot)? { self.log.last().index } else { self.log.committed() };
        self.send(Message { index, ..message(MessageType::MsgAppResp, m.from) });
        Ok(())
    }

    /// Replaces the log by a snapshot. Returns false if the log already covers the snapshot, or this node is not among
    /// its voters.
    fn restore(&mut self, snapshot: Snapshot) -> Result<bool, MachineFailed> {
        let metadata = &snapshot.metadata;
        let place = EntryId { index: metadata.index, term: metadata.term };
        if place.index <= self.log.committed() || !metadata.conf_state.voters.contains(&self.id) {
            return Ok(false);
        }
        if self.log.has(place) {
            self.log.commit_to(place.index)?;
            return Ok(false);
        }
        self.peers = metadata.conf_state.voters.iter().map(|&id| (id, Progress::added(place.index))).collect();
        self.log.restore(snapshot);
        Ok(true)
    }
}
