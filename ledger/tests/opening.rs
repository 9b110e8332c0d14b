//! Tests that a file that is not the expected ledger is rejected with a reason, and not changed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::fs;
use std::path::{Path, PathBuf};

use orderer_core::types::{BlockNumber, ChannelId};
use orderer_ledger::{CommitBatch, Ledger, LedgerError, OpenError, Options};
use redb::{ReadableTable as _, TableDefinition};
use tempfile::TempDir;
use world::{SMALL, blocks_after, channel, genesis};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mychan.redb");
    (folder, path)
}

fn ledger_of(path: &Path, blocks: usize) -> Ledger {
    let ledger = Ledger::create(path, &channel(), &genesis(), SMALL).expect("is made");
    let blocks = blocks_after(&ledger.last_block(), blocks, &[700, 9000]);
    ledger
        .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
        .expect("is written");
    ledger
}

fn refused(path: &Path) -> OpenError {
    Ledger::open(path, &channel(), SMALL).expect_err("is refused")
}

#[test]
fn a_ledger_opens_as_it_was_left() {
    let (_folder, path) = folder();
    let ledger = ledger_of(&path, 20);
    let (last, height) = (ledger.block(BlockNumber(20)).unwrap().expect("is there"), ledger.height());
    ledger.close().expect("closes");
    let ledger = Ledger::open(&path, &channel(), SMALL).expect("opens");
    assert_eq!((ledger.height(), ledger.last_header_hash()), (height, *last.header_hash()));
    assert_eq!(ledger.block(BlockNumber(20)).unwrap().expect("is there").block_bytes(), last.block_bytes());
    assert_eq!(ledger.verify().expect("is whole"), 21);
}

#[test]
fn a_missing_file_is_not_made() {
    let (_folder, path) = folder();
    assert!(matches!(refused(&path), OpenError::Missing { .. }));
    assert!(!path.exists());
}

