//! Tests the guarantees of a commit: it is atomic, in order, and visible when it is durable.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use orderer_core::types::BlockNumber;
use orderer_ledger::{CommitBatch, CommitError, Ledger, Options};
use tempfile::TempDir;
use world::{SMALL, block, blocks_after, channel, envelope, genesis};

fn ledger(options: Options) -> (TempDir, Ledger) {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::create(&folder.path().join("l"), &channel(), &genesis(), options).expect("is made");
    (folder, ledger)
}

fn reopened(ledger: Ledger) -> Ledger {
    let path = ledger.path().to_owned();
    ledger.close().expect("closes");
    Ledger::open(&path, &channel(), SMALL).expect("opens")
}

fn sequences(ledger: &Ledger) -> Vec<u64> {
    ledger.pending().expect("is read").iter().map(|e| e.sequence).collect()
}

fn add(ledger: &Ledger, sequences: &[u64]) -> Result<(), CommitError> {
    let pending_add = sequences.iter().map(|&s| envelope(s, 1300)).collect();
    ledger.commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { pending_add, ..CommitBatch::default() })
}

#[test]
fn a_block_that_does_not_follow_is_refused_and_the_ledger_goes_on() {
    let (_folder, ledger) = ledger(SMALL);
    let next = blocks_after(&genesis(), 3, &[10]);
    let refused = |blocks: &[_]| {
        ledger.commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { blocks: blocks.to_vec(), ..CommitBatch::default() },
        )
    };
    assert!(matches!(refused(&next[1..]), Err(CommitError::Gap { expected: BlockNumber(1), got: BlockNumber(2), .. })));
    assert!(matches!(refused(&[genesis()]), Err(CommitError::Gap { .. })));
    let fork = block(2, b"elsewhere", vec!["x".into()]);
    assert!(matches!(refused(&[next[0].clone(), fork]), Err(CommitError::Fork { number: BlockNumber(2), .. })));
    assert_eq!(ledger.height(), 1);
    refused(&next).expect("follows");
    assert_eq!(ledger.height(), 4);
}

#[test]
fn blocks_of_all_sizes_come_back_from_the_disk() {
    let (_folder, ledger) = ledger(SMALL);
    let sizes =
        [0, 1, 100, 3900, 3950, 4000, 4076, 4077, 8000, 8172, 65_400, 65_516, 65_600, 131_500, 1 << 20, 3_000_001];
    for size in sizes {
        let blocks = blocks_after(&ledger.last_block(), 1, &[size]);
        ledger
            .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
            .expect("is written");
    }
    let ledger = reopened(ledger);
    for (number, size) in (1..).zip(sizes) {
        let read = ledger.block(BlockNumber(number)).unwrap().expect("is there");
        assert_eq!(read.decode().data.unwrap_or_default().data[0].len(), size);
    }
    assert_eq!(ledger.verify().expect("links"), 1 + sizes.len() as u64);
    assert!(ledger.block(BlockNumber(17)).unwrap().is_none());
}

#[test]
fn pending_envelopes_come_back_in_order_until_their_block_is_there() {
    let (_folder, ledger) = ledger(SMALL);
    add(&ledger, &[1, 2, 3]).unwrap();
    add(&ledger, &[5, 9]).unwrap();
    add(&ledger, &[10]).unwrap();
    let ledger = reopened(ledger);
    assert_eq!(sequences(&ledger), [1, 2, 3, 5, 9, 10]);
    assert_eq!(ledger.pending().unwrap()[3], envelope(5, 1300));
    // a block with the first four envelopes, and two envelopes that were acknowledged meanwhile
    let blocks = blocks_after(&ledger.last_block(), 1, &[1300; 4]);
    let pending_add = vec![envelope(11, 50), envelope(12, 50)];
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { blocks, pending_add, pending_drop_below: 6, ..CommitBatch::default() },
        )
        .unwrap();
    assert_eq!(sequences(&ledger), [9, 10, 11, 12]);
    let ledger = reopened(ledger);
    assert_eq!(sequences(&ledger), [9, 10, 11, 12]);
    assert_eq!(ledger.next_pending_sequence(), 13);
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { pending_drop_below: 13, ..CommitBatch::default() },
        )
        .unwrap();
    let ledger = reopened(ledger);
    assert!(sequences(&ledger).is_empty());
    assert_eq!(ledger.next_pending_sequence(), 13);
}

#[test]
fn sequences_of_pending_envelopes_only_rise() {
    let (_folder, ledger) = ledger(SMALL);
    assert!(matches!(add(&ledger, &[0]), Err(CommitError::Sequence { next: 1, .. })));
    add(&ledger, &[4, 5]).unwrap();
    assert!(matches!(add(&ledger, &[5]), Err(CommitError::Sequence { sequence: 5, next: 6, .. })));
    assert!(matches!(add(&ledger, &[7, 7]), Err(CommitError::Sequence { next: 8, .. })));
    let below_floor =
        CommitBatch { pending_add: vec![envelope(8, 1)], pending_drop_below: 9, ..CommitBatch::default() };
    assert!(matches!(
        ledger.commit(&mut ledger.try_write_permit().unwrap(), below_floor),
        Err(CommitError::Sequence { next: 9, .. })
    ));
    assert_eq!(sequences(&ledger), [4, 5]);
}

