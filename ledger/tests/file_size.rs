//! Tests that large blocks do not waste space: redb rounds values up to powers of two, which the ledger avoids.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::fs;
use std::os::unix::fs::MetadataExt;

use orderer_core::block::EncodedBlock;
use orderer_ledger::{CommitBatch, Ledger};
use world::{SMALL, blocks_after, channel, genesis};

/// Returns the disk space and the file length per byte of blocks, after `total` bytes of such blocks.
fn ratio(entries: &[usize], total: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let ledger = Ledger::create(&path, &channel(), &genesis(), SMALL).unwrap();
    let mut bytes = 0;
    let a_commit = (1 << 20) / entries.iter().sum::<usize>();
    while bytes < total {
        let blocks = blocks_after(&ledger.last_block(), a_commit.max(1), entries);
        bytes += blocks.iter().map(EncodedBlock::size_bytes).sum::<usize>();
        ledger
            .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
            .unwrap();
    }
    ledger.close().unwrap();
    let file = fs::metadata(&path).unwrap();
    #[expect(clippy::cast_precision_loss)]
    let per_byte = |n: u64| n as f64 / bytes as f64;
    (per_byte(file.blocks() * 512), per_byte(file.len()))
}

#[test]
fn blocks_take_little_more_space_than_their_bytes() {
    for (entries, total, limit) in [
        (&[1 << 20][..], 100 << 20, 1.15),
        (&[1000; 10][..], 16 << 20, 1.3),
        (&[1340; 10][..], 16 << 20, 1.3),
        (&[1300][..], 4 << 20, 1.6),
    ] {
        let (space, length) = ratio(entries, total);
        println!("{} x {} bytes: {space:.3} of space, {length:.3} of length", entries.len(), entries[0]);
        assert!(space < limit, "{} entries of {}: {space:.3}", entries.len(), entries[0]);
        assert!(length < 2.0 * limit, "{} entries of {}: {length:.3}", entries.len(), entries[0]);
    }
}
