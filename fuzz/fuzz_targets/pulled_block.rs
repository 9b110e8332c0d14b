//! Fuzzes the next block and the newest config block that another orderer may send.

#![no_main]

use std::cell::RefCell;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Block, LastConfig, Metadata, OrdererBlockMetadata};
use libfuzzer_sys::fuzz_target;
use orderer_core::block::{ChainTip, EncodedBlock, data_hash};
use orderer_core::replication::{LatestConfig, SequenceVerifier, endpoints, read_block, verify_latest_config};
use orderer_core::types::BlockNumber;
use orderer_fuzz::{GENESIS, OPEN, SNAPSHOT};

thread_local! {
    static TIP: RefCell<EncodedBlock> = RefCell::new(EncodedBlock::parse(GENESIS).expect("is a block"));
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let mut bytes = Bytes::copy_from_slice(rest);
    if kind % 3 == 0 {
        // an unsigned block must be rejected
        if let Ok(block) = read_block(&bytes) {
            assert!(block.number() == BlockNumber::GENESIS || verify_latest_config(&block, &SNAPSHOT).is_err());
        }
    } else {
        // set the required hashes and index
        let Ok(block) = Block::decode(bytes) else { return };
        bytes = follow(block, kind % 3 == 2).encode_to_vec().into();
    }
    let Ok(block) = read_block(&bytes) else { return };
    let again = read_block(&block.block_bytes()).expect("what was read can be read");
    assert_eq!(again.block_bytes(), block.block_bytes());
    let genesis = TIP.with_borrow(Clone::clone);
    let mut sequence = SequenceVerifier::after(ChainTip::of(&genesis, OPEN.clone()));
    if let Ok(taken) = sequence.verify_next(block.clone()) {
        assert_eq!(taken.block.number(), BlockNumber(1));
        assert_eq!(taken.block.previous_hash()[..], genesis.header_hash()[..]);
        let last_config = if taken.snapshot.is_some() { 1 } else { 0 };
        assert_eq!(taken.block.last_config().0, last_config);
    }
    let _ = verify_latest_config(&block, &OPEN);
    if let Ok(newest) = LatestConfig::judge(block, BlockNumber(1), &OPEN) {
        let _ = endpoints(&newest.snapshot);
    }
});

/// Returns the block as the successor of the genesis block.
fn follow(mut block: Block, is_config: bool) -> Block {
    let data = block.data.get_or_insert_default();
    let hash = data_hash(data.data.iter().map(|entry| &entry[..]));
    let header = block.header.get_or_insert_default();
    header.number = 1;
    header.previous_hash = TIP.with_borrow(|genesis| Bytes::copy_from_slice(genesis.header_hash()));
    header.data_hash = Bytes::copy_from_slice(&hash);
    let value = OrdererBlockMetadata {
        last_config: Some(LastConfig { index: u64::from(is_config) }),
        consenter_metadata: Bytes::new(),
    };
    let slots = &mut block.metadata.get_or_insert_default().metadata;
    if slots.is_empty() {
        slots.push(Bytes::new());
    }
    let mut metadata = Metadata::decode(slots[0].clone()).unwrap_or_default();
    metadata.value = value.encode_to_vec().into();
    slots[0] = metadata.encode_to_vec().into();
    block
}
