//! Tests the file of pending envelopes: it is reused and shrunk, and lost contents are detected.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::path::{Path, PathBuf};

use orderer_core::crypto::sha256;
use orderer_ledger::{CommitBatch, Ledger, OpenError};
use redb::{Database, ReadableDatabase as _, TableDefinition};
use tempfile::TempDir;
use world::{SMALL, blocks_after, channel, envelope, genesis};

const PAGE: usize = 4096;

struct Files {
    _folder: TempDir,
    database: PathBuf,
    pending: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("ledger.redb");
        Self { pending: database.with_extension("pending"), database, _folder: folder }
    }

    fn create(&self) -> Ledger {
        Ledger::create(&self.database, &channel(), &genesis(), SMALL).unwrap()
    }

    fn open(&self) -> Result<Ledger, OpenError> {
        Ledger::open(&self.database, &channel(), SMALL)
    }

    /// Changes the pending log while it is closed.
    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(&self.pending).unwrap();
        change(&mut bytes);
        std::fs::write(&self.pending, bytes).unwrap();
    }
}

fn hold(ledger: &Ledger, sequence: u64, bytes: usize) {
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { pending_add: vec![envelope(sequence, bytes)], ..CommitBatch::default() },
        )
        .unwrap();
}

fn take_all(ledger: &Ledger) {
    let blocks = blocks_after(&ledger.last_block(), 1, &[100]);
    let pending_drop_below = ledger.next_pending_sequence();
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { blocks, pending_drop_below, ..CommitBatch::default() },
        )
        .unwrap();
}

fn sequences(ledger: &Ledger) -> Vec<u64> {
    ledger.pending().unwrap().iter().map(|e| e.sequence).collect()
}

fn length(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

#[test]
fn there_is_no_file_until_an_envelope_waits() {
    let files = Files::new();
    let ledger = files.create();
    take_all(&ledger);
    assert!(!files.pending.exists());
    hold(&ledger, 1, 10);
    drop(ledger);
    assert_eq!(sequences(&files.open().unwrap()), [1]);
}

#[test]
fn the_file_of_a_ledger_that_was_removed_is_not_the_next_ones() {
    let files = Files::new();
    let ledger = files.create();
    hold(&ledger, 1, 10);
    drop(ledger);
    std::fs::remove_file(&files.database).unwrap();
    let ledger = files.create();
    assert!(sequences(&ledger).is_empty() && !files.pending.exists());
}

#[test]
fn room_is_used_again_and_given_back() {
    let files = Files::new();
    let ledger = files.create();
    for sequence in 1..200 {
        hold(&ledger, sequence, 1300);
        if sequence % 10 == 0 {
            take_all(&ledger);
        }
    }
    assert_eq!(length(&files.pending), 256 << 10);
    for sequence in 200..205 {
        hold(&ledger, sequence, 1 << 20);
    }
    assert!(length(&files.pending) > 5 << 20);
    drop(ledger);
    let ledger = files.open().unwrap();
    assert_eq!(sequences(&ledger), (191..205).collect::<Vec<_>>());
    take_all(&ledger);
    assert_eq!(length(&files.pending), 1 << 20);
    hold(&ledger, 205, 10);
    drop(ledger);
    assert_eq!(sequences(&files.open().unwrap()), [205]);
}

#[test]
fn rows_of_before_are_not_taken_for_new_ones() {
    let files = Files::new();
    let ledger = files.create();
    for sequence in 1..6 {
        hold(&ledger, sequence, 9000);
    }
    take_all(&ledger);
    hold(&ledger, 6, 10);
    drop(ledger);
    let ledger = files.open().unwrap();
    assert_eq!(sequences(&ledger), [6]);
    hold(&ledger, 7, 10);
    drop(ledger);
    assert_eq!(sequences(&files.open().unwrap()), [6, 7]);
}

#[test]
fn a_row_inside_an_envelope_is_no_row() {
    // a whole row of another orderer's file, which a client might know, placed where the next row would begin
    let other = Files::new();
    let ledger = other.create();
    hold(&ledger, 2, 10);
    drop(ledger);
    let row = std::fs::read(&other.pending).unwrap()[..PAGE].to_vec();

    let files = Files::new();
    let ledger = files.create();
    hold(&ledger, 1, 2 * PAGE);
    drop(ledger);
    files.change(|bytes| bytes[PAGE..2 * PAGE].copy_from_slice(&row));
    // that damages the large row, so nothing of it is accepted
    assert!(sequences(&files.open().unwrap()).is_empty());
}

#[test]
fn a_row_that_was_not_wholly_written_was_not_acknowledged() {
    let files = Files::new();
    let ledger = files.create();
    hold(&ledger, 1, 10);
    hold(&ledger, 2, 3 * PAGE);
    drop(ledger);
    files.change(|bytes| bytes[2 * PAGE..3 * PAGE].fill(0));
    let ledger = files.open().unwrap();
    assert_eq!(sequences(&ledger), [1]);
    hold(&ledger, 2, 20);
    drop(ledger);
    assert_eq!(files.open().unwrap().pending().unwrap(), [envelope(1, 10), envelope(2, 20)]);
}

#[test]
fn what_is_lost_before_a_whole_row_is_an_error() {
    let spoil: [fn(&mut Vec<u8>); 2] = [|bytes| bytes[..PAGE].fill(0), |bytes| bytes[PAGE + 100] ^= 1];
    for spoil in spoil {
        let files = Files::new();
        let ledger = files.create();
        for sequence in 1..4 {
            hold(&ledger, sequence, 1300);
        }
        drop(ledger);
        files.change(spoil);
        let error = files.open().expect_err("an acknowledged envelope is missing");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(matches!(error, OpenError::Damaged { .. }) && cause.contains("pending log is damaged"), "{cause}");
    }
}

#[test]
fn a_whole_row_that_says_what_this_program_does_not_know_is_an_error() {
    let files = Files::new();
    let ledger = files.create();
    hold(&ledger, 1, 10);
    hold(&ledger, 2, 10);
    drop(ledger);
    let identity = TableDefinition::<&str, &[u8]>::new("ledger.identity");
    let database = Database::open(&files.database).unwrap();
    let tx = database.begin_read().unwrap();
    let key = tx.open_table(identity).unwrap().get("pending key").unwrap().unwrap().value().to_vec();
    drop((tx, database));
    files.change(|bytes| {
        // the flags follow the header, the sequence and the configuration; the seal follows the ten bytes of the
        // envelope
        let row = &mut bytes[PAGE..];
        row[48 + 16] |= 2;
        let seal_at = 48 + 21 + 10;
        let seal = sha256(&[&key, &row[..seal_at]]);
        row[seal_at..seal_at + 32].copy_from_slice(&seal);
    });
    let error = files.open().expect_err("an acknowledged envelope cannot be read");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the row at byte 4096 of the pending log has flags this program does not know");
}

#[test]
fn a_file_cut_short_is_read_as_far_as_it_goes() {
    for length in [0, 1, PAGE - 1, PAGE, 2 * PAGE + 5] {
        let files = Files::new();
        let ledger = files.create();
        for sequence in 1..4 {
            hold(&ledger, sequence, 1300);
        }
        drop(ledger);
        files.change(|bytes| bytes.truncate(length));
        let ledger = files.open().unwrap();
        assert_eq!(sequences(&ledger).len(), length / PAGE);
        hold(&ledger, 9, 5);
        drop(ledger);
        assert_eq!(sequences(&files.open().unwrap()).last(), Some(&9));
    }
}
