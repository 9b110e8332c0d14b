//! Tests that a full or failing disk makes writes fail with a reason, and does not lose earlier contents.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::error::Error as _;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orderer_core::types::BlockNumber;
use orderer_ledger::{CommitBatch, CommitError, Ledger, OpenError, is_disk_full};
use redb::StorageBackend;
use redb::backends::FileBackend;
use world::disk::Disk;
use world::{SMALL, blocks_after, channel, envelope, genesis};

/// A real file that rejects writes on demand.
#[derive(Debug)]
struct Breakable {
    file: FileBackend,
    broken: Arc<AtomicBool>,
}

impl Breakable {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Acquire) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Breakable {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn a_full_disk_names_channel_block_and_cause() {
    let disk = Disk::default();
    let ledger = disk.create().unwrap();
    disk.set_capacity(1_000_000);
    let mut written = 1;
    let error = loop {
        let blocks = blocks_after(&ledger.last_block(), 1, &[50_000]);
        match ledger.commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() }) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(written > 5, "{written}");
    assert!(matches!(&error, CommitError::Append { number, .. } if number.0 == written));
    assert!(error.source().is_some());
    let text = chain(&error);
    assert!(text.contains("channel mychan: commit at block") && text.contains("no storage space"), "{text}");
    assert_eq!(ledger.height(), written);
    let refused = ledger.commit(
        &mut ledger.try_write_permit().unwrap(),
        CommitBatch { pending_add: vec![envelope(1, 10)], ..CommitBatch::default() },
    );
    let refused = refused.expect_err("is refused").to_string();
    assert!(refused.contains("until it is reopened") && refused.contains("no storage space"), "{refused}");
    drop(ledger);

    let more_space = Disk::with_content(disk.live());
    let ledger = more_space.open().expect("opens");
    assert!(ledger.height() >= written);
    let blocks = blocks_after(&ledger.last_block(), 1, &[50_000]);
    ledger
        .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
        .expect("goes on");
}

#[test]
fn a_ledger_that_cannot_be_written_can_still_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let storage = Breakable { file: FileBackend::new(file).unwrap(), broken: broken.clone() };
    let pending = Disk::default().pending_log();
    let ledger = Ledger::create_on(storage, pending, &path, &channel(), &genesis(), SMALL).unwrap();
    for _ in 0..40 {
        let blocks = blocks_after(&ledger.last_block(), 2, &[700, 30_000]);
        ledger
            .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
            .unwrap();
    }
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { pending_add: vec![envelope(1, 1300)], ..CommitBatch::default() },
        )
        .unwrap();
    broken.store(true, Ordering::Release);
    let blocks = blocks_after(&ledger.last_block(), 1, &[900_000]);
    assert!(matches!(
        ledger.commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() }),
        Err(CommitError::Append { .. })
    ));
    let before = std::fs::read(&path).unwrap();
    assert_eq!(ledger.height(), 81);
    for number in 0..81 {
        let block = ledger.block(BlockNumber(number)).expect("can be read").expect("is there");
        assert_eq!(block.number().0, number);
    }
    assert_eq!(ledger.pending().expect("can be read"), [envelope(1, 1300)]);
    assert!(ledger.block(BlockNumber(81)).unwrap().is_none());
    assert!(std::fs::read(&path).unwrap() == before, "reading changed the file");
    drop(ledger);
    assert_eq!(Ledger::open(&path, &channel(), SMALL).expect("opens").height(), 81);
}

