//! Tests that a node that is killed at random moments loses no acknowledged envelope and orders none twice.
//!
//! An orderer that acknowledges an envelope that is only in memory loses it in a power failure. An orderer that
//! acknowledges after the write to disk may, after the failure, order the envelope a second time. Here clients record
//! what was acknowledged, the node is killed by SIGKILL fifty times under load, and the chain is compared with the
//! clients' records.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fabric_proto::common::{Block, Status};
use orderer_core::block::{data_hash, header_hash};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use world::client::{entries, number};
use world::messages::{block, oldest, seek_info, transaction, tx_id};
use world::{Client, Setup, TestIdentity, seed, within};

const CHANNEL: &str = "app";
const KILLS: usize = 50;
/// The chain is read after this many kills, and at the end.
const KILLS_BETWEEN_READS: usize = 10;
const CLIENTS: usize = 3;
/// Maximum number of envelopes that a client has in flight.
const WINDOW: usize = 16;
/// Time from the first load on a node until it is killed, in milliseconds.
const LIFETIME_MS: std::ops::Range<u64> = 5..400;

/// Broadcasts until the node is killed. Returns the acknowledged transactions.
async fn broadcast_until_death(client: Client, who: TestIdentity) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut stream) = client.try_broadcasting().await else { return acknowledged };
    let mut in_flight = std::collections::VecDeque::new();
    loop {
        while in_flight.len() < WINDOW {
            let envelope = transaction(&who, CHANNEL, "a transaction");
            in_flight.push_back(tx_id(&envelope));
            stream.send(envelope).await;
        }
        match stream.next().await {
            world::Step::Status(Status::Success, _) => acknowledged.extend(in_flight.pop_front()),
            world::Step::End(_) => return acknowledged,
            other => panic!("a living node said {other:?}"),
        }
    }
}

/// Returns how often each transaction is in these blocks, which must be a hash chain from block 0.
fn count_transactions(chain: &[Block]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    let mut previous_hash = Vec::new();
    for (expected, block) in (0..).zip(chain) {
        let header = block.header.as_ref().unwrap();
        let data = &block.data.as_ref().unwrap().data;
        assert_eq!(number(block), expected);
        assert_eq!(header.previous_hash, previous_hash, "block {expected} links to the one before it");
        assert_eq!(header.data_hash[..], data_hash(data.iter().map(AsRef::as_ref))[..], "block {expected}");
        previous_hash = header_hash(header.number, &header.previous_hash, &header.data_hash).to_vec();
        for envelope in entries(block) {
            *count.entry(tx_id(&envelope)).or_default() += 1;
        }
    }
    count
}

/// Reads blocks, and waits for new ones, until every acknowledged transaction has been found. Then checks the hash
/// chain and that no transaction is in it twice. Returns the number of blocks.
async fn check(client: &Client, who: &TestIdentity, acknowledged: &BTreeSet<String>) -> usize {
    let mut missing = acknowledged.clone();
    let mut stream = client.deliver(who, CHANNEL, seek_info(oldest(), block(u64::MAX))).await;
    let mut chain = Vec::new();
    let read = async {
        while !missing.is_empty() {
            let block = stream.block().await;
            for envelope in entries(&block) {
                missing.remove(&tx_id(&envelope));
            }
            chain.push(block);
        }
    };
    within("every acknowledged transaction is in the chain", read).await;
    // read the whole chain again, with the blocks that followed
    let chain = if chain.is_empty() { chain } else { client.chain(who, CHANNEL).await };
    let count = count_transactions(&chain);
    let twice: Vec<_> = count.iter().filter(|&(_, &times)| times > 1).collect();
    assert!(twice.is_empty(), "in the chain more than once: {twice:?}");
    assert!(acknowledged.iter().all(|id| count.contains_key(id)));
    chain.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_fifty_kills_exactly_once() {
    let mut dice = StdRng::seed_from_u64(seed());
    let (user, setup) = (TestIdentity::user(1), Setup::application());
    let mut acknowledged = BTreeSet::new();
    for kill in 1..=KILLS {
        let mut node = setup.start().await;
        let client = node.client().await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(tokio::spawn(broadcast_until_death(node.client().await, user.clone())));
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(LIFETIME_MS))).await;
        if kill % KILLS_BETWEEN_READS == 0 {
            // check under load what was acknowledged before the last kill
            check(&client, &user, &acknowledged).await;
        }
        node.assert_no_panic();
        node.kill();
        for client in clients {
            acknowledged.extend(within("a client notices", client).await.unwrap());
        }
        setup.forgive_unclean_starts();
    }
    assert!(acknowledged.len() > KILLS, "there was load");
    let node = setup.start().await;
    let blocks = check(&node.client().await, &user, &acknowledged).await;
    eprintln!("{} transactions acknowledged, {blocks} blocks", acknowledged.len());
    node.stop().await;
}

#[test]
fn a_bootstrap_file_that_is_wrong_is_no_crash_however_often_it_is_tried() {
    let setup = Setup::application();
    let file = setup.folder().join("wrong.block");
    std::fs::write(&file, "no block").unwrap();
    let setup = setup.set("GENERAL_BOOTSTRAPFILE", file.display());
    for _ in 0..6 {
        let ended = setup.run();
        assert_eq!(ended.code, Some(1));
        let message = ended.stderr.lines().last().unwrap();
        assert!(message.starts_with("orderer: General.BootstrapFile"), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_cannot_be_served_is_no_crash_however_often_it_is_tried() {
    let setup = Setup::application();
    let file = setup.folder().join("a file");
    std::fs::write(&file, "no folder").unwrap();
    let wrong = setup.again(&["start"]).set("DEBUG_BROADCASTTRACEDIR", file.join("traces").display());
    for _ in 0..6 {
        let ended = wrong.run();
        assert_eq!(ended.code, Some(1));
        let message = ended.stderr.lines().last().unwrap();
        assert!(message.starts_with("orderer: Debug.BroadcastTraceDir"), "{}", ended.stderr);
        assert!(!setup.folder().join("ledger/unclean-starts").exists(), "nothing speaks against the next start");
    }
    setup.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_again_and_again_starts_later_and_one_that_crashes_says_why_it_does_not_start() {
    let setup = Setup::application();
    for _ in 0..5 {
        setup.start().await.kill();
    }
    let mut node = setup.start().await;
    node.line("delaying the start").await;
    node.kill();

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let record = setup.folder().join("ledger/unclean-starts");
    std::fs::write(&record, format!("{now} crashed\n").repeat(5)).unwrap();
    let ended = setup.run();
    assert_eq!(ended.code, Some(1));
    let message = ended.stderr.lines().last().unwrap();
    let parts = ["orderer: not starting: the node has crashed 5 times within 5 minutes", "unclean-starts"];
    assert!(parts.iter().all(|part| message.contains(part)), "{}", ended.stderr);
    setup.forgive_unclean_starts();
    setup.start().await.stop().await;
    assert!(!setup.folder().join("ledger/unclean-starts").exists(), "a clean end forgives");
}
