//! The log since the last compaction, in memory, as the `raft` crate reads it.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::util::limit_size;
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

pub(crate) struct Store {
    /// What the crate starts from; not kept up to date.
    initial: RaftState,
    /// The entry before the first one: up to here the log is compacted.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    /// What a node gets that needs entries which are compacted.
    snapshot: Snapshot,
}

impl Store {
    pub(crate) fn new(hard_state: HardState, conf_state: ConfState, snapshot: Snapshot, entries: Vec<Entry>) -> Self {
        let before = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        Self { initial: RaftState { hard_state, conf_state }, before, entries: entries.into(), snapshot }
    }

    pub(crate) fn last(&self) -> u64 {
        self.entries.back().map_or(self.before.0, |entry| entry.index)
    }

    /// Where an entry lies, as far as the log has it.
    fn position(&self, index: u64) -> Option<usize> {
        let position = usize::try_from(index.checked_sub(self.before.0 + 1)?).ok()?;
        (position < self.entries.len()).then_some(position)
    }

    /// Appends entries; what was there from the first of them on is replaced.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        if let Some(position) = self.position(first.index) {
            self.entries.truncate(position);
        }
        self.entries.extend(entries.iter().cloned());
    }

    /// Begins anew behind a snapshot of another node.
    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        self.before = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        self.entries.clear();
        self.snapshot = snapshot;
    }

    pub(crate) fn set_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.get_metadata().index
    }

    /// Forgets entries up to `index`.
    pub(crate) fn compact(&mut self, index: u64) {
        let Some(position) = self.position(index) else { return };
        self.before = (index, self.entries[position].term);
        self.entries.drain(..=position);
    }
}

impl Storage for Store {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let count = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX);
        let Some(first) = self.position(low) else {
            return if count == 0 { Ok(Vec::new()) } else { Err(Error::Store(StorageError::Unavailable)) };
        };
        if count > self.entries.len() - first {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut entries = self.entries.range(first..first + count).cloned().collect();
        limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        if index < self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.position(index).map(|position| self.entries[position].term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.before.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, at_least: u64, _to: u64) -> Result<Snapshot> {
        if self.snapshot_index() == 0 || self.snapshot_index() < at_least {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(self.snapshot.clone())
    }
}
