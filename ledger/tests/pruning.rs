//! Simulates a power failure at every write, sync and change of length of a pruning and of a compaction. Kept blocks
//! are there afterwards, and the same call completes the rest.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use bytes::Bytes;
use fabric_proto::common::{Block, LastConfig, Metadata, OrdererBlockMetadata};
use orderer_core::block::EncodedBlock;
use orderer_core::types::BlockNumber;
use orderer_ledger::{CommitBatch, Ledger, PruneError, PruneStep};
use prost::Message as _;
use world::disk::Disk;
use world::{block, genesis};

const BLOCKS: u64 = 40;
const CONFIG_BLOCKS: [u64; 4] = [0, 10, 20, 30];
/// A horizon after the newest config block.
const FAR: BlockNumber = BlockNumber(36);

/// Returns blocks with metadata that name the last config block.
fn chain() -> Vec<EncodedBlock> {
    let mut blocks = vec![genesis()];
    for number in 1..BLOCKS {
        let previous = blocks.last().unwrap();
        let entries = vec![Bytes::from(number.to_be_bytes().repeat(600))];
        let mut made: Block = block(number, previous.header_hash(), entries).decode();
        let index = CONFIG_BLOCKS.into_iter().rfind(|&config| config <= number).unwrap();
        let value = OrdererBlockMetadata { last_config: Some(LastConfig { index }), ..Default::default() };
        let signatures = Metadata { value: value.encode_to_vec().into(), ..Metadata::default() };
        made.metadata.as_mut().unwrap().metadata[0] = signatures.encode_to_vec().into();
        blocks.push(EncodedBlock::parse(&made.encode_to_vec()).unwrap());
    }
    blocks
}

fn ledger_on(disk: &Disk, chain: &[EncodedBlock]) -> Ledger {
    let ledger = disk.create().unwrap();
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { blocks: chain[1..].to_vec(), ..CommitBatch::default() },
        )
        .unwrap();
    ledger
}

/// Prunes twice and compacts. Returns how many of the three steps succeeded.
fn scenario(ledger: &mut Ledger) -> usize {
    let removed = |ledger: &mut Ledger, before| ledger.prune(BlockNumber(before), &mut |_| {}).is_ok();
    if !removed(ledger, 15) {
        return 0;
    }
    if !removed(ledger, FAR.0) {
        return 1;
    }
    2 + usize::from(ledger.compact().is_ok())
}

/// Checks that all blocks that must be kept are there. Returns the horizon.
fn check(ledger: &Ledger, chain: &[EncodedBlock]) -> u64 {
    let horizon = ledger.horizon().0;
    assert_eq!((ledger.height(), ledger.verify().unwrap()), (BLOCKS, BLOCKS - horizon));
    for wanted in chain {
        let number = wanted.number().0;
        let is_kept = number >= horizon || CONFIG_BLOCKS.contains(&number);
        let found = ledger.block(BlockNumber(number)).unwrap();
        assert_eq!(found.map(|block| block.block_bytes()), is_kept.then(|| wanted.block_bytes()), "block {number}");
    }
    let history = ledger.history().unwrap().into_iter().map(|number| number.0);
    assert!(history.eq(CONFIG_BLOCKS.into_iter().filter(|&number| number < horizon)));
    let stats = ledger.stats(&mut |_| {}).unwrap();
    let bytes = |blocks: &[&EncodedBlock]| blocks.iter().map(|block| block.size_bytes() as u64).sum::<u64>();
    let (before, from): (Vec<_>, Vec<_>) = chain.iter().partition(|block| block.number().0 < horizon);
    let kept: Vec<_> = before.into_iter().filter(|block| CONFIG_BLOCKS.contains(&block.number().0)).collect();
    assert_eq!((stats.history_bytes, stats.block_bytes), (bytes(&kept), bytes(&from)));
    horizon
}

