//! Tests of the commands that verify, move and shrink ledgers: the output equals the input, and a command that would
//! lose data fails before it changes anything.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::fabric_ledger;
use crate::world;

use std::fs::{self, File};
use std::path::Path;

use fabric_ledger::{CHANNELS, LAST_CONFIG, delivered, unpack};
use fabric_proto::Message as _;
use fabric_proto::common::{Block, Status};
use orderer_core::block::EncodedBlock;
use orderer_core::types::{BlockNumber, ChannelId};
use orderer_ledger::{CommitBatch, Ledger, Options};
use serde_json::Value;
use world::client::number;
use world::config_updates::{batch_size_update, last_config, last_config_number, signed_update};
use world::messages::{block, newest, oldest, seek_info, seek_info_at_once, transaction};
use world::node::{ProcessOutput, orderer_folder};
use world::{Setup, TestIdentity};

/// A node of the fixtures' network without a channel, and its ledger commands.
struct Desk(Setup);

impl Desk {
    fn empty() -> Self {
        let setup = Setup::without_channels();
        let ledger = setup.folder().join("ledger");
        Self(
            setup
                .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
                .set("GENERAL_LOCALMSPID", "OrdererMSP")
                .set("GENERAL_BOOTSTRAPMETHOD", "none")
                .set("FILELEDGER_LOCATION", ledger.display()),
        )
    }

    /// Imports all channels of Fabric's ledger.
    fn filled() -> Self {
        let desk = Self::empty();
        let source = unpack(desk.folder());
        desk.done(&["import", "--from-fabric", text(&source)]);
        desk
    }

    fn folder(&self) -> &Path {
        self.0.folder()
    }

    fn run(&self, arguments: &[&str]) -> ProcessOutput {
        self.0.again(&[&["ledger"], arguments].concat()).run()
    }