#[test]
fn a_ledger_that_failed_is_opened_again_for_all_who_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let open = |path: &Path| {
        FileBackend::new(File::options().create_new(true).read(true).write(true).open(path).unwrap()).unwrap()
    };
    let broken = Arc::new(AtomicBool::new(false));
    let storage = Breakable { file: open(&path), broken: broken.clone() };
    let pending = open(&path.with_extension("pending"));
    let ledger = Ledger::create_on(storage, pending, &path, &channel(), &genesis(), SMALL).unwrap();
    let add = |bytes| {
        let blocks = blocks_after(&ledger.last_block(), 1, &[bytes]);
        ledger.commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
    };
    add(700).unwrap();
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { pending_add: vec![envelope(1, 1300)], ..CommitBatch::default() },
        )
        .unwrap();
    ledger.reopen().expect("nothing to do");
    broken.store(true, Ordering::Release);
    assert!(add(900_000).is_err_and(|error| matches!(error, CommitError::Append { .. }) && is_disk_full(&error)));
    assert!(add(1).is_err_and(|error| matches!(error, CommitError::Refused { .. }) && is_disk_full(&error)));

    // the error names the foreign file, and the chain can still be read
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    std::fs::write(&path, "something else").unwrap();
    assert!(matches!(ledger.reopen(), Err(OpenError::Foreign { .. })));
    assert!(matches!(add(1), Err(CommitError::Refused { .. })));
    std::fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(ledger.block(BlockNumber(1)).unwrap().expect("is there").number().0, 1);

    ledger.reopen().expect("opens");
    assert_eq!((ledger.height(), ledger.pending().unwrap()), (2, vec![envelope(1, 1300)]));
    add(700).expect("goes on");
    assert_eq!(ledger.height(), 3);
    drop(ledger);
    assert_eq!(Ledger::open(&path, &channel(), SMALL).expect("opens").height(), 3);
}

#[test]
fn what_a_failed_sync_lost_costs_nothing_that_was_acknowledged_before_or_after() {
    let mut failed = 0;
    for lost in 0.. {
        let disk = Disk::default();
        let mut ledger = disk.create().unwrap();
        disk.lose_at(lost);
        let (mut sequence, mut held, mut height) = (0, Vec::new(), 1);
        let mut failures = 0;
        for step in 0..12 {
            let mut commit = CommitBatch::default();
            if step % 4 == 3 {
                commit.blocks = blocks_after(&ledger.last_block(), 1, &[700, 9000]);
                commit.pending_drop_below = sequence + 1;
            } else {
                sequence += 1;
                commit.pending_add = vec![envelope(sequence, 5000)];
            }
            let mut right = ledger.try_write_permit().unwrap();
            match ledger.commit(&mut right, commit) {
                Ok(()) if step % 4 == 3 => {
                    held.clear();
                    height += 1;
                }
                Ok(()) => held.push(sequence),
                Err(_) => {
                    // the process restarts, not the machine, so that everything that the file system shows is there
                    failures += 1;
                    drop(ledger);
                    ledger = disk.open().expect("opens");
                    height = ledger.height();
                    let pending = ledger.pending().unwrap();
                    let there: Vec<u64> = pending.iter().map(|envelope| envelope.sequence).collect();
                    assert!(held.iter().all(|held| there.contains(held) || there.is_empty() && step % 4 == 3));
                    held = there;
                }
            }
            let after = disk.after_power_cut(1).open();
            let after = after.unwrap_or_else(|error| panic!("sync {lost}, step {step}: {}", chain(&error)));
            assert_eq!(after.height(), height, "sync {lost}, step {step}");
            after.verify().expect("is whole");
            let there: Vec<u64> = after.pending().unwrap().iter().map(|envelope| envelope.sequence).collect();
            assert_eq!(there, held, "sync {lost}, step {step}");
        }
        if failures == 0 {
            break;
        }
        failed += 1;
    }
    assert!(failed > 12, "{failed}");
}

#[test]
fn a_disk_that_fails_while_a_ledger_is_made_is_an_error() {
    let disk = Disk::default();
    disk.set_capacity(80_000);
    let genesis = world::block(0, b"", vec![vec![7; 500_000].into()]);
    let (database, pending) = (disk.database(), disk.pending_log());
    let error = Ledger::create_on(database, pending, Path::new("simulated"), &channel(), &genesis, SMALL);
    let error = error.expect_err("no space");
    assert!(matches!(&error, OpenError::Io { cause, .. } if cause.kind() == io::ErrorKind::StorageFull), "{error:?}");
}
