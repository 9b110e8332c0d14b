//! The log since the last compaction, in memory, and the indexes up to which it is written, committed and applied.

use std::collections::VecDeque;

use fabric_proto::Message as _;
use fabric_proto::raftpb::{Entry, EntryType, Snapshot};

use crate::error::MachineFailed;

/// The index and the term of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryId {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// A snapshot of the leader that is not known to be on disk yet.
#[derive(Clone)]
struct PendingSnapshot {
    index: u64,
    handed_out: bool,
}

#[derive(Clone)]
pub(crate) struct Log {
    /// The entry before the first one: the log is compacted up to here.
    before: EntryId,
    entries: VecDeque<Entry>,
    /// Snapshot for a peer that needs compacted entries.
    snapshot: Option<Snapshot>,
    restoring: Option<PendingSnapshot>,
    /// Index of the first entry that is not known to be on disk.
    unstable: u64,
    /// Index of the first entry that was not returned for writing yet.
    unwritten: u64,
    committed: u64,
    /// Index up to which entries were returned for applying.
    applying: u64,
    applied: u64,
    /// Last index and size in bytes of each portion that was returned for applying and is not applied yet.
    portions: VecDeque<(u64, u64)>,
    /// Total size of `portions`.
    applying_bytes: u64,
    max_applying_bytes: u64,
    /// Whether no more entries are returned until some of `portions` is applied.
    paused: bool,
}

fn bytes_of(entry: &Entry) -> u64 {
    u64::try_from(entry.encoded_len()).unwrap_or(u64::MAX)
}

impl Log {
    /// Restores the log from the state on disk. The caller has checked that state.
    pub(crate) fn new(
        snapshot: Option<Snapshot>,
        entries: Vec<Entry>,
        committed: u64,
        applied: u64,
        max_applying_bytes: u64,
    ) -> Self {
        let before = snapshot.as_ref().map_or(EntryId { index: 0, term: 0 }, |snapshot| EntryId {
            index: snapshot.metadata.index,
            term: snapshot.metadata.term,
        });
        let end = before.index + entries.len() as u64 + 1;
        Self {
            before,
            entries: entries.into(),
            snapshot,
            restoring: None,
            unstable: end,
            unwritten: end,
            committed: committed.max(before.index),
            applying: applied.max(before.index),
            applied: applied.max(before.index),
            portions: VecDeque::new(),
            applying_bytes: 0,
            max_applying_bytes,
            paused: false,
        }
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    pub(crate) fn first_index(&self) -> u64 {
        self.before.index + 1
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.before, |entry| EntryId { index: entry.index, term: entry.term })
    }

    /// Returns the position of an entry in `entries`.
    fn position(&self, index: u64) -> Option<usize> {
        let position = usize::try_from(index.checked_sub(self.first_index())?).ok()?;
        (position < self.entries.len()).then_some(position)
    }

