//! The index of a raft log's contents and their positions, and the rules for what may be added. No bytes, no file.

use std::collections::VecDeque;

use fabric_proto::raftpb::{Entry, HardState, Snapshot};
use prost::Message as _;

use super::error::Unfit;
use super::record::{Position, RECORD_HEADER_BYTES, Record, Write};

/// The term and the position of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) term: u64,
    /// Position of its row.
    pub(super) row: u64,
    /// Size of its record.
    bytes: u64,
}

/// The position of the newest snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotPlace {
    pub(super) at: Position,
    pub(super) row: u64,
    bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotPlace>,
    pub(super) trimmed: Position,
    places: VecDeque<Place>,
    /// Total size of the entries' records.
    entry_bytes: u64,
}

impl View {
    pub(super) fn last_index(&self) -> u64 {
        self.trimmed.index.saturating_add(self.places.len() as u64)
    }

    /// Returns the entry's place; `None` if the entry is not there.
    pub(super) fn place(&self, index: u64) -> Option<Place> {
        let nth = index.checked_sub(self.trimmed.index.saturating_add(1))?;
        self.places.get(usize::try_from(nth).ok()?).copied()
    }

    pub(super) fn term(&self, index: u64) -> Option<u64> {
        if index == self.trimmed.index { Some(self.trimmed.term) } else { self.place(index).map(|place| place.term) }
    }

    pub(super) fn entries(&self) -> usize {
        self.places.len()
    }

    /// Returns the size of all records that would be written into a new file.
    pub(super) fn live_bytes(&self) -> u64 {
        self.entry_bytes + self.snapshot.map_or(0, |snapshot| snapshot.bytes)
    }

    fn snapshot_index(&self) -> u64 {
        self.snapshot.map_or(0, |snapshot| snapshot.at.index)
    }

    /// Returns whether something has to be durable before the node may act on it.
    pub(super) fn must_sync(&self, write: &Write) -> bool {
        let decides = |new: &HardState| new.term != self.hard_state.term || new.vote != self.hard_state.vote;
        write.must_sync
            || write.snapshot.is_some()
            || !write.entries.is_empty()
            || write.hard_state.as_ref().is_some_and(decides)
    }

    /// Everything in it, or nothing if something is unfit.
    pub(super) fn check(&self, write: &Write) -> Result<(), Unfit> {
        let mut last = self.last_index();
        let mut commit = self.hard_state.commit;
        let mut replaced = false;
        if let Some(snapshot) = &write.snapshot {
            let at = self.check_snapshot(snapshot)?;
            commit = commit.max(at.index);
            replaced = self.term(at.index) != Some(at.term);
            if replaced {
                last = at.index;
            }
        }
        let mut before = match &write.snapshot {
            Some(snapshot) if replaced => snapshot.metadata.term,
            _ => 0,
        };
        for (nth, entry) in write.entries.iter().enumerate() {
            if nth == 0 {
                if entry.index > last.saturating_add(1) || entry.index == 0 {
                    return Err(Unfit::Gap { index: entry.index, last });
                }
                if entry.index <= commit {
                    return Err(Unfit::Committed { index: entry.index, commit });
                }
                if !replaced {
                    before = self.term(entry.index - 1).unwrap_or_default();
                }
            } else if entry.index != last.saturating_add(1) {
                return Err(Unfit::Gap { index: entry.index, last });
            }
            if entry.term < before {
                return Err(Unfit::EntryTerm { index: entry.index, term: entry.term, before });
            }
            (last, before) = (entry.index, entry.term);
        }
        match &write.hard_state {
            Some(new) => check_state(&self.hard_state, new, commit, last),
            None => Ok(()),
        }
    }

    fn check_snapshot(&self, snapshot: &Snapshot) -> Result<Position, Unfit> {
        let at = position(snapshot);
        let current = self.snapshot_index().max(self.trimmed.index);
        if at.index < current || at.index == 0 { Err(Unfit::Snapshot { index: at.index, current }) } else { Ok(at) }
    }

