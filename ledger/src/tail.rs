//! The newest blocks in memory, and how followers hear of the next one.

use std::collections::VecDeque;
use std::sync::PoisonError;

use orderer_core::block::{EncodedBlock, Hash};
use orderer_core::channel::BlockNumber;
use tokio::sync::watch;

use crate::ledger::Ledger;

impl Ledger {
    /// How many blocks there are, which is the number of the next one.
    pub fn height(&self) -> u64 {
        self.last_block().number().0 + 1
    }

    /// The newest block. From memory.
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

    /// The block, if it is in memory: among the newest, or read lately. Never blocks for long; worth a try before
    /// [`block`](Self::block) is called on a blocking thread.
    pub fn cached_block(&self, number: BlockNumber) -> Option<EncodedBlock> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner).get(number).cloned();
        newest.or_else(|| self.recently_read.get(number))
    }

    /// Shows blocks that have become durable.
    pub(crate) fn publish(&self, blocks: Vec<EncodedBlock>) {
        if blocks.is_empty() {
            return;
        }
        let height = {
            let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
            for block in blocks {
                newest.push(block);
            }
            newest.last.number().0 + 1
        };
        self.heights.send_replace(height);
    }
}

/// Newest blocks, without a gap, up to a size. The very newest is there however large it is.
#[derive(Debug)]
pub(crate) struct Newest {
    last: EncodedBlock,
    blocks: VecDeque<EncodedBlock>,
    bytes: usize,
    max_bytes: usize,
}

impl Newest {
    pub(crate) fn new(last: EncodedBlock, max_bytes: usize) -> Self {
        let mut newest = Self { last: last.clone(), blocks: VecDeque::new(), bytes: 0, max_bytes };
        newest.push(last);
        newest
    }

    fn push(&mut self, block: EncodedBlock) {
        self.bytes += block.size_bytes();
        self.blocks.push_back(block.clone());
        self.last = block;
        while self.bytes > self.max_bytes
            && self.blocks.len() > 1
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.bytes -= oldest.size_bytes();
        }
    }

    fn get(&self, number: BlockNumber) -> Option<&EncodedBlock> {
        let first = self.blocks.front()?.number().0;
        let at = usize::try_from(number.0.checked_sub(first)?).ok()?;
        self.blocks.get(at)
    }
}