    /// Returns the term of an entry; `None` if the log does not contain it, or no longer contains it.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        Some(self.entries.get(self.position(index)?)?.term)
    }

    pub(crate) fn has(&self, place: EntryId) -> bool {
        self.term(place.index) == Some(place.term)
    }

    /// Returns whether a log that ends at `theirs` has all that this one has committed.
    pub(crate) fn is_up_to_date(&self, theirs: EntryId) -> bool {
        let ours = self.last();
        theirs.term > ours.term || theirs.term == ours.term && theirs.index >= ours.index
    }

    /// Returns the last place, at or before `index`, at which this log may agree with one that has `term` at `index`.
    /// If this log does not know the term there, the returned term is zero.
    pub(crate) fn agreement(&self, index: u64, term: u64) -> EntryId {
        let mut index = index;
        while index > 0 {
            match self.term(index) {
                None => return EntryId { index, term: 0 },
                Some(ours) if ours <= term => return EntryId { index, term: ours },
                Some(_) => index -= 1,
            }
        }
        EntryId { index: 0, term: 0 }
    }

    /// Returns entries from `from` to `to`, both included: at least one if there is one, and otherwise at most
    /// `max_bytes`.
    fn portion(&self, from: u64, to: u64, max_bytes: u64) -> Vec<Entry> {
        let (Some(first), Some(last)) = (self.position(from), self.position(to)) else { return Vec::new() };
        let mut bytes = 0_u64;
        let mut taken = Vec::new();
        for entry in self.entries.range(first..=last.max(first)) {
            bytes = bytes.saturating_add(bytes_of(entry));
            if !taken.is_empty() && bytes > max_bytes {
                break;
            }
            taken.push(entry.clone());
        }
        taken
    }

    /// Returns entries to send, from `from` on.
    pub(crate) fn entries_from(&self, from: u64, max_bytes: u64) -> Vec<Entry> {
        self.portion(from, self.last().index, max_bytes)
    }

    /// Appends entries. Replaces all existing entries from the index of the first one on.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> Result<(), MachineFailed> {
        let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(()) };
        if first <= self.committed {
            return Err(MachineFailed::new(format!("entry {first} is committed, and another one was to replace it")));
        }
        if let Some(position) = self.position(first) {
            self.entries.truncate(position);
        }
        if self.last().index + 1 != first {
            return Err(MachineFailed::new(format!("entry {first} was to follow entry {}", self.last().index)));
        }
        self.entries.extend(entries);
        self.unstable = self.unstable.min(first);
        self.unwritten = self.unwritten.min(first);
        Ok(())
    }

    /// Appends a leader's entries after `before`, and adopts its commit index. Returns the index of the last of them;
    /// `None` if this log does not contain the entry `before`.
    pub(crate) fn take(
        &mut self,
        before: EntryId,
        mut entries: Vec<Entry>,
        committed: u64,
    ) -> Result<Option<u64>, MachineFailed> {
        if !self.has(before) {
            return Ok(None);
        }
        let last = before.index + entries.len() as u64;
        let known = entries.iter().take_while(|entry| self.term(entry.index) == Some(entry.term)).count();
        self.append(entries.split_off(known))?;
        self.commit_to(committed.min(last))?;
        Ok(Some(last))
    }

    /// Records that entries up to `index` are committed.
    pub(crate) fn commit_to(&mut self, index: u64) -> Result<(), MachineFailed> {
        let last = self.last().index;
        if index > last {
            return Err(MachineFailed::new(format!("entry {index} is committed, and the log ends at {last}")));
        }
        self.committed = self.committed.max(index);
        Ok(())
    }

    /// Replaces the whole log by a snapshot of the leader.
    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        let place = EntryId { index: snapshot.metadata.index, term: snapshot.metadata.term };
        self.before = place;
        self.entries.clear();
        self.snapshot = Some(snapshot);
        self.restoring = Some(PendingSnapshot { index: place.index, handed_out: false });
        self.unstable = place.index + 1;
        self.unwritten = place.index + 1;
        self.committed = place.index;
    }

    /// Whether a snapshot of the leader is not known to be on disk yet.
    pub(crate) fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// Returns the snapshot to write, once.
    pub(crate) fn take_restoring(&mut self) -> Option<Snapshot> {
        let restoring = self.restoring.as_mut().filter(|restoring| !restoring.handed_out)?;
        restoring.handed_out = true;
        self.snapshot.clone()
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        self.unwritten <= self.last().index || self.restoring.as_ref().is_some_and(|restoring| !restoring.handed_out)
    }

    /// Returns the entries to write, once.
    pub(crate) fn take_unwritten(&mut self) -> Vec<Entry> {
        let entries = self.portion(self.unwritten, self.last().index, u64::MAX);
        self.unwritten = self.last().index + 1;
        entries
    }

    /// Returns the last entry, if not all entries are known to be on disk.
    pub(crate) fn last_unstable(&self) -> Option<EntryId> {
        (self.unstable <= self.last().index).then(|| self.last())
    }

    /// Records that entries up to this one are on disk. Has no effect if the log has another entry there by now.
    pub(crate) fn stable_to(&mut self, place: EntryId) {
        if place.index >= self.unstable && self.has(place) {
            self.unstable = place.index + 1;
            self.unwritten = self.unwritten.max(self.unstable);
        }
    }

    /// Records that a snapshot of the leader is on disk, and applied.
    pub(crate) fn restored(&mut self, index: u64) -> Result<(), MachineFailed> {
        if self.restoring.as_ref().is_some_and(|restoring| restoring.index == index) {
            self.restoring = None;
        }
        self.applied_to(index)
    }

    /// Returns the index up to which entries may be returned for applying.
    fn appliable(&self) -> u64 {
        self.committed.min(self.unstable - 1)
    }

    pub(crate) fn has_appliable(&self) -> bool {
        !self.paused && !self.is_restoring() && self.applying < self.appliable()
    }

    /// Returns the entries to apply, once.
    pub(crate) fn take_appliable(&mut self) -> Vec<Entry> {
        if !self.has_appliable() {
            return Vec::new();
        }
        let limit = self.max_applying_bytes.saturating_sub(self.applying_bytes);
        let entries = self.portion(self.applying + 1, self.appliable(), limit);
        if let Some(last) = entries.last() {
            let bytes = entries.iter().map(bytes_of).sum::<u64>();
            self.applying = last.index;
            self.applying_bytes += bytes;
            self.portions.push_back((last.index, bytes));
            self.paused = self.applying_bytes >= self.max_applying_bytes || self.applying < self.appliable();
        }
        entries
    }

    /// Records that entries up to `index` are applied.
    pub(crate) fn applied_to(&mut self, index: u64) -> Result<(), MachineFailed> {
        if index > self.committed {
            return Err(MachineFailed::new(format!(
                "entry {index} was applied, and entries are committed up to {}",
                self.committed
            )));
        }
        self.applied = self.applied.max(index);
        self.applying = self.applying.max(index);
        while let Some((last, bytes)) = self.portions.front().copied()
            && last <= index
        {
            self.applying_bytes = self.applying_bytes.saturating_sub(bytes);
            self.portions.pop_front();
        }
        self.paused = self.applying_bytes >= self.max_applying_bytes;
        Ok(())
    }

    /// Whether a membership change is committed and not applied.
    pub(crate) fn has_unapplied_change(&self) -> bool {
        let Some(first) = self.position(self.applied + 1) else { return false };
        self.entries
            .range(first..)
            .take_while(|entry| entry.index <= self.committed)
            .any(|entry| entry.r#type != EntryType::EntryNormal as i32)
    }

    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index)
    }

    pub(crate) fn set_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
    }

    /// Returns the index before the newest entries up to `index`: at most `entries`, and at most `bytes` of them.
    pub(crate) fn behind_newest(&self, index: u64, entries: u64, mut bytes: u64) -> u64 {
        let least = index.saturating_sub(entries);
        let mut behind = index;
        while behind > least {
            let Some(entry) = self.position(behind).and_then(|position| self.entries.get(position)) else { break };
            let Some(left) = bytes.checked_sub(bytes_of(entry)) else { break };
            bytes = left;
            behind -= 1;
        }
        behind
    }

    /// Removes entries up to `index`.
    pub(crate) fn compact(&mut self, index: u64) {
        let Some(position) = self.position(index) else { return };
        let Some(entry) = self.entries.get(position) else { return };
        self.before = EntryId { index, term: entry.term };
        self.entries.drain(..=position);
    }
}