    pub(super) fn check_trim(&self, index: u64) -> Result<(), Unfit> {
        let snapshot = self.snapshot_index();
        if index > snapshot.min(self.last_index()) { Err(Unfit::Trim { index, snapshot }) } else { Ok(()) }
    }

    /// A snapshot that was checked, or was read.
    pub(super) fn apply_snapshot(&mut self, snapshot: &Snapshot, row: u64, bytes: usize) {
        let at = position(snapshot);
        if self.term(at.index) != Some(at.term) {
            self.places.clear();
            self.entry_bytes = 0;
            self.trimmed = at;
        }
        self.hard_state.commit = self.hard_state.commit.max(at.index);
        self.snapshot = Some(SnapshotPlace { at, row, bytes: (bytes + RECORD_HEADER_BYTES) as u64 });
    }

    /// Puts an entry in the place of the one with the same index and all behind it.
    ///
    /// # Errors
    /// The entry does not follow.
    pub(super) fn apply_entry(&mut self, entry: &Entry, row: u64, bytes: usize) -> Result<(), Unfit> {
        let last = self.last_index();
        let nth =
            entry.index.checked_sub(self.trimmed.index.saturating_add(1)).and_then(|nth| usize::try_from(nth).ok());
        let nth = nth.filter(|&nth| nth <= self.places.len()).ok_or(Unfit::Gap { index: entry.index, last })?;
        for replaced in self.places.drain(nth..) {
            self.entry_bytes -= replaced.bytes;
        }
        let bytes = (bytes + RECORD_HEADER_BYTES) as u64;
        self.places.push_back(Place { term: entry.term, row, bytes });
        self.entry_bytes += bytes;
        Ok(())
    }

    pub(super) fn apply_state(&mut self, state: HardState) {
        self.hard_state = state;
    }

    /// Forgets the entries up to this one. In a file that was written anew it stands before the entries.
    pub(super) fn apply_trimmed(&mut self, trimmed: Position) {
        while self.trimmed.index < trimmed.index {
            let Some(place) = self.places.pop_front() else { break };
            self.entry_bytes -= place.bytes;
            self.trimmed.index += 1;
        }
        self.trimmed = trimmed;
    }

    /// Applies a record of the row that was read at `row`.
    pub(super) fn replay(&mut self, record: &Record, row: u64) -> Result<(), Unfit> {
        match record {
            Record::Entry(entry) => self.apply_entry(entry, row, entry.encoded_len())?,
            Record::HardState(state) => self.apply_state(*state),
            Record::Snapshot(snapshot) => self.apply_snapshot(snapshot, row, snapshot.encoded_len()),
            Record::Trimmed(trimmed) => self.apply_trimmed(*trimmed),
        }
        Ok(())
    }

    /// Checks the rules that hold for every log that was read to its end.
    pub(super) fn check_whole(&self) -> Result<(), Unfit> {
        let last = self.last_index();
        let commit = self.hard_state.commit;
        if commit > last { Err(Unfit::Uncommittable { commit, last }) } else { Ok(()) }
    }
}

pub(super) fn position(snapshot: &Snapshot) -> Position {
    Position { index: snapshot.metadata.index, term: snapshot.metadata.term }
}

fn check_state(old: &HardState, new: &HardState, commit: u64, last: u64) -> Result<(), Unfit> {
    if new.term < old.term {
        return Err(Unfit::Term { term: new.term, current: old.term });
    }
    if new.term == old.term && old.vote != 0 && new.vote != old.vote {
        return Err(Unfit::Vote { term: new.term, vote: new.vote, current: old.vote });
    }
    if new.commit < commit {
        return Err(Unfit::Commit { commit: new.commit, current: commit });
    }
    if new.commit > last {
        return Err(Unfit::Uncommittable { commit: new.commit, last });
    }
    Ok(())
}
