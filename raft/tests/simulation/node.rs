//! A node of the simulated cluster, and its disk.

use std::collections::VecDeque;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::raftpb::{ConfChange, ConfState, Entry, EntryType, HardState, Message, Snapshot};
use orderer_raft::{Config, Machine, Ready, RestoredLog};

use crate::promises::Promises;

/// The state that survives a crash.
#[derive(Default, Clone)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) entries: Vec<Entry>,
    /// Written together with the applied entries, as in the ledger.
    pub(crate) applied: u64,
    pub(crate) conf_state: ConfState,
}

impl Disk {
    fn write(&mut self, ready: &mut Ready, promises: &mut Promises) {
        if let Some(snapshot) = ready.snapshot.take() {
            self.applied = snapshot.metadata.index;
            self.conf_state = snapshot.metadata.conf_state.clone();
            self.entries.clear();
            self.snapshot = Some(snapshot);
        }
        let entries = std::mem::take(&mut ready.entries);
        if let Some(first) = entries.first() {
            assert!(first.index > self.applied, "applied entries are not replaced");
            self.entries.retain(|entry| entry.index < first.index);
            let before = self
                .entries
                .last()
                .map(|entry| entry.term)
                .or_else(|| self.snapshot.as_ref().map(|snapshot| snapshot.metadata.term));
            promises.writes(before, &entries);
            self.entries.extend(entries);
        }
        if let Some(state) = ready.hard_state.take() {
            self.hard_state = state;
        }
        // a snapshot counts as committed even if the hard state that says so was not synced
        let snapshot = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
        self.hard_state.commit = self.hard_state.commit.max(snapshot);
    }
}

#[derive(Default)]
pub(crate) struct Node {
    pub(crate) machine: Option<Machine>,
    pub(crate) disk: Disk,
    /// Readies that are not synced: a crash loses all or some of them.
    pub(crate) unsynced: VecDeque<Ready>,
    pub(crate) cut_off: bool,
    /// Tick until which the node does nothing.
    pub(crate) stalled_until: u64,
    /// The node misses one tick in this many; 0 for none.
    pub(crate) slow: u64,
    pub(crate) restored: u64,
}

impl Node {
    pub(crate) fn start(&mut self, config: &Config) {
        let disk = self.disk.clone();
        let log = RestoredLog {
            hard_state: disk.hard_state,
            conf_state: disk.conf_state,
            snapshot: disk.snapshot,
            entries: disk.entries,
            applied: disk.applied,
        };
        self.machine = Some(Machine::new(config, log).unwrap());
    }

    /// Crashes the node. The first `written` of the pending Readies are on disk, but were not reported as persisted.
    pub(crate) fn kill(&mut self, written: usize, promises: &mut Promises) {
        self.machine = None;
        for mut ready in std::mem::take(&mut self.unsynced).into_iter().take(written) {
            self.disk.write(&mut ready, promises);
        }
    }

    /// Syncs and applies the oldest pending Ready. Returns the messages that may be sent then.
    pub(crate) fn sync(&mut self, promises: &mut Promises) -> Option<Vec<Message>> {
        let machine = self.machine.as_mut()?;
        let mut ready = self.unsynced.pop_front()?;
        self.restored += u64::from(ready.snapshot.is_some());
        self.disk.write(&mut ready, promises);
        machine.persisted(ready.number).unwrap();
        machine.applied(self.disk.applied).unwrap();
        for entry in ready.committed {
            // a restarted machine continues after the entries that were applied before
            assert_eq!(entry.index, self.disk.applied + 1, "entries are applied one by one");
            promises.applies(&entry);
            self.disk.applied = entry.index;
            self.disk.hard_state.commit = self.disk.hard_state.commit.max(entry.index);
            if entry.r#type() == EntryType::EntryConfChange {
                let change = ConfChange::decode(entry.data.unwrap_or_default()).unwrap();
                self.disk.conf_state = machine.apply_conf_change(&change).unwrap();
            }
            machine.applied(self.disk.applied).unwrap();
        }
        if self.disk.applied.is_multiple_of(16) && self.disk.applied > 0 {
            let index = self.disk.applied;
            if let Some(snapshot) = machine.make_snapshot(index, Bytes::from(index.to_be_bytes().to_vec())).unwrap() {
                self.disk.snapshot = Some(snapshot);
                self.disk.entries.retain(|entry| entry.index > index);
                machine.compact(index.saturating_sub(4)).unwrap();
            }
        }
        Some(ready.messages_after)
    }
}
