//! Tests that a ledger behaves the same whether its database is open or closed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use orderer_core::types::BlockNumber;
use orderer_ledger::{CommitBatch, CommitError, Ledger, OpenDatabases, OpenError, Options, PendingEnvelope};
use proptest::prelude::*;
use proptest::sample::Index;
use world::disk::Disk;
use world::{SMALL, blocks_after, channel, envelope, genesis};

/// An operation on a ledger.
#[derive(Clone, Debug)]
enum Operation {
    /// Commits blocks with entries of these sizes, which take all that is pending, and new pending envelopes behind them.
    Commit {
        blocks: Vec<usize>,
        pending: u64,
    },
    /// Reads one of the blocks.
    Read(Index),
    Checkpoint,
    Close,
    /// Opens the ledger anew, after a clean end.
    Restart,
    /// Opens the ledger as it is after the process was killed.
    Kill,
    /// Opens the ledger as it is after a power failure, of which this selects the outcome.
    PowerCut(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (proptest::collection::vec(1..9000usize, 0..4), 0..4u64)
            .prop_map(|(blocks, pending)| Operation::Commit { blocks, pending }),
        3 => any::<Index>().prop_map(Operation::Read),
        1 => Just(Operation::Checkpoint),
        4 => Just(Operation::Close),
        1 => Just(Operation::Restart),
        1 => Just(Operation::Kill),
        1 => any::<u64>().prop_map(Operation::PowerCut),
    ]
}

/// The state that a ledger must have.
struct Model {
    blocks: Vec<Vec<u8>>,
    pending: Vec<PendingEnvelope>,
    sequence: u64,
}

impl Model {
    fn check(&self, ledger: &Ledger) {
        assert_eq!(ledger.height(), self.blocks.len() as u64);
        assert_eq!(ledger.pending().unwrap(), self.pending);
    }

    fn check_block(&self, ledger: &Ledger, number: usize) {
        let block = ledger.block(BlockNumber(number as u64)).unwrap().expect("is there");
        assert!(block.block_bytes()[..] == self.blocks[number][..], "block {number}");
    }

