//! Simulates a power failure at every single write, sync and change of length of a scenario. Afterwards the ledger has
//! every commit that returned `Ok`, and the next one completely or not at all.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use orderer_core::block::EncodedBlock;
use orderer_core::types::BlockNumber;
use orderer_ledger::{CommitBatch, CommitError, Ledger, OpenError, PendingEnvelope};
use world::disk::Disk;
use world::{blocks_after, envelope, genesis};

/// Number of outcomes for changes that were not synced: all arrived, none, or one of six mixtures.
const SEEDS: u64 = 8;

/// The state that a commit changes: height, pending sequences, value.
type Shape = (u64, Vec<u64>, Option<Vec<u8>>);

fn shape(ledger: &Ledger) -> Shape {
    let pending = ledger.pending().expect("pending can be read");
    let value = ledger.value("state").expect("the value can be read");
    (ledger.height(), pending.iter().map(|e| e.sequence).collect(), value.map(|v| v.to_vec()))
}

/// Returns the shape after a commit whose pending envelopes did not arrive.
fn without(pending: &[PendingEnvelope], (height, sequences, value): &Shape) -> Shape {
    let arrived = |sequence: &u64| pending.iter().all(|e| e.sequence != *sequence);
    (*height, sequences.iter().copied().filter(arrived).collect(), value.clone())
}

/// Returns small, large and mixed commits: pending envelopes, blocks that contain them, both, and a block of many
/// chunks.
fn scenario() -> Vec<CommitBatch> {
    let mut last = genesis();
    let mut blocks = |sizes: &[usize], count| -> Vec<EncodedBlock> {
        let blocks = blocks_after(&last, count, sizes);
        last = blocks.last().unwrap_or(&last).clone();
        blocks
    };
    let held = |sequences: std::ops::Range<u64>| sequences.map(|s| envelope(s, 1300)).collect::<Vec<_>>();
    let value = |text: &'static str| vec![("state", text.into())];
    let none = CommitBatch::default();
    vec![
        CommitBatch { pending_add: held(1..2), ..none.clone() },
        CommitBatch { pending_add: held(2..5), ..none.clone() },
        CommitBatch { blocks: blocks(&[1300; 4], 1), pending_drop_below: 5, values: value("a"), ..none.clone() },
        CommitBatch { blocks: blocks(&[1300; 10], 6), pending_add: held(6..9), ..none.clone() },
        CommitBatch { blocks: blocks(&[400_000], 1), pending_drop_below: 8, pending_add: held(9..10), ..none.clone() },
        CommitBatch { blocks: blocks(&[20], 3), pending_drop_below: 10, values: value("b"), ..none.clone() },
        CommitBatch { pending_add: held(10..11), ..none.clone() },
        CommitBatch { blocks: blocks(&[100_000, 5], 2), pending_drop_below: 11, values: value("c"), ..none },
    ]
}

/// The state of the ledger between two commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    Settled,
    Closed,
    SettledAndClosed,
}

/// Returns a commit that fits behind any other.
fn later(ledger: &Ledger) -> CommitBatch {
    CommitBatch { blocks: blocks_after(&ledger.last_block(), 1, &[10]), ..CommitBatch::default() }
}

/// Runs the scenario until the disk fails. Returns the number of commits that returned `Ok`, or `None` if the ledger
/// was not even created.
fn run(disk: &Disk, commits: &[CommitBatch], between: Between) -> Option<usize> {
    let ledger = match disk.create() {
        Ok(ledger) => ledger,
        Err(OpenError::Io { .. } | OpenError::Damaged { .. }) => return None,
        Err(other) => panic!("unexpected: {other}"),
    };
    let mut done = 0;
    for commit in commits {
        let mut right = ledger.try_write_permit().unwrap();
        match ledger.commit(&mut right, commit.clone()) {
            Ok(()) => done += 1,
            Err(CommitError::Append { .. }) => {
                assert!(matches!(ledger.commit(&mut right, commit.clone()), Err(CommitError::Refused { .. })));
                break;
            }
            Err(other) => panic!("unexpected: {other}"),
        }
        let failed = match between {
            Between::Nothing => false,
            Between::Settled => ledger.checkpoint().is_err(),
            Between::Closed => ledger.close_database().is_err(),
            Between::SettledAndClosed => ledger.checkpoint().is_err() || ledger.close_database().is_err(),
        };
        if failed {
            // what the disk refused is not forgotten: nothing is written before the ledger is opened again
            assert!(between == Between::Settled || ledger.commit(&mut right, later(&ledger)).is_err());
            break;
        }
    }
    Some(done)
}

