//! Tests the validation of another orderer's newest block and newest config block.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod made_chain;

use fabric_proto::Message as _;
use fabric_proto::common::Block;
use made_chain::{Made, batch_of, last_config, relink, sign, signed_by_admins};
use orderer_core::block::EncodedBlock;
use orderer_core::config::ChannelSnapshot;
use orderer_core::replication::{LatestConfig, verify_latest_config};
use orderer_core::types::{BlockNumber, ChannelId};

fn encoded(block: &Block) -> EncodedBlock {
    EncodedBlock::parse(&block.encode_to_vec()).unwrap()
}

fn newest(block: &Block, own: &ChannelSnapshot) -> Result<u64, String> {
    verify_latest_config(&encoded(block), own).map(|number| number.0).map_err(|error| error.to_string())
}

fn judged(block: &Block, expected: u64, own: &ChannelSnapshot) -> Result<LatestConfig, String> {
    LatestConfig::judge(encoded(block), BlockNumber(expected), own).map_err(|error| error.to_string())
}

#[test]
fn the_newest_block_is_signed_as_this_nodes_configuration_asks() {
    let made = Made::new(batch_of(50));
    assert_eq!(newest(&made.genesis, &made.snapshot), Ok(0), "nobody signs that");
    assert_eq!(newest(&made.blocks[2], &made.snapshot), Ok(0));
    assert_eq!(newest(&made.blocks[5], &made.snapshot), Ok(4));
    let change = |change: &dyn Fn(&mut Block)| {
        let mut block = made.blocks[5].clone();
        change(&mut block);
        newest(&block, &made.snapshot).unwrap_err()
    };
    let error = change(&|block| sign(block, 4, &made.people.client));
    assert!(error.starts_with("block 6: not signed as BlockValidation requires"), "{error}");
    let error = change(&|block| sign(block, 7, &made.people.orderer));
    assert_eq!(error, "block 6 names block 7 as the last with a configuration");
    // verified by this node's configuration, not by the one in the config block
    let stricter = Made::new(signed_by_admins);
    assert_eq!(newest(&stricter.blocks[5], &stricter.snapshot), Ok(4));
    let mut known = judged(&stricter.blocks[3], 4, &stricter.snapshot).unwrap();
    let error = newest(&stricter.blocks[5], &known.snapshot).unwrap_err();
    assert!(error.starts_with("block 6: not signed"), "{error}");
    // and so are the blocks after it
    let error = known.followers().verify_next(encoded(&stricter.blocks[4])).unwrap_err().to_string();
    assert!(error.starts_with("block 5: not signed"), "{error}");
    known = judged(&made.blocks[3], 4, &made.snapshot).unwrap();
    let mut followers = known.followers();
    for block in &made.blocks[4..] {
        followers.verify_next(encoded(block)).unwrap();
    }
    known.followers().verify_next(encoded(&made.blocks[5])).unwrap_err();
}

#[test]
fn the_newest_config_block_is_one_of_the_channel_and_signed() {
    let made = Made::new(batch_of(50));
    let config = &made.blocks[3];
    let taken = judged(config, 4, &made.snapshot).unwrap();
    assert_eq!(taken.snapshot.orderer().batch_size.max_message_count, 50);
    assert_eq!(judged(&made.genesis, 0, &made.snapshot).unwrap().snapshot.sequence(), made.snapshot.sequence());
    let refused = |block: &Block, expected, own: &ChannelSnapshot| judged(block, expected, own).unwrap_err();
    assert_eq!(refused(config, 3, &made.snapshot), "got unexpected sequence: 4 instead of 3");
    let mut stranger = config.clone();
    sign(&mut stranger, 4, &made.people.client);
    let error = refused(&stranger, 4, &made.snapshot);
    assert!(error.starts_with("block 4: not signed"), "{error}");
    let error = refused(&made.blocks[4], 5, &made.snapshot);
    assert!(error.starts_with("block 5 is to hold the newest configuration"), "{error}");
    let group = made.snapshot.config();
    let other = ChannelSnapshot::from_config(ChannelId::parse("other").unwrap(), group, &std::sync::Arc::default());
    assert_eq!(refused(config, 4, &other.unwrap()), "block 4 is of channel app, not of other");
    // a block that is not a config block but claims to be one
    let mut blocks = made.blocks.clone();
    relink(&mut blocks, 2, last_config, &made.people.orderer);
    assert!(judged(&blocks[2], 3, &made.snapshot).is_err());
}