    /// Runs a command that must succeed and returns its output.
    fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// Asserts that a command fails with one line that contains these parts.
    fn refused(&self, arguments: &[&str], parts: &[&str]) {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{parts:?} not in: {}", ended.stderr);
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn open(&self, channel: &str) -> Ledger {
        Ledger::open(&self.0.ledger_file(channel), &ChannelId::parse(channel).unwrap(), Options::default()).unwrap()
    }

    fn blocks(&self, channel: &str) -> Vec<Vec<u8>> {
        let ledger = self.open(channel);
        let block = |number| ledger.block(BlockNumber(number)).unwrap().unwrap().block_bytes().to_vec();
        (ledger.horizon().0..ledger.height()).map(block).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_fabric_orderers_ledgers_move_over_in_one_command_block_for_block() {
    let desk = Desk::filled();
    for (channel, blocks, config_blocks) in CHANNELS {
        assert_eq!(desk.blocks(channel), delivered(channel), "{channel}");
        let verdict = &desk.json(&["verify", "--channel", channel])[0];
        assert_eq!((&verdict["good"], &verdict["blocks"]), (&Value::from(true), &Value::from(blocks)));
        let figures = &desk.json(&["stats", "--channel", channel])[0];
        assert_eq!((&figures["height"], &figures["blocks"]), (&Value::from(blocks), &Value::from(blocks)));
        assert_eq!(figures["config_blocks"], config_blocks);
        assert!(figures["used_bytes"].as_u64() > figures["block_bytes"].as_u64());
    }
    let said = desk.done(&["import", "--from-fabric", text(&desk.folder().join("ledger"))]);
    assert_eq!(said.matches("is here already, with all").count(), 3, "{said}");
}

#[test]
fn what_is_exported_is_what_fabric_wrote_and_what_can_be_imported() {
    let desk = Desk::filled();
    let out = desk.folder().join("out");
    fs::create_dir(&out).unwrap();
    desk.done(&["export", "--to-fabric", text(&out.join("fabric"))]);
    let other = Desk::empty();
    for (channel, ..) in CHANNELS {
        let file = format!("chains/{channel}/blockfile_000000");
        assert!(
            fs::read(out.join("fabric").join(&file)).unwrap()
                == fs::read(desk.folder().join("ledger").join(&file)).unwrap(),
            "{channel}: the very bytes that Fabric wrote"
        );
        let plain = out.join(channel);
        desk.done(&["export", "--channel", channel, "--to", text(&plain)]);
        other.done(&["import", "--from", text(&plain)]);
        assert_eq!(other.blocks(channel), delivered(channel));
        desk.refused(&["export", "--channel", channel, "--to", text(&plain)], &["exists already", "move it away"]);
    }
    desk.refused(&["export", "--to-fabric", text(&out.join("fabric"))], &["exists already"]);
    desk.refused(&["export", "--to", "x"], &["name it by --channel", "mychan, otherchan, syschan"]);
}

#[test]
fn the_torn_last_block_of_a_killed_fabric_orderer_is_left_out_as_it_would_do_itself() {
    let desk = Desk::empty();
    let source = unpack(desk.folder());
    let file = source.join("chains/mychan/blockfile_000000");
    let length = fs::metadata(&file).unwrap().len();
    File::options().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
    // the next block file, still empty
    fs::write(source.join("chains/otherchan/blockfile_000001"), b"").unwrap();
    fs::create_dir(source.join("chains/emptychan")).unwrap();
    let said = desk.done(&["import", "--from-fabric", text(&source)]);
    assert!(said.contains("mychan: 146 blocks") && said.contains("not wholly written"), "{said}");
    assert!(said.contains("emptychan: left out, it has no block"), "{said}");
    assert_eq!(desk.blocks("mychan")[..], delivered("mychan")[..146]);
    assert_eq!(desk.json(&["verify"]).as_array().unwrap().len(), 3);
}

#[test]
fn bad_sources_leave_no_channel() {
    let desk = Desk::empty();
    let source = unpack(desk.folder());
    let file = source.join("chains/mychan/blockfile_000000");
    let whole = fs::read(&file).unwrap();
    let import = ["import", "--from-fabric", text(&source)];
    let nothing_made = || {
        let made = desk.folder().join("ledger/channels/mychan");
        assert!(!made.exists(), "{}", made.display());
    };

    // a torn block that is not at the end of the last file
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    fs::write(source.join("chains/mychan/blockfile_000001"), b"").unwrap();
    desk.refused(&import, &["blockfile_000000: torn", "copy or export it again"]);
    nothing_made();
    fs::rename(&file, source.join("chains/mychan/blockfile_000002")).unwrap();
    desk.refused(&import, &["blockfile_000000: no such file, though there are later ones"]);
    nothing_made();
    fs::remove_file(source.join("chains/mychan/blockfile_000001")).unwrap();
    fs::remove_file(source.join("chains/mychan/blockfile_000002")).unwrap();

    // one bit, in the data and in the metadata of the last block
    for place in [whole.len() - 5000, whole.len() - 20] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs::write(&file, &changed).unwrap();
        let ended = desk.run(&import);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        nothing_made();
    }

    fs::write(&file, &whole).unwrap();
    let running = File::open(source.join("index/LOCK")).unwrap();
    running.lock().unwrap();
    desk.refused(&import, &["in use by a running orderer; stop that one first"]);
    drop(running);
    nothing_made();

    // the same command completes what the failed ones have left
    desk.done(&import);
    let plain = desk.folder().join("mychan.blocks");
    desk.done(&["export", "--channel", "mychan", "--to", text(&plain)]);
    let bytes = fs::read(&plain).unwrap();
    let other = Desk::empty();
    fs::write(&plain, &bytes[..bytes.len() - 1]).unwrap();
    other.refused(&["import", "--from", text(&plain)], &["torn", "copy or export it again"]);
    fs::write(&plain, &bytes[3..]).unwrap();
    other.refused(&["import", "--from", text(&plain)], &["mychan.blocks"]);
    fs::write(&plain, b"").unwrap();
    other.refused(&["import", "--from", text(&plain)], &["holds no block"]);
    assert!(!other.folder().join("ledger").exists(), "nothing was made");
    fs::write(&plain, &bytes).unwrap();
    desk.refused(&["import", "--from", text(&plain)], &["has a ledger in", "already", "remove the channel"]);
    desk.refused(&["import", "--from-fabric", text(&desk.folder().join("nowhere"))], &["nowhere", "chains"]);
    assert_eq!(desk.run(&["import"]).code, Some(2));
}

/// Creates a ledger with these blocks of `mychan` without verifying them.
fn ledger_of(desk: &Desk, blocks: &[EncodedBlock]) {
    let file = desk.0.ledger_file("mychan");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let channel = ChannelId::parse("mychan").unwrap();
    let ledger = Ledger::create(&file, &channel, &blocks[0], Options::default()).unwrap();
    ledger
        .commit(
            &mut ledger.try_write_permit().unwrap(),
            CommitBatch { blocks: blocks[1..].to_vec(), ..CommitBatch::default() },
        )
        .unwrap();
    ledger.close().unwrap();
}

#[test]
fn verify_names_the_first_bad_block() {
    let good: Vec<EncodedBlock> = delivered("mychan").iter().map(|bytes| EncodedBlock::parse(bytes).unwrap()).collect();
    let changed = |number: usize, change: &dyn Fn(&mut Block)| {
        let mut blocks = good.clone();
        let mut block = blocks[number].decode();
        change(&mut block);
        blocks[number] = EncodedBlock::parse(&block.encode_to_vec()).unwrap();
        blocks
    };
    let metadata = |number: usize, from: usize| {
        // no hash covers the metadata, so only the signature is wrong
        let other = good[from].decode().metadata;
        changed(number, &|block| block.metadata.clone_from(&other))
    };
    let cases = [
        (metadata(57, 56), 57, "BlockValidation"),
        (metadata(140, 3), 140, "BlockValidation"),
        (changed(9, &|block| block.metadata = None), 9, "BlockValidation"),
    ];
    for (blocks, number, problem) in cases {
        let desk = Desk::empty();
        ledger_of(&desk, &blocks);
        let ended = desk.run(&["verify"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stdout.starts_with(&format!("mychan: BAD at block {number}: ")), "{}", ended.stdout);
        assert!(ended.stdout.contains(problem), "{}", ended.stdout);
        let ended = desk.run(&["verify", "--json"]);
        let verdict: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((ended.code, &verdict[0]["first_bad_block"]), (Some(1), &Value::from(number)));
    }
    let desk = Desk::filled();
    fs::write(desk.0.ledger_file("syschan"), "no ledger").unwrap();
    let ended = desk.run(&["verify"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("mychan: good: 147 blocks") && ended.stdout.contains("syschan: BAD"), "{ended:?}");
    desk.refused(&["verify", "--channel", "nochan"], &["there is no ledger of it", "mychan, otherchan, syschan"]);
}

/// The Kafka cluster of the channel is not available, but blocks on disk can be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_chain_serves_what_is_left_and_says_what_is_gone() {
    let desk = Desk::filled();
    let all = delivered("mychan");
    desk.refused(&["prune", "--channel", "mychan", "--before", "147"], &["the last block is 146, which has to stay"]);
    assert_eq!(desk.blocks("mychan"), all, "nothing was removed");
    let said = desk.done(&["prune", "--channel", "mychan", "--before", "100"]);
    assert!(said.contains("100 blocks removed, the chain begins at block 100 now"), "{said}");
    desk.refused(&["prune", "--channel", "mychan", "--before", "99"], &["before 100 are already pruned"]);
    let said = desk.done(&["prune", "--channel", "mychan", "--keep", "5"]);
    assert!(said.contains("42 blocks removed, the chain begins at block 142 now"), "{said}");
    let before = desk.json(&["stats", "--channel", "mychan"])[0]["used_bytes"].as_u64().unwrap();
    desk.done(&["compact"]);
    let figures = &desk.json(&["stats", "--channel", "mychan"])[0];
    assert!(figures["used_bytes"].as_u64().unwrap() < before / 4, "{before} before: {figures}");
    assert_eq!((&figures["horizon"], &figures["config_blocks"]), (&Value::from(142), &Value::from(2)));
    let verdict = &desk.json(&["verify", "--channel", "mychan"])[0];
    assert_eq!((&verdict["good"], &verdict["blocks"]), (&Value::from(true), &Value::from(7)));
    desk.refused(&["export", "--to-fabric", "x"], &["were pruned", "Fabric's orderer needs them"]);

    let mut node = desk.0.spawn();
    node.line("Beginning to serve requests").await;
    desk.refused(&["verify"], &["in use by another process; stop that one first"]);
    desk.refused(&["prune", "--channel", "mychan", "--keep", "1"], &["in use by another process"]);
    let source = desk.folder().join("ledger");
    desk.refused(&["import", "--from-fabric", text(&source)], &["in use by another orderer; stop that one first"]);
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let ask = |start, stop| client.deliver(&user, "mychan", seek_info_at_once(start, stop));
    let mut stream = ask(oldest(), newest()).await;
    for bytes in &all[142..] {
        assert_eq!(stream.block().await.encode_to_vec(), *bytes);
    }
    assert_eq!(stream.status().await, Status::Success);
    assert_eq!(ask(block(141), newest()).await.status().await, Status::NotFound);
    assert_eq!(
        ask(block(LAST_CONFIG), newest()).await.status().await,
        Status::NotFound,
        "no chain without gaps follows"
    );
    assert_eq!(ask(block(0), block(2)).await.status().await, Status::NotFound);
    assert_eq!(ask(block(5), block(5)).await.status().await, Status::NotFound);
    assert_eq!(number(&ask(block(0), block(0)).await.block().await), 0, "config blocks are kept");
    // as `peer channel fetch config` does: the newest block names the block with the current configuration
    assert_eq!(last_config_number(&client.newest_block(&user, "mychan").await), LAST_CONFIG);
    let config = ask(block(LAST_CONFIG), block(LAST_CONFIG)).await.block().await;
    assert_eq!(config.encode_to_vec(), all[usize::try_from(LAST_CONFIG).unwrap()]);
    node.assert_no_panic();
    node.stop().await;
}

#[test]
fn a_pruned_chain_moves_by_a_file_and_is_as_good_there() {
    let desk = Desk::filled();
    desk.done(&["prune", "--channel", "mychan", "--before", "100"]);
    let (plain, again) = (desk.folder().join("mychan.blocks"), desk.folder().join("again.blocks"));
    let said = desk.done(&["export", "--channel", "mychan", "--to", text(&plain)]);
    assert!(said.contains("48 blocks exported, 100 to 146 behind 1 config block,"), "{said}");
    let other = Desk::empty();
    let said = other.done(&["import", "--from", text(&plain)]);
    for part in ["mychan: 48 blocks, 2 with a configuration", "those before block 100 pruned", "record at offset"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(other.blocks("mychan"), desk.blocks("mychan"));
    assert_eq!(other.json(&["verify"])[0], desk.json(&["verify", "--channel", "mychan"])[0]);
    other.done(&["export", "--to", text(&again)]);
    assert!(fs::read(&plain).unwrap() == fs::read(&again).unwrap(), "the same file");
    other.refused(&["import", "--from", text(&plain)], &["has a ledger in", "already"]);
    other.done(&["prune", "--channel", "mychan", "--keep", "1"]);
    other.done(&["compact"]);
    assert!(other.done(&["verify"]).contains("mychan: good: 3 blocks, 2 with a configuration"));
}

#[test]
fn a_file_that_lacks_what_no_removal_takes_away_makes_no_channel() {
    let all = delivered("mychan");
    let desk = Desk::empty();
    let plain = desk.folder().join("mychan.blocks");
    let write = |blocks: &[&[u8]]| {
        let mut framed = Vec::new();
        for block in blocks {
            prost::encode_length_delimiter(block.len(), &mut framed).unwrap();
            framed.extend_from_slice(block);
        }
        fs::write(&plain, framed).unwrap();
    };
    let refuse = |parts: &[&str]| {
        desk.refused(&["import", "--from", text(&plain)], parts);
        assert!(!desk.0.ledger_file("mychan").exists());
    };
    let of = |ranges: &[std::ops::RangeInclusive<usize>]| {
        write(&ranges.iter().flat_map(|range| &all[range.clone()]).map(|block| &block[..]).collect::<Vec<_>>());
    };
    of(&[0..=0, 100..=119, 121..=146]);
    refuse(&["block 121 stands where block 120 should be"]);
    of(&[0..=2, 5..=146]);
    refuse(&["block 5 stands where block 3 should be"]);
    of(&[0..=0, 135..=146]);
    refuse(&["block 135 names block 134 as the last with a configuration, that is block 0"]);
    of(&[100..=146]);
    refuse(&["begins with block 100", "export it again"]);
    // the signer of the first block vouches for the hash of the pruned block before it
    let mut changed = Block::decode(&all[100][..]).unwrap();
    changed.header.as_mut().unwrap().previous_hash = vec![7; 32].into();
    let changed = changed.encode_to_vec();
    write(&[&all[0], &changed]);
    refuse(&["block 100", "BlockValidation"]);
    // pruned after the current configuration, which is block 0 here
    of(&[0..=0, 100..=133]);
    let said = desk.done(&["import", "--from", text(&plain)]);
    assert!(said.contains("those before block 100 pruned"), "{said}");
    assert!(desk.done(&["verify"]).contains("mychan: good: 35 blocks, 1 with a configuration"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_solo_chain_goes_on_here_and_elsewhere() {
    let setup = Setup::application();
    let (user, admin) = (TestIdentity::user(1), TestIdentity::admin(1));
    let node = setup.start().await;
    let client = node.client().await;
    client.order((0..10).map(|i| transaction(&user, "app", vec![i]))).await;
    client.block(&user, "app", 1).await;
    let update = batch_size_update(&last_config(&client, &admin, "app").await, "app", 5);
    let update = signed_update(&admin, &[&TestIdentity::orderer_admin()], "app", &update);
    assert_eq!(client.broadcast(update).await, (Status::Success, String::new()));
    client.block(&user, "app", 2).await;
    node.stop().await;
    let desk = Desk(setup.again(&[]));
    desk.done(&["prune", "--channel", "app", "--before", "2"]);
    desk.done(&["compact"]);
    let node = setup.start().await;
    let client = node.client().await;
    client.order((0..5).map(|i| transaction(&user, "app", vec![i]))).await;
    assert_eq!(number(&client.deliver(&user, "app", seek_info(oldest(), newest())).await.block().await), 2);
    client.block(&user, "app", 3).await;
    for (number, size) in [(4, 6), (5, 7)] {
        let update = batch_size_update(&last_config(&client, &admin, "app").await, "app", size);
        let update = signed_update(&admin, &[&TestIdentity::orderer_admin()], "app", &update);
        assert_eq!(client.broadcast(update).await, (Status::Success, String::new()));
        client.block(&user, "app", number).await;
    }
    node.stop().await;
    assert!(desk.done(&["verify"]).contains("app: good: 5 blocks, 4 with a configuration"));

    // after the current configuration the chain continues, is reconfigured and restarts
    let node = setup.start().await;
    let client = node.client().await;
    client.order((0..14).map(|i| transaction(&user, "app", vec![i]))).await;
    client.block(&user, "app", 7).await;
    node.stop().await;
    let said = desk.done(&["prune", "--channel", "app", "--keep", "1"]);
    assert!(
        said.contains("5 blocks removed, the chain begins at block 7 now; config blocks kept before it: 4"),
        "{said}"
    );
    let node = setup.start().await;
    let client = node.client().await;
    let config = last_config(&client, &admin, "app").await;
    let update = signed_update(&admin, &[&TestIdentity::orderer_admin()], "app", &batch_size_update(&config, "app", 3));
    assert_eq!(client.broadcast(update).await, (Status::Success, String::new()));
    client.block(&user, "app", 8).await;
    node.stop().await;
    assert!(desk.done(&["verify"]).contains("app: good: 6 blocks, 5 with a configuration"));

    // the kept config blocks are not contiguous
    let plain = setup.folder().join("app.blocks");
    let said = desk.done(&["export", "--to", text(&plain)]);
    assert!(said.contains("6 blocks exported, 7 to 8 behind 4 config blocks"), "{said}");
    let elsewhere = Setup::application();
    let other = Desk(elsewhere.again(&[]));
    let said = other.done(&["import", "--from", text(&plain)]);
    assert!(said.contains("those before block 7 pruned"), "{said}");
    let node = elsewhere.start().await;
    let client = node.client().await;
    client.order((0..3).map(|i| transaction(&user, "app", vec![i]))).await;
    assert_eq!(number(&client.deliver(&user, "app", seek_info(oldest(), newest())).await.block().await), 7);
    client.block(&user, "app", 9).await;
    node.stop().await;
    assert!(other.done(&["verify"]).contains("app: good: 7 blocks, 5 with a configuration"));
}