fn shapes_of(commits: &[CommitBatch]) -> Vec<Shape> {
    let ledger = Disk::default().create().unwrap();
    let mut shapes = vec![shape(&ledger)];
    for commit in commits {
        ledger.commit(&mut ledger.try_write_permit().unwrap(), commit.clone()).unwrap();
        shapes.push(shape(&ledger));
    }
    shapes
}

fn every_operation_is_a_safe_moment_for_a_power_cut(state: Between) {
    let commits = scenario();
    let shapes = shapes_of(&commits);
    let reference = Disk::default();
    assert_eq!(run(&reference, &commits, state), Some(commits.len()));
    let (mut before, mut after, mut halves) = (0, 0, 0);
    for operation in 0..reference.operations() {
        let disk = Disk::default();
        disk.cut_at(operation);
        let done = run(&disk, &commits, state);
        for seed in 0..SEEDS {
            let found = disk.after_power_cut(seed);
            let Some(done) = done else { continue };
            let ledger = found.open().unwrap_or_else(|e| panic!("cut at {operation}, seed {seed}: {e:?}"));
            let shape = shape(&ledger);
            let next = (done + 1).min(commits.len());
            // pending envelopes are written after the rest
            let between = (done < commits.len()).then(|| without(&commits[done].pending_add, &shapes[next]));
            if shape == shapes[done] {
                before += 1;
            } else if shape == shapes[next] {
                after += 1;
            } else {
                assert_eq!(Some(&shape), between.as_ref(), "cut at {operation}, seed {seed}, after {done} commits");
                halves += 1;
            }
            if seed > 1 || Some(&shape) == between.as_ref() {
                continue;
            }
            // the ledger is complete and can be continued
            assert_eq!(ledger.verify().expect("every block is whole"), shape.0);
            let rest = if shape == shapes[done] { done } else { next };
            for commit in &commits[rest..] {
                ledger.commit(&mut ledger.try_write_permit().unwrap(), commit.clone()).expect("goes on");
            }
            assert_eq!(&self::shape(&ledger), shapes.last().expect("is there"));
        }
    }
    // all outcomes occurred; otherwise the disk does not simulate what it should
    assert!(before > 100 && after > 10 && halves > 1, "{before} before, {after} after, {halves} between");
}

#[test]
fn a_power_cut_never_loses_or_halves_a_commit() {
    every_operation_is_a_safe_moment_for_a_power_cut(Between::Nothing);
}

#[test]
fn a_power_cut_never_loses_or_halves_a_commit_of_a_settled_ledger() {
    every_operation_is_a_safe_moment_for_a_power_cut(Between::Settled);
}

#[test]
fn a_power_cut_never_loses_or_halves_a_commit_of_a_ledger_whose_database_is_closed_after_each() {
    every_operation_is_a_safe_moment_for_a_power_cut(Between::Closed);
}

#[test]
fn a_power_cut_never_loses_or_halves_a_commit_of_a_settled_ledger_whose_database_is_closed_after_each() {
    every_operation_is_a_safe_moment_for_a_power_cut(Between::SettledAndClosed);
}

#[test]
fn a_killed_process_loses_nothing() {
    let disk = Disk::default();
    let commits = scenario();
    let shapes = shapes_of(&commits);
    let ledger = disk.create().unwrap();
    for (commit, shape) in commits.into_iter().zip(&shapes[1..]) {
        ledger.commit(&mut ledger.try_write_permit().unwrap(), commit).unwrap();
        let image = Disk::with_content(disk.live());
        let found = image.open().expect("opens");
        assert_eq!(&self::shape(&found), shape);
        assert_eq!(found.block(BlockNumber(0)).unwrap().expect("is there").block_bytes(), genesis().block_bytes());
    }
}
