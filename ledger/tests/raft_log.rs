//! Tests the Raft log: synced contents survive a crash at any byte, damage is detected, and the log does not grow
//! without bound.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use bytes::Bytes;
use fabric_proto::raftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use orderer_ledger::raft_log::{Contents, DiskDirectory, Position, RaftLog, RaftLogError, Unfit, Write};
use proptest::prelude::*;
use world::channel;
use world::log_folder::{Cut, MemoryFolder};

const NAME: &str = "mychan.raft";
const NODE: u64 = 2;
const PAGE: usize = 4096;

fn create(folder: &MemoryFolder) -> RaftLog {
    RaftLog::create(folder.clone(), NAME, &channel(), NODE, &Contents::default()).unwrap()
}

fn open(folder: &MemoryFolder) -> Result<(RaftLog, Contents), RaftLogError> {
    RaftLog::open(folder.clone(), NAME, &channel(), NODE)
}

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let data = Bytes::from(vec![u8::try_from(index % 251).unwrap(); bytes]);
    Entry { r#type: 0, term, index, data: Some(data) }
}

fn entries(from: u64, count: u64, term: u64, bytes: usize) -> Write {
    Write { entries: (from..from + count).map(|index| entry(index, term, bytes)).collect(), ..Write::default() }
}

fn state(term: u64, vote: u64, commit: u64) -> Write {
    Write { hard_state: Some(HardState { term, vote, commit }), ..Write::default() }
}

fn snapshot(index: u64, term: u64, bytes: usize) -> Snapshot {
    let conf_state = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    Snapshot { data: Some(vec![7; bytes].into()), metadata: SnapshotMetadata { conf_state, index, term } }
}

/// The expected log, in memory.
#[derive(Clone, Debug, Default)]
struct Model(Contents);

impl Model {
    fn last(&self) -> u64 {
        self.0.trimmed.index + self.0.entries.len() as u64
    }

    fn term(&self, index: u64) -> Option<u64> {
        if index == self.0.trimmed.index {
            return Some(self.0.trimmed.term);
        }
        self.0.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }

    fn take(&mut self, write: &Write) {
        if let Some(snapshot) = &write.snapshot {
            let SnapshotMetadata { index, term, .. } = snapshot.metadata;
            if self.term(index) != Some(term) {
                self.0.entries.clear();
                self.0.trimmed = Position { index, term };
            }
            self.0.hard_state.commit = self.0.hard_state.commit.max(index);
            self.0.snapshot = Some(snapshot.clone());
        }
        if let Some(first) = write.entries.first() {
            self.0.entries.retain(|entry| entry.index < first.index);
            self.0.entries.extend_from_slice(&write.entries);
        }
        if let Some(state) = write.hard_state {
            self.0.hard_state = state;
        }
    }

    fn trim(&mut self, index: u64) {
        let term = self.term(index).unwrap();
        self.0.entries.retain(|entry| entry.index > index);
        self.0.trimmed = Position { index, term };
    }

