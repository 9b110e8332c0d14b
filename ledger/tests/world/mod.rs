//! Support for the tests of the ledger: chains of blocks and a disk with simulated power failures.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses its own part")]

pub mod disk;
pub mod log_folder;

use bytes::Bytes;
use fabric_proto::common::{Block, BlockData, BlockHeader, BlockMetadata};
use orderer_core::block::{EncodedBlock, data_hash};
use orderer_core::types::{ChannelId, ConfigSequence};
use orderer_ledger::{Options, PendingEnvelope};
use prost::Message as _;

/// Options with small caches, so that reads go to disk and commits do not stay in buffers.
pub const SMALL: Options = Options { blocks: None, block_bytes: 1, page_cache_bytes: 1 << 20, open_databases: None };

pub fn channel() -> ChannelId {
    ChannelId::parse("mychan").expect("is a name")
}

pub fn block(number: u64, previous_hash: &[u8], entries: Vec<Bytes>) -> EncodedBlock {
    let data_hash = data_hash(entries.iter().map(Bytes::as_ref));
    let block = Block {
        header: Some(BlockHeader {
            number,
            previous_hash: Bytes::copy_from_slice(previous_hash),
            data_hash: Bytes::copy_from_slice(&data_hash),
        }),
        data: Some(BlockData { data: entries }),
        metadata: Some(BlockMetadata { metadata: vec![Bytes::new(); 5] }),
    };
    EncodedBlock::parse(&block.encode_to_vec()).expect("is a block")
}

pub fn genesis() -> EncodedBlock {
    block(0, b"", vec!["genesis".into()])
}

/// Returns `count` blocks after `last`, each with entries of these sizes.
pub fn blocks_after(last: &EncodedBlock, count: usize, entry_bytes: &[usize]) -> Vec<EncodedBlock> {
    let mut blocks: Vec<EncodedBlock> = Vec::with_capacity(count);
    for _ in 0..count {
        let previous = blocks.last().unwrap_or(last);
        let number = previous.number().0 + 1;
        let entries = entry_bytes.iter().map(|&bytes| entry(number, bytes)).collect();
        blocks.push(block(number, previous.header_hash(), entries));
    }
    blocks
}

fn entry(number: u64, bytes: usize) -> Bytes {
    number.to_be_bytes().into_iter().cycle().take(bytes).collect()
}

pub fn envelope(sequence: u64, bytes: usize) -> PendingEnvelope {
    PendingEnvelope {
        sequence,
        validated_at: ConfigSequence(sequence / 7),
        is_config: sequence.is_multiple_of(5),
        raw: entry(sequence, bytes),
    }
}