    fn commit(&mut self, ledger: &Ledger, blocks: &[usize], pending: u64) {
        let blocks = blocks_after(&ledger.last_block(), blocks.len(), blocks);
        let pending_add: Vec<_> = (0..pending).map(|n| envelope(self.sequence + n, 700)).collect();
        let pending_drop_below = if blocks.is_empty() { 0 } else { self.sequence };
        if !blocks.is_empty() {
            self.pending.clear();
        }
        self.sequence += pending;
        self.pending.extend(pending_add.iter().cloned());
        self.blocks.extend(blocks.iter().map(|block| block.block_bytes().to_vec()));
        let commit = CommitBatch { blocks, pending_add, pending_drop_below, ..CommitBatch::default() };
        ledger.commit(&mut ledger.try_write_permit().unwrap(), commit).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commits_reads_closes_and_crashes_gives_the_same_chain(
        operations in proptest::collection::vec(operation(), 1..40)
    ) {
        let mut disk = Disk::default();
        let mut ledger = disk.create().unwrap();
        let mut model = Model { blocks: vec![genesis().block_bytes().to_vec()], pending: vec![], sequence: 1 };
        for operation in operations {
            match operation {
                Operation::Commit { blocks, pending } => model.commit(&ledger, &blocks, pending),
                Operation::Read(which) => model.check_block(&ledger, which.index(model.blocks.len())),
                Operation::Checkpoint => ledger.checkpoint().unwrap(),
                Operation::Close => ledger.close_database().unwrap(),
                Operation::Restart => {
                    drop(ledger);
                    ledger = disk.open().unwrap();
                }
                Operation::Kill => {
                    disk = Disk::with_content(disk.live());
                    ledger = disk.open().unwrap();
                }
                Operation::PowerCut(seed) => {
                    disk = disk.after_power_cut(seed);
                    ledger = disk.open().unwrap();
                }
            }
            model.check(&ledger);
        }
        for number in 0..model.blocks.len() {
            model.check_block(&ledger, number);
        }
        prop_assert_eq!(ledger.verify().unwrap(), ledger.height());
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    (folder, path)
}

fn add(ledger: &Ledger) -> Result<(), CommitError> {
    let blocks = blocks_after(&ledger.last_block(), 1, &[700]);
    ledger.commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
}

fn made(path: &Path) -> Ledger {
    let ledger = Ledger::create(path, &channel(), &genesis(), SMALL).unwrap();
    add(&ledger).unwrap();
    ledger
}

#[test]
fn a_ledger_stays_locked_while_its_database_is_closed() {
    let (_folder, path) = folder();
    let ledger = made(&path);
    for _ in 0..2 {
        ledger.close_database().unwrap();
        assert!(matches!(Ledger::open(&path, &channel(), SMALL), Err(OpenError::AlreadyOpen { .. })));
        for other in [redb::Database::open(&path).map(|_| ()), redb::ReadOnlyDatabase::open(&path).map(|_| ())] {
            assert!(matches!(other, Err(redb::DatabaseError::DatabaseAlreadyOpen)), "{other:?}");
        }
        // it is open for reading in the second round
        assert!(ledger.block(BlockNumber(0)).unwrap().is_some());
    }
    drop(ledger);
    drop(redb::Database::open(&path).expect("is free"));
}

#[test]
fn to_open_and_read_a_ledger_and_to_close_its_database_changes_nothing_in_the_file() {
    let (_folder, path) = folder();
    drop(made(&path));
    let before = fs::read(&path).unwrap();
    let ledger = Ledger::open(&path, &channel(), SMALL).unwrap();
    for number in 0..2 {
        assert!(ledger.block(BlockNumber(number)).unwrap().is_some());
        ledger.close_database().unwrap();
        ledger.rest().unwrap();
    }
    assert!(fs::read(&path).unwrap() == before);
    add(&ledger).unwrap();
    assert!(fs::read(&path).unwrap() != before);
}

#[test]
fn a_ledger_that_was_moved_or_unlinked_while_its_database_is_closed_goes_on() {
    let (folder, path) = folder();
    let ledger = made(&path);
    ledger.close_database().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    add(&ledger).unwrap();
    ledger.close_database().unwrap();
    fs::remove_file(&elsewhere).unwrap();
    assert_eq!(ledger.verify().unwrap(), 3);
}

#[test]
fn a_file_that_is_damaged_while_its_database_is_closed_fails_the_ledger_with_a_cause() {
    type Damage = fn(&File, &[u8]);
    let whole_of = |path: &Path| fs::read(path).unwrap();
    let empty: Damage = |file, _| file.set_len(0).unwrap();
    let half: Damage = |file, whole| file.set_len(whole.len() as u64 / 2).unwrap();
    let zeros: Damage = |file, whole| file.write_all_at(&vec![0; whole.len()], 0).unwrap();
    // redb's panics are caught; their backtraces would hide the output of this test
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for damage in [empty, half, zeros] {
        let (_folder, path) = folder();
        let ledger = made(&path);
        ledger.close_database().unwrap();
        let whole = whole_of(&path);
        damage(&File::options().write(true).open(&path).unwrap(), &whole);
        let damaged = whole_of(&path);
        assert!(ledger.block(BlockNumber(0)).is_err());
        let failed = add(&ledger);
        assert!(matches!(&failed, Err(CommitError::Append { number, .. }) if number.0 == 2), "{failed:?}");
        assert!(matches!(add(&ledger), Err(CommitError::Refused { .. })));
        assert_eq!(ledger.height(), 2);
        assert!(damaged.is_empty() == whole_of(&path).is_empty(), "no new database was made there");

        fs::write(&path, &whole).unwrap();
        ledger.reopen().expect("opens");
        add(&ledger).expect("goes on");
        assert_eq!(ledger.verify().unwrap(), 3);
    }
    std::panic::set_hook(report);
}

#[test]
fn an_older_copy_in_place_of_the_file_is_noticed() {
    let (_folder, path) = folder();
    let ledger = made(&path);
    drop(ledger);
    let older = fs::read(&path).unwrap();
    let ledger = Ledger::open(&path, &channel(), SMALL).unwrap();
    add(&ledger).unwrap();
    ledger.close_database().unwrap();
    fs::write(&path, &older).unwrap();
    let failed = add(&ledger).expect_err("the last block is missing");
    let cause = std::error::Error::source(&failed).map(ToString::to_string);
    assert_eq!(cause.as_deref(), Some("block 2 is not in the file any more"));
}

#[test]
fn a_disk_that_fails_while_a_database_is_closed_fails_the_next_commit() {
    let disk = Disk::default();
    let ledger = disk.create().unwrap();
    add(&ledger).unwrap();
    disk.cut_at(disk.operations());
    ledger.close_database().expect_err("the disk fails");
    ledger.close_database().expect("is closed");
    let failed = add(&ledger).expect_err("was not closed cleanly");
    let cause = std::error::Error::source(&failed).map(ToString::to_string).unwrap_or_default();
    assert!(cause.starts_with("the idle database could not be closed: "), "{cause}");
    assert_eq!(ledger.height(), 2);
    let found = disk.after_power_cut(1).open().unwrap();
    assert_eq!(found.verify().unwrap(), 2);
}

#[test]
fn of_many_ledgers_only_those_used_last_stay_open() {
    let pool = OpenDatabases::new(3);
    let options = Options { open_databases: Some(pool.clone()), ..SMALL };
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| folder.path().join(number.to_string());
    for number in 0..12 {
        drop(Ledger::create(&path(number), &channel(), &genesis(), options.clone()).unwrap());
    }
    assert_eq!(pool.open(), 0);
    let ledgers: Vec<_> = (0..12).map(|n| Ledger::open(&path(n), &channel(), options.clone()).unwrap()).collect();
    assert_eq!(pool.open(), 3, "they are open for reading");
    for ledger in &ledgers {
        assert!(ledger.block(BlockNumber(0)).unwrap().is_some());
        assert!(pool.open() <= 3);
    }
    for _ in 0..3 {
        for ledger in &ledgers {
            add(ledger).unwrap();
        }
    }
    assert!(pool.open() > 3, "databases that are written stay open");
    for ledger in &ledgers {
        assert_eq!(ledger.verify().unwrap(), 4);
    }
    drop(ledgers);
    assert_eq!(pool.open(), 0);
}

#[test]
fn readers_and_a_writer_of_one_ledger_do_not_notice_that_others_close_it() {
    let (_folder, path) = folder();
    let ledger = made(&path);
    let (ledger, is_done) = (&ledger, &AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..100).for_each(|_| add(ledger).unwrap());
            is_done.store(true, Ordering::Release);
        });
        for reader in 0..3 {
            scope.spawn(move || {
                let mut number = reader;
                while !is_done.load(Ordering::Acquire) {
                    number = (number + 7) % ledger.height();
                    assert_eq!(ledger.block(BlockNumber(number)).unwrap().expect("is there").number().0, number);
                }
            });
        }
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                ledger.close_database().unwrap();
                std::thread::yield_now();
            }
        });
    });
    assert_eq!(ledger.verify().unwrap(), 102);
}