#[test]
fn a_power_cut_never_loses_what_a_removal_leaves() {
    let chain = chain();
    let reference = Disk::default();
    let mut ledger = ledger_on(&reference, &chain);
    let begin = reference.operations();
    assert_eq!(scenario(&mut ledger), 3);
    let (mut between, mut leftovers) = (0, 0);
    for operation in begin..reference.operations() {
        let disk = Disk::default();
        let mut ledger = ledger_on(&disk, &chain);
        disk.cut_at(operation);
        let done = scenario(&mut ledger);
        // all or nothing of what was not synced has arrived; then a mixture
        for seed in [operation % 2, 2 + operation % 3] {
            let found = disk.after_power_cut(seed);
            let mut ledger = found.open().unwrap_or_else(|e| panic!("cut at {operation}, seed {seed}: {e:?}"));
            let horizon = check(&ledger, &chain);
            let possible = [0, 15, FAR.0];
            assert!(possible[done.min(2)..].contains(&horizon), "{horizon} after {done} steps");
            between += u64::from(horizon == 15);
            leftovers += u64::from(ledger.stats(&mut |_| {}).unwrap().leftover_blocks > 0);
            assert_eq!(scenario_again(&mut ledger), 0, "nothing is left over");
            assert_eq!(check(&ledger, &chain), FAR.0);
        }
    }
    assert!(between > 10 && leftovers > 3, "{between} between, {leftovers} with leftovers");
}

/// Repeats the scenario. Returns the number of leftover blocks.
fn scenario_again(ledger: &mut Ledger) -> u64 {
    ledger.prune(FAR, &mut |_| {}).unwrap();
    ledger.compact().unwrap();
    ledger.stats(&mut |_| {}).unwrap().leftover_blocks
}

#[test]
fn a_removal_that_would_lose_something_changes_nothing() {
    let chain = chain();
    let disk = Disk::default();
    let mut ledger = ledger_on(&disk, &chain);
    let before = disk.live();
    let refused = ledger.prune(BlockNumber(BLOCKS), &mut |_| {});
    assert!(matches!(refused, Err(PruneError::BeyondLast { last: BlockNumber(39), .. })), "{refused:?}");
    assert!(disk.live() == before);
    let mut steps = Vec::new();
    assert_eq!(ledger.prune(BlockNumber(20), &mut |step| steps.push(step)).unwrap(), 20);
    assert_eq!(
        (steps[0], steps[19], steps[20]),
        (PruneStep::Checked(1), PruneStep::Checked(20), PruneStep::Removed(20))
    );
    let refused = ledger.prune(BlockNumber(19), &mut |_| {});
    assert!(matches!(refused, Err(PruneError::Gone { horizon: BlockNumber(20), .. })), "{refused:?}");
    assert_eq!(ledger.prune(BlockNumber(20), &mut |_| {}).unwrap(), 0, "again, for one that was interrupted");

    // the chain continues, and the new block is found after reopening
    let next = block(BLOCKS, chain.last().unwrap().header_hash(), vec!["next".into()]);
    ledger
        .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks: vec![next], ..CommitBatch::default() })
        .unwrap();
    drop(ledger);
    let again = disk.open().unwrap();
    assert_eq!((again.horizon(), again.height(), again.verify().unwrap()), (BlockNumber(20), BLOCKS + 1, 21));
    let stats = again.stats(&mut |_| {}).unwrap();
    assert_eq!((stats.blocks, stats.leftover_blocks), (21, 0));
}

#[test]
fn the_configuration_in_force_is_kept_by_itself() {
    let chain = chain();
    let disk = Disk::default();
    let mut ledger = ledger_on(&disk, &chain);
    // all but the last block
    assert_eq!(ledger.prune(BlockNumber(BLOCKS - 1), &mut |_| {}).unwrap(), BLOCKS - 1);
    ledger.compact().unwrap();
    assert_eq!(check(&ledger, &chain), BLOCKS - 1);
    assert_eq!(ledger.stats(&mut |_| {}).unwrap().config_blocks, 4);
    let mut next = block(BLOCKS, chain.last().unwrap().header_hash(), vec!["next".into()]).decode();
    next.metadata.as_mut().unwrap().metadata[0] = chain.last().unwrap().decode().metadata.unwrap().metadata[0].clone();
    let next = EncodedBlock::parse(&next.encode_to_vec()).unwrap();
    ledger
        .commit(&mut ledger.try_write_permit().unwrap(), CommitBatch { blocks: vec![next], ..CommitBatch::default() })
        .unwrap();
    drop(ledger);
    let mut again = disk.open().unwrap();
    assert_eq!((again.last_config(), again.height()), (BlockNumber(30), BLOCKS + 1));
    assert!(again.block(BlockNumber(30)).unwrap().is_some());
    assert_eq!(again.prune(BlockNumber(BLOCKS), &mut |_| {}).unwrap(), 1, "further, where no configuration came");
    assert_eq!(again.history().unwrap().len(), 4);
}