#[test]
fn named_values_are_kept_with_their_commit() {
    let (_folder, ledger) = ledger(SMALL);
    assert_eq!(ledger.value("consenter").unwrap(), None);
    let put = |value: &'static str| {
        let values = vec![("consenter", value.into()), ("other", "o".into())];
        ledger.commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { values, ..CommitBatch::default() })
    };
    put("one").unwrap();
    put("two").unwrap();
    assert_eq!(reopened(ledger).value("consenter").unwrap(), Some("two".into()));
}

#[test]
fn followers_hear_of_a_block_when_it_can_be_read() {
    let (_folder, ledger) = ledger(SMALL);
    let ledger = Arc::new(ledger);
    let done = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..4)
        .map(|_| {
            let (ledger, done) = (ledger.clone(), done.clone());
            thread::spawn(move || {
                let mut heights = ledger.heights();
                let mut read = 0;
                while !done.load(Ordering::Acquire) || read < *heights.borrow() {
                    let height = *heights.borrow_and_update();
                    while read < height {
                        let block = ledger.block(BlockNumber(read)).unwrap().expect("was announced");
                        assert_eq!(block.number(), BlockNumber(read));
                        read += 1;
                    }
                }
                read
            })
        })
        .collect();
    for _ in 0..60 {
        let blocks = blocks_after(&ledger.last_block(), 3, &[5000, 40]);
        ledger
            .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
            .unwrap();
    }
    done.store(true, Ordering::Release);
    for follower in followers {
        assert_eq!(follower.join().expect("lives"), 181);
    }
}

#[test]
fn the_newest_blocks_are_in_memory_up_to_their_size() {
    let (_folder, ledger) = ledger(Options { block_bytes: 50_000, ..SMALL });
    let blocks = blocks_after(&ledger.last_block(), 100, &[9_800]);
    ledger.commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() }).unwrap();
    let cached = |n| ledger.cached_block(BlockNumber(n)).is_some();
    assert!(cached(100) && !cached(50) && !cached(101));
    assert!((0..101).filter(|&n| cached(n)).count() <= 6);
    // of a block that is too large for the cache, only the properties that the next block needs stay in memory
    let large = blocks_after(&ledger.last_block(), 1, &[60_000]);
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { blocks: large.clone(), ..CommitBatch::default() },
        )
        .unwrap();
    let (last, large) = (ledger.last_block(), &large[0]);
    assert_eq!(
        (last.number(), last.header_hash(), last.last_config()),
        (large.number(), large.header_hash(), large.last_config())
    );
    assert!(last.size_bytes() < 1000 && !cached(101));
    assert_eq!(ledger.block(BlockNumber(101)).unwrap().expect("is there").block_bytes(), large.block_bytes());
}

#[test]
fn ledgers_share_what_blocks_may_take() {
    let shared = orderer_ledger::BlockCache::new(100_000);
    let ledgers: Vec<_> = (0..20).map(|_| ledger(Options { blocks: Some(shared.clone()), ..SMALL })).collect();
    for (_, ledger) in &ledgers {
        let blocks = blocks_after(&ledger.last_block(), 3, &[9_800]);
        ledger
            .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks, ..CommitBatch::default() })
            .unwrap();
    }
    assert!((50_000..=100_000).contains(&shared.bytes()), "{}", shared.bytes());
    for (_, ledger) in &ledgers {
        assert_eq!(ledger.block(BlockNumber(3)).unwrap().expect("is there").number(), BlockNumber(3));
    }
}

#[test]
fn a_commit_of_nothing_writes_nothing() {
    let disk = world::disk::Disk::default();
    let ledger = disk.create().unwrap();
    let before = disk.operations();
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { pending_drop_below: 5, ..CommitBatch::default() },
        )
        .unwrap();
    assert_eq!(disk.operations(), before);
    ledger.checkpoint().unwrap();
    let settled = disk.operations();
    ledger.checkpoint().unwrap();
    assert!(settled > before && disk.operations() == settled);
}

#[test]
fn one_at_a_time_may_write_and_only_to_its_own_ledger() {
    let (_folder, ledger) = ledger(SMALL);
    let mut right = ledger.try_write_permit().expect("nobody writes");
    assert!(ledger.try_write_permit().is_none(), "it is somebody's");
    let (_other_folder, other) = self::ledger(SMALL);
    let blocks = blocks_after(&other.last_block(), 1, &[10]);
    let refused = other.commit(&mut right, CommitBatch { blocks, ..CommitBatch::default() });
    assert!(matches!(refused, Err(CommitError::OtherLedger { .. })), "{refused:?}");
    assert_eq!(other.height(), 1);
    drop(right);
    assert!(ledger.try_write_permit().is_some());
}
