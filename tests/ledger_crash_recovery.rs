//! Kills import, prune and compact by SIGKILL at random moments. What was there before is kept, and the same command
//! completes the rest.
//!
//! The scenario: an operator interrupts a migration, and the node must not start on half a chain.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::fabric_ledger;
use crate::world;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Envelope, Header, HeaderType, LastConfig, Metadata,
    OrdererBlockMetadata, Payload,
};
use orderer_core::block::{EncodedBlock, data_hash};
use orderer_core::types::{BlockNumber, ChannelId};
use orderer_ledger::{CommitBatch, Ledger, Options};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use world::seed;

const KILLS: u64 = 10;
const BLOCKS: u64 = 2200;
const PRUNED_AT_ONCE: u64 = 200;

fn command(arguments: &[&str], ledger: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderer"));
    command.arg("ledger").args(arguments).arg("--ledger").arg(ledger);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a command that must succeed and returns its duration.
fn run(arguments: &[&str], ledger: &Path) -> Duration {
    let began = Instant::now();
    assert!(command(arguments, ledger).wait().unwrap().success(), "{arguments:?}");
    began.elapsed()
}

/// Starts a command and kills it after `at`. Returns whether it was killed before it ended by itself.
fn kill(arguments: &[&str], ledger: &Path, at: Duration) -> bool {
    let mut child = command(arguments, ledger);
    // the test needs this random moment, so it sleeps
    std::thread::sleep(at);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Starts a command and kills it at a random moment of the time that it takes. Halves that time if the command was quicker,
/// because other programs may have slowed down the command that was measured. Returns whether it was killed.
fn kill_within(whole: &mut Duration, arguments: &[&str], ledger: &Path, random: &mut StdRng) -> bool {
    let is_killed = kill(arguments, ledger, random.random_range(Duration::ZERO..*whole));
    if !is_killed {
        *whole = (*whole / 2).max(Duration::from_millis(1));
    }
    is_killed
}

fn ledger_file(ledger: &Path, channel: &str) -> std::path::PathBuf {
    ledger.join("channels").join(channel).join("ledger.redb")
}

fn open(ledger: &Path, channel: &str) -> Ledger {
    let id = ChannelId::parse(channel).unwrap();
    Ledger::open(&ledger_file(ledger, channel), &id, Options::default()).unwrap()
}

#[test]
fn an_import_that_is_killed_leaves_whole_channels_or_none_and_is_made_good() {
    let mut random = StdRng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let source = fabric_ledger::unpack(folder.path());
    let import = ["import", "--from-fabric", source.to_str().unwrap()];
    let mut whole = run(&import, &folder.path().join("undisturbed"));
    let ledger = folder.path().join("killed");
    let mut killed = 0;
    for _ in 0..KILLS {
        killed += u64::from(kill_within(&mut whole, &import, &ledger, &mut random));
        let (mut there, mut all) = (0, true);
        for (channel, blocks, _) in fabric_ledger::CHANNELS {
            if ledger_file(&ledger, channel).exists() {
                let found = open(&ledger, channel);
                assert_eq!((found.height(), found.verify().unwrap()), (blocks, blocks), "{channel}");
                there += 1;
            } else {
                all = false;
            }
        }
        if all || there == 2 {
            // start again without a ledger
            fs::remove_dir_all(&ledger).unwrap();
        }
    }
    assert!(killed > 0, "some were killed");
    run(&import, &ledger);
    for (channel, ..) in fabric_ledger::CHANNELS {
        let found = open(&ledger, channel);
        for (number, bytes) in (0..).zip(fabric_ledger::delivered(channel)) {
            assert_eq!(found.block(BlockNumber(number)).unwrap().unwrap().block_bytes(), bytes);
        }
    }
    let left: Vec<_> = fs::read_dir(ledger.join("channels")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn an_import_of_a_pruned_chain_that_is_killed_leaves_all_of_it_or_nothing() {
    let mut random = StdRng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let source = fabric_ledger::unpack(folder.path());
    let (pruned, ledger) = (folder.path().join("pruned"), folder.path().join("killed"));
    run(&["import", "--from-fabric", source.to_str().unwrap(), "--channel", "mychan"], &pruned);
    run(&pruning("100"), &pruned);
    let file = folder.path().join("mychan.blocks");
    let file = file.to_str().unwrap();
    run(&["export", "--to", file], &pruned);
    let import = ["import", "--from", file];
    let mut whole = run(&import, &folder.path().join("undisturbed"));
    let check = || {
        let found = open(&ledger, "mychan");
        assert_eq!((found.height(), found.horizon().0, found.verify().unwrap()), (147, 100, 47));
        assert_eq!(found.history().unwrap(), [BlockNumber::GENESIS]);
    };
    let mut killed = 0;
    for _ in 0..KILLS {
        killed += u64::from(kill_within(&mut whole, &import, &ledger, &mut random));
        if ledger_file(&ledger, "mychan").exists() {
            check();
            fs::remove_dir_all(&ledger).unwrap();
        }
    }
    assert!(killed > 0, "some were killed");
    run(&import, &ledger);
    check();
}

/// Returns an unsigned block. Pruning checks only hashes and links.
fn block(number: u64, previous_hash: &[u8], last_config: u64) -> EncodedBlock {
    let kind = if number == last_config { HeaderType::Config } else { HeaderType::EndorserTransaction };
    let header = ChannelHeader { r#type: kind as i32, ..ChannelHeader::default() }.encode_to_vec();
    let header = Some(Header { channel_header: header.into(), ..Header::default() });
    let payload = Payload { header, data: number.to_be_bytes().repeat(1000).into() }.encode_to_vec();
    let data = vec![Bytes::from(Envelope { payload: payload.into(), ..Envelope::default() }.encode_to_vec())];
    let hash = data_hash(data.iter().map(Bytes::as_ref));
    let last = OrdererBlockMetadata { last_config: Some(LastConfig { index: last_config }), ..Default::default() };
    let signatures = Metadata { value: last.encode_to_vec().into(), ..Metadata::default() }.encode_to_vec();
    let block = Block {
        header: Some(BlockHeader {
            number,
            previous_hash: Bytes::copy_from_slice(previous_hash),
            data_hash: Bytes::copy_from_slice(&hash),
        }),
        data: Some(BlockData { data }),
        metadata: Some(BlockMetadata { metadata: vec![signatures.into()] }),
    };
    EncodedBlock::parse(&block.encode_to_vec()).unwrap()
}

/// Returns a chain in which every hundredth block and the last are config blocks.
fn chain() -> Vec<EncodedBlock> {
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for number in 0..BLOCKS {
        let previous = blocks.last().map(|block| block.header_hash().to_vec()).unwrap_or_default();
        let last_config = if number == BLOCKS - 1 { number } else { number / 100 * 100 };
        blocks.push(block(number, &previous, last_config));
    }
    blocks
}

/// Asserts that the ledger has all blocks that must be there, byte for byte. Returns its horizon.
fn check(ledger: &Path, chain: &[EncodedBlock], horizons: [u64; 2]) -> u64 {
    let found = open(ledger, "mychan");
    let horizon = found.horizon().0;
    assert!(horizons.contains(&horizon), "{horizon} is none of {horizons:?}");
    assert_eq!(found.height(), BLOCKS);
    assert_eq!(found.verify().unwrap(), BLOCKS - horizon);
    for wanted in chain {
        let is_kept = wanted.number().0 >= horizon || wanted.is_config();
        let block = found.block(wanted.number()).unwrap();
        assert_eq!(block.map(|block| block.block_bytes()), is_kept.then(|| wanted.block_bytes()));
    }
    horizon
}

fn pruning(before: &str) -> [&str; 5] {
    ["prune", "--channel", "mychan", "--before", before]
}

#[test]
fn a_removal_of_blocks_or_of_free_space_that_is_killed_loses_nothing_that_stays() {
    let mut random = StdRng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let (undisturbed, ledger) = (folder.path().join("undisturbed"), folder.path().join("killed"));
    let chain = chain();
    let file = ledger_file(&ledger, "mychan");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let made = Ledger::create(&file, &ChannelId::parse("mychan").unwrap(), &chain[0], Options::default()).unwrap();
    made.commit(
        &mut made.try_write_permit().unwrap(),
        CommitBatch { blocks: chain[1..].to_vec(), ..CommitBatch::default() },
    )
    .unwrap();
    made.close().unwrap();
    let copy = ledger_file(&undisturbed, "mychan");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(&file, &copy).unwrap();

    let (mut horizon, mut killed, mut before, mut within) = (0, 0, 0, 0);
    let whole = run(&pruning(&PRUNED_AT_ONCE.to_string()), &undisturbed);
    for round in 1..=KILLS {
        let next = round * PRUNED_AT_ONCE;
        // work that was interrupted is repeated in this round
        let rounds = u32::try_from((next - horizon) / PRUNED_AT_ONCE).unwrap();
        let at = random.random_range(whole / 4..whole * rounds * 5 / 4);
        killed += u64::from(kill(&pruning(&next.to_string()), &ledger, at));
        horizon = check(&ledger, &chain, [horizon, next]);
        before += u64::from(horizon < next);
        within += u64::from(open(&ledger, "mychan").stats(&mut |_| {}).unwrap().leftover_blocks > 0);
    }
    eprintln!("{killed} of {KILLS} removals were killed, {before} before the horizon was set, {within} after it");
    let all_but_newest = (KILLS * PRUNED_AT_ONCE).to_string();
    run(&pruning(&all_but_newest), &ledger);
    check(&ledger, &chain, [KILLS * PRUNED_AT_ONCE; 2]);

    run(&pruning(&all_but_newest), &undisturbed);
    fs::copy(&copy, &file).unwrap();
    let whole = run(&["compact"], &undisturbed);
    fs::copy(&file, &copy).unwrap();
    let mut killed = 0;
    for _ in 0..KILLS {
        fs::copy(&copy, &file).unwrap();
        killed += u64::from(kill(&["compact"], &ledger, random.random_range(whole / 8..whole * 3 / 4)));
        check(&ledger, &chain, [KILLS * PRUNED_AT_ONCE; 2]);
    }
    eprintln!("{killed} of {KILLS} compactions were killed");
    run(&["compact"], &ledger);
    check(&ledger, &chain, [KILLS * PRUNED_AT_ONCE; 2]);
    let (compacted, all) = (fs::metadata(&file).unwrap().len(), BLOCKS * 8000);
    assert!(compacted < all / 4, "{compacted} of once {all} bytes");
}
