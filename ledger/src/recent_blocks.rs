//! The newest blocks in memory, and the notification of subscribers of the next one.

use std::sync::PoisonError;

use orderer_core::block::{EncodedBlock, Hash};
use orderer_core::types::BlockNumber;
use tokio::sync::watch;

use crate::ledger::Ledger;

impl Ledger {
    /// Returns the number of blocks, which is also the number of the next one.
    pub fn height(&self) -> u64 {
        self.last_block().number().0 + 1
    }

    /// Returns the newest block. From memory: of a large one only what is not data, which is enough to know the end of the
    /// chain. A caller that needs its data reads the [`block`](Self::block).
    pub fn last_block(&self) -> EncodedBlock {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// Hash of the newest block's header.
    pub fn last_header_hash(&self) -> Hash {
        *self.last_block().header_hash()
    }

    /// Number of the newest config block.
    pub fn last_config(&self) -> BlockNumber {
        self.last_block().last_config()
    }

    /// Changes with the height, when the new blocks are durable and can be read.
    pub fn heights(&self) -> watch::Receiver<u64> {
        self.heights.subscribe()
    }

    /// The block, if it is in memory: written or read lately. Never blocks for long; worth a try before
    /// [`block`](Self::block) is called on a blocking thread.
    pub fn cached_block(&self, number: BlockNumber) -> Option<EncodedBlock> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        if newest.is_whole && newest.last.number() == number {
            return Some(newest.last.clone());
        }
        drop(newest);
        self.cached.get(number)
    }

    /// Shows blocks that have become durable.
    pub(crate) fn publish(&self, blocks: Vec<EncodedBlock>) {
        let Some(last) = blocks.last() else { return };
        let (height, newest) = (last.number().0 + 1, RecentBlocks::new(last));
        for block in blocks {
            self.cached.insert(block);
        }
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = newest;
        self.heights.send_replace(height);
    }
}

/// A newest block up to this size is kept whole. Many channels are quiet for long, and each has one: the genesis blocks of a thousand
/// channels took 20 MB. A larger one is in the cache while it is new.
const KEPT_WHOLE_BYTES: usize = 4 << 10;

/// The newest block: whole if it is small, otherwise without its data.
#[derive(Debug)]
pub(crate) struct RecentBlocks {
    last: EncodedBlock,
    is_whole: bool,
}

impl RecentBlocks {
    pub(crate) fn new(last: &EncodedBlock) -> Self {
        let is_whole = last.size_bytes() <= KEPT_WHOLE_BYTES;
        Self { last: if is_whole { last.clone() } else { last.without_data() }, is_whole }
    }
}