#[test]
fn a_ledger_is_not_made_over_a_file() {
    let (_folder, path) = folder();
    fs::write(&path, "mine").unwrap();
    let error = Ledger::create(&path, &channel(), &genesis(), SMALL).expect_err("is refused");
    assert!(matches!(error, OpenError::Exists { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn what_an_interrupted_creation_left_is_replaced() {
    let (folder, path) = folder();
    fs::write(folder.path().join("mychan.redb.new"), "half").unwrap();
    assert_eq!(ledger_of(&path, 1).height(), 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_length_that_is_not_the_blocks_costs_no_memory() {
    let (_folder, path) = folder();
    ledger_of(&path, 1).close().unwrap();
    let blocks = TableDefinition::<(u64, u32), &[u8]>::new("ledger.blocks");
    let database = redb::Database::open(&path).unwrap();
    let tx = database.begin_write().unwrap();
    {
        let mut table = tx.open_table(blocks).unwrap();
        let mut chunk = table.get((1, 0)).unwrap().unwrap().value().to_vec();
        chunk[..4].fill(0xff);
        table.insert((1, 0), &chunk[..]).unwrap();
    }
    tx.commit().unwrap();
    drop(database);
    let error = refused(&path);
    let OpenError::Damaged { cause: LedgerError::Layout(cause), .. } = &error else { panic!("{error}") };
    assert_eq!(cause, "block 1 lacks chunks: there is none of number 65556, as its length of 4294967295 bytes asks");
}

#[test]
fn a_ledger_begins_with_block_0() {
    let (_folder, path) = folder();
    let second = &blocks_after(&genesis(), 1, &[1])[0];
    let error = Ledger::create(&path, &channel(), second, SMALL).expect_err("is refused");
    assert!(matches!(error, OpenError::NotGenesis { number: BlockNumber(1), .. }));
    assert!(!path.exists());
}

#[test]
fn a_foreign_file_is_refused_and_not_changed() {
    let (_folder, path) = folder();
    for content in [&b""[..], b"r", b"#!/bin/sh\nexit 0\n", &[0; 10_000]] {
        fs::write(&path, content).unwrap();
        assert!(matches!(refused(&path), OpenError::Foreign { .. }));
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(refused(&path), OpenError::Foreign { .. }));
}

#[test]
fn a_database_of_another_program_is_refused() {
    let (_folder, path) = folder();
    let db = redb::Database::create(&path).unwrap();
    let tx = db.begin_write().unwrap();
    tx.open_table(TableDefinition::<u64, u64>::new("numbers")).unwrap().insert(1, 2).unwrap();
    tx.commit().unwrap();
    drop(db);
    let error = refused(&path).to_string();
    assert!(error.contains("not a ledger but a redb file of another program"), "{error}");
}

#[test]
fn another_channels_ledger_is_refused() {
    let (_folder, path) = folder();
    drop(ledger_of(&path, 1));
    let other = ChannelId::parse("other").unwrap();
    let error = Ledger::open(&path, &other, SMALL).expect_err("is refused").to_string();
    assert!(error.contains("holds channel mychan, not other"), "{error}");
}

#[test]
fn a_newer_format_is_refused() {
    let (_folder, path) = folder();
    drop(ledger_of(&path, 1));
    let db = redb::Database::open(&path).unwrap();
    let tx = db.begin_write().unwrap();
    let identity = TableDefinition::<&str, &[u8]>::new("ledger.identity");
    tx.open_table(identity).unwrap().insert("format", &7u32.to_be_bytes()[..]).unwrap();
    tx.commit().unwrap();
    drop(db);
    assert!(matches!(refused(&path), OpenError::Newer { found: 7, known: orderer_ledger::FORMAT, .. }));
}

#[test]
fn an_open_ledger_is_not_opened_twice() {
    let (_folder, path) = folder();
    let ledger = ledger_of(&path, 1);
    assert!(matches!(refused(&path), OpenError::AlreadyOpen { .. }));
    drop(ledger);
    Ledger::open(&path, &channel(), Options::default()).expect("is free again");
}

#[test]
fn a_last_block_that_does_not_follow_is_damage() {
    let (_folder, path) = folder();
    drop(ledger_of(&path, 3));
    let stray = world::block(4, b"another past", vec!["x".into()]).block_bytes();
    let db = redb::Database::open(&path).unwrap();
    let tx = db.begin_write().unwrap();
    let mut value = u32::try_from(stray.len()).unwrap().to_be_bytes().to_vec();
    value.extend_from_slice(&stray);
    let blocks = TableDefinition::<(u64, u32), &[u8]>::new("ledger.blocks");
    tx.open_table(blocks).unwrap().insert((4, 0), &value[..]).unwrap();
    tx.commit().unwrap();
    drop(db);
    let OpenError::Damaged { cause: LedgerError::Layout(text), .. } = refused(&path) else { panic!("not damage") };
    assert!(text.starts_with("block 4 names previous hash"), "{text}");
}

/// Damage of any bytes results in an error, or in a ledger that reads what was written, never in a panic.
#[test]
fn damage_is_an_error_and_never_a_panic() {
    let (_folder, path) = folder();
    let ledger = ledger_of(&path, 30);
    let blocks: Vec<_> = (0..31).map(|n| ledger.block(BlockNumber(n)).unwrap().unwrap().block_bytes()).collect();
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    // redb's panics are caught; their backtraces would hide the output of this test
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let places = (0..whole.len()).step_by(1021).map(|at| (at, 64)).chain([(0, 320), (9, 1), (4096, 65_536)]);
    let (mut refusals, mut noticed_later) = (0, 0);
    for (at, count) in places {
        let mut damaged = whole.clone();
        let end = whole.len().min(at + count);
        damaged[at..end].iter_mut().for_each(|b| *b = !*b);
        fs::write(&path, &damaged).unwrap();
        let Ok(ledger) = Ledger::open(&path, &channel(), SMALL) else {
            refusals += 1;
            continue;
        };
        for (number, block) in (0..).zip(&blocks) {
            match ledger.block(BlockNumber(number)) {
                Ok(Some(read)) if read.block_bytes() == *block => {}
                // metadata and unknown fields are not covered by the data hash
                Ok(_) | Err(_) => noticed_later += 1,
            }
        }
    }
    std::panic::set_hook(report);
    for length in [9, 4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(&path, &whole[..length]).unwrap();
        if let Ok(ledger) = Ledger::open(&path, &channel(), SMALL) {
            assert!(ledger.verify().is_err());
        }
    }
    assert!(refusals > 5 && noticed_later > 5, "{refusals} refused, {noticed_later} blocks");
}