    /// Returns whether a file may have these contents after the model was synced. Trimming and the commit index may be
    /// lost.
    fn allows(&self, found: &Contents) -> bool {
        let from = found.entries.iter().position(|entry| entry.index > self.0.trimmed.index);
        let kept = from.map_or(&[][..], |from| &found.entries[from..]);
        found.trimmed.index <= self.0.trimmed.index
            && found.trimmed.index + found.entries.len() as u64 == self.last()
            && kept == self.0.entries
            && found.snapshot == self.0.snapshot
            && (found.hard_state.term, found.hard_state.vote) == (self.0.hard_state.term, self.0.hard_state.vote)
            && found.hard_state.commit <= self.0.hard_state.commit
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { back: u64, count: u64, bytes: usize },
    Vote(u64),
    Commit(u64),
    Take(u64),
    Receive(u64),
    Trim(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..4, 1u64..6, 0usize..9000).prop_map(|(back, count, bytes)| Step::Append { back, count, bytes }),
        2 => (1u64..4).prop_map(Step::Vote),
        3 => (0u64..8).prop_map(Step::Commit),
        2 => (0u64..8).prop_map(Step::Take),
        1 => (1u64..5).prop_map(Step::Receive),
        2 => (0u64..8).prop_map(Step::Trim),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

fn cuts() -> impl Strategy<Value = Cut> {
    prop_oneof![
        1 => Just(Cut::Nothing),
        4 => (0usize..20_000).prop_map(Cut::Prefix),
        2 => any::<u64>().prop_map(Cut::Sectors),
    ]
}

/// Returns the contents that a step writes to a log like the model's.
fn write_of(step: &Step, model: &Model) -> Option<Write> {
    let Contents { hard_state, .. } = &model.0;
    let term = hard_state.term.max(1);
    Some(match *step {
        Step::Append { back, count, bytes } => {
            let first = model.last().saturating_sub(back).max(hard_state.commit) + 1;
            let term = if back > 0 { term + 1 } else { term };
            Write {
                hard_state: Some(HardState {
                    term,
                    vote: if term > hard_state.term { 0 } else { hard_state.vote },
                    ..*hard_state
                }),
                ..entries(first, count, term, bytes)
            }
        }
        Step::Vote(vote) => state(hard_state.term + 1, vote, hard_state.commit),
        Step::Commit(more) => state(hard_state.term, hard_state.vote, (hard_state.commit + more).min(model.last())),
        Step::Take(back) => {
            let index = hard_state.commit.saturating_sub(back);
            let newer = index > model.0.trimmed.index.max(model.0.snapshot.as_ref().map_or(0, |s| s.metadata.index));
            Write { snapshot: Some(snapshot(index, model.term(index).filter(|_| newer)?, 3000)), ..Write::default() }
        }
        Step::Receive(ahead) => {
            Write { snapshot: Some(snapshot(model.last() + ahead, term, 3000)), ..Write::default() }
        }
        Step::Trim(_) | Step::Reopen => return None,
    })
}

/// Takes steps until one fails. Returns the contents that are durable, and those that may be durable as well.
fn run(folder: &MemoryFolder, steps: &[Step]) -> (Model, Model) {
    let mut model = Model::default();
    let Ok(mut log) = RaftLog::create(folder.clone(), NAME, &channel(), NODE, &Contents::default()) else {
        return (model.clone(), model);
    };
    for step in steps {
        let mut next = model.clone();
        let done = match (write_of(step, &model), step) {
            (Some(write), _) => {
                next.take(&write);
                log.append(&write).map(|_| ())
            }
            (None, Step::Trim(back)) => {
                let snapshot = model.0.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
                let index = snapshot.min(model.last()).saturating_sub(*back).max(model.0.trimmed.index);
                next.trim(index);
                log.trim(index)
            }
            (None, Step::Reopen) => {
                drop(log);
                match open(folder) {
                    Ok((again, contents)) => {
                        assert!(model.allows(&contents), "{contents:?}\nis not\n{model:?}");
                        (log, next.0) = (again, contents);
                        Ok(())
                    }
                    Err(RaftLogError::Io { .. }) => return (model.clone(), model),
                    Err(error) => panic!("{error}"),
                }
            }
            (None, _) => Ok(()),
        };
        match done {
            Ok(()) => model = next,
            Err(RaftLogError::Io { .. }) => return (model, next),
            Err(error) => panic!("{step:?}: {error}: {:?}", std::error::Error::source(&error)),
        }
        assert_eq!(log.sizes().last_index, model.last());
        assert_eq!(log.hard_state(), model.0.hard_state);
    }
    (model.clone(), model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_synced_is_there_after_a_crash(steps in steps(), cut in cuts(), at in any::<prop::sample::Index>()) {
        let whole = MemoryFolder::default();
        run(&whole, &steps);
        let folder = MemoryFolder::default();
        folder.fail_at(at.index(usize::try_from(whole.operations()).unwrap()) as u64);
        let (durable, attempted) = run(&folder, &steps);
        let after = folder.after_power_cut(cut);
        if after.names().contains(&NAME.to_owned()) {
            let (mut log, contents) = open(&after).unwrap();
            prop_assert!(durable.allows(&contents) || attempted.allows(&contents), "{:?}\nis not\n{:?}", contents, durable);
            // the log can be continued
            let next = log.sizes().last_index + 1;
            log.append(&entries(next, 1, contents.hard_state.term + 9, 10)).unwrap();
            drop(log);
            prop_assert_eq!(open(&after).unwrap().1.entries.last().unwrap().index, next);
        }
    }

    #[test]
    fn a_changed_byte_of_a_row_that_others_follow_is_noticed(at in any::<prop::sample::Index>(), by in 1u8..) {
        let folder = MemoryFolder::default();
        let mut log = create(&folder);
        for index in 1..6 {
            log.append(&entries(index, 1, 1, 3000)).unwrap();
        }
        drop(log);
        let mut bytes = folder.bytes(NAME);
        // each row takes a page, and what follows the seal is padding
        let row = PAGE * (2 + at.index(4));
        bytes[row + at.index(3000)] ^= by;
        folder.put(NAME, bytes);
        let error = open(&folder).unwrap_err();
        prop_assert!(matches!(error, RaftLogError::Damaged { at, .. } if at == row as u64), "{}", error);
    }
}

#[test]
fn a_crash_at_every_byte_of_the_last_row_loses_that_row_alone() {
    let folder = MemoryFolder::default();
    let mut log = create(&folder);
    log.append(&Write { hard_state: state(1, 3, 0).hard_state, ..entries(1, 2, 1, 500) }).unwrap();
    let before = log.sizes().used_bytes;
    log.append(&entries(3, 1, 1, 700)).unwrap();
    drop(log);
    let whole = folder.bytes(NAME);
    let begin = usize::try_from(before).unwrap();
    for kept in 0..900 {
        let mut torn = whole.clone();
        torn[begin + kept..].fill(0);
        folder.put(NAME, torn);
        let (log, contents) = open(&folder).unwrap();
        let is_whole = kept >= 830;
        if !is_whole && kept < 700 {
            assert_eq!(contents.entries.len(), 2, "{kept}");
            // the first bytes of the row's number are zeros
            assert_eq!(log.torn_tail().is_some(), kept > 7, "{kept}");
        }
        assert_eq!((contents.hard_state.term, contents.hard_state.vote), (1, 3));
    }
}

#[test]
fn a_changed_last_row_is_no_torn_one() {
    let folder = MemoryFolder::default();
    let mut log = create(&folder);
    let at = log.append(&state(1, 3, 0)).unwrap().map(|_| log.sizes().used_bytes - PAGE as u64).unwrap();
    drop(log);
    let mut bytes = folder.bytes(NAME);
    let row = usize::try_from(at).unwrap();
    bytes[row + 50] ^= 1;
    folder.put(NAME, bytes);
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, RaftLogError::Damaged { at: found, .. } if found == at), "{error}");
}

#[test]
fn a_failed_sync_is_not_trusted_until_the_log_is_opened_again() {
    let folder = MemoryFolder::default();
    let mut log = create(&folder);
    log.append(&state(1, 1, 0)).unwrap();
    folder.lose_next_sync();
    assert!(matches!(log.append(&state(2, 3, 0)), Err(RaftLogError::Io { .. })));
    assert!(matches!(log.append(&state(3, 3, 0)), Err(RaftLogError::Refused { .. })));
    assert!(matches!(log.trim(0), Err(RaftLogError::Refused { .. })));
    drop(log);
    // readers see the row; after it was read it is durable
    let (log, contents) = open(&folder).unwrap();
    assert_eq!(contents.hard_state.term, 2);
    drop(log);
    let (_, contents) = open(&folder.after_power_cut(Cut::Prefix(0))).unwrap();
    assert_eq!(contents.hard_state.term, 2);
}

#[test]
fn a_full_disk_loses_nothing_that_was_synced() {
    let folder = MemoryFolder::default();
    let mut log = create(&folder);
    log.append(&entries(1, 3, 1, 1000)).unwrap();
    folder.set_capacity(Some(300 << 10));
    let error = log.append(&entries(4, 3, 1, 200_000)).unwrap_err();
    assert!(matches!(&error, RaftLogError::Io { cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull));
    drop(log);
    folder.set_capacity(None);
    let (mut log, contents) = open(&folder).unwrap();
    assert_eq!(contents.entries.len(), 3);
    log.append(&entries(4, 3, 1, 200_000)).unwrap();
}

#[test]
fn the_file_does_not_grow_with_what_went_through_it() {
    let folder = MemoryFolder::default();
    let mut log = create(&folder);
    let (mut largest, mut last) = (0, 0);
    for round in 0..60 {
        log.append(&entries(last + 1, 10, 1, 20_000)).unwrap();
        last += 10;
        log.append(&state(1, 1, last)).unwrap();
        log.save_snapshot(snapshot(last - 5, 1, 20_000)).unwrap();
        log.trim(last - 9).unwrap();
        largest = largest.max(log.sizes().file_bytes);
        assert_eq!(log.sizes().entries, 9, "round {round}");
    }
    assert!(largest < 2 << 20, "{largest}");
    drop(log);
    let (log, contents) = open(&folder).unwrap();
    assert_eq!(contents.entries.last().unwrap(), &entry(last, 1, 20_000));
    assert_eq!(log.entries(last - 3, last, 1).unwrap(), [entry(last - 3, 1, 20_000)]);
    assert!(matches!(log.entries(1, 9, 9), Err(RaftLogError::Absent { index: 1, .. })));
    assert_eq!(folder.names(), [NAME]);
}

#[test]
fn what_contradicts_the_log_is_refused() {
    let folder = MemoryFolder::default();
    let mut log = create(&folder);
    log.append(&Write { hard_state: state(5, 2, 2).hard_state, ..entries(1, 3, 4, 10) }).unwrap();
    let mut refused = |write: Write| match log.append(&write) {
        Err(RaftLogError::Unfit { cause, .. }) => cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(entries(5, 1, 5, 1)), Unfit::Gap { index: 5, last: 3 });
    assert_eq!(refused(entries(2, 1, 5, 1)), Unfit::Committed { index: 2, commit: 2 });
    assert_eq!(refused(entries(4, 1, 3, 1)), Unfit::EntryTerm { index: 4, term: 3, before: 4 });
    assert_eq!(refused(state(4, 2, 2)), Unfit::Term { term: 4, current: 5 });
    assert_eq!(refused(state(5, 3, 2)), Unfit::Vote { term: 5, vote: 3, current: 2 });
    assert_eq!(refused(state(5, 2, 1)), Unfit::Commit { commit: 1, current: 2 });
    assert_eq!(refused(state(5, 2, 4)), Unfit::Uncommittable { commit: 4, last: 3 });
    assert!(matches!(log.trim(2), Err(RaftLogError::Unfit { cause: Unfit::Trim { index: 2, snapshot: 0 }, .. })));
}

#[test]
fn the_log_of_another_consenter_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = || DiskDirectory(folder.path().to_owned());
    let log = RaftLog::create(on_disk(), NAME, &channel(), NODE, &Contents::default()).unwrap();
    assert!(RaftLog::open(on_disk(), NAME, &channel(), NODE).is_err(), "it is locked");
    drop(log);
    assert!(matches!(RaftLog::open(on_disk(), NAME, &channel(), 3), Err(RaftLogError::Other { found_node: NODE, .. })));
    let exists = RaftLog::create(on_disk(), NAME, &channel(), NODE, &Contents::default());
    assert!(matches!(exists, Err(RaftLogError::Exists { .. })));
    RaftLog::open(on_disk(), NAME, &channel(), NODE).unwrap();
}
