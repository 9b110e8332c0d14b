//! A cache of blocks in memory, shared by any number of ledgers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use orderer_core::block::EncodedBlock;
use orderer_core::types::BlockNumber;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::error::LedgerError;

/// Usual minimum size of a block, in bytes; it only sizes a table.
const BLOCK_BYTES_USUAL: usize = 16 * 1024;

/// A ledger's blocks are found by its identifier within the process, and their number.
type Key = (u64, u64);

/// Blocks that were written or read lately, at most a fixed number of bytes for all ledgers that share it: unused blocks of any
/// ledger make room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlockCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    blocks: Cache<Key, EncodedBlock, Size>,
    next: AtomicU64,
}

#[derive(Clone, Debug)]
struct Size;

impl Weighter<Key, EncodedBlock> for Size {
    fn weight(&self, _: &Key, block: &EncodedBlock) -> u64 {
        block.size_bytes() as u64
    }
}

impl BlockCache {
    /// Creates a cache of at most `max_bytes` bytes.
    ///
    /// Subscribers read a chain some way behind each other: what the first of them read must still be there when the
    /// last comes by. So half of the room is for what was read once, in the order in which it was read; the cache's usual
    /// division leaves 3 % for that. (The other half also says how large a block may be to be kept at all.)
    pub fn new(max_bytes: usize) -> Self {
        let options = OptionsBuilder::new()
            .shards(1)
            .hot_allocation(0.5)
            .ghost_allocation(0.0)
            .estimated_items_capacity(max_bytes / BLOCK_BYTES_USUAL + 1)
            .weight_capacity(max_bytes as u64)
            .build();
        let blocks = match options {
            Ok(options) => {
                Cache::with_options(options, Size, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // every option is set: this cannot be
            Err(_) => Cache::with_weighter(1, max_bytes as u64, Size),
        };
        Self(Arc::new(Shared { blocks, next: AtomicU64::new(0) }))
    }

    /// Bytes that the blocks in it may have.
    pub fn max_bytes(&self) -> u64 {
        self.0.blocks.capacity()
    }

    /// Bytes of the blocks that are in it.
    pub fn bytes(&self) -> u64 {
        self.0.blocks.weight()
    }
}

/// One ledger's part of it.
#[derive(Debug)]
pub(crate) struct CachedBlocks {
    cache: BlockCache,
    ledger: u64,
}

impl CachedBlocks {
    pub(crate) fn of(cache: &BlockCache) -> Self {
        Self { cache: cache.clone(), ledger: cache.0.next.fetch_add(1, Ordering::Relaxed) }
    }

    fn key(&self, number: BlockNumber) -> Key {
        (self.ledger, number.0)
    }

    pub(crate) fn get(&self, number: BlockNumber) -> Option<EncodedBlock> {
        self.cache.0.blocks.get(&self.key(number))
    }

    pub(crate) fn insert(&self, block: EncodedBlock) {
        self.cache.0.blocks.insert(self.key(block.number()), block);
    }

    /// Returns a block. Of several readers that want the same one now, one reads it and the others wait for that.
    pub(crate) fn get_or_read(
        &self,
        number: BlockNumber,
        read: impl FnOnce() -> Result<EncodedBlock, LedgerError>,
    ) -> Result<EncodedBlock, LedgerError> {
        self.cache.0.blocks.get_or_insert_with(&self.key(number), read)
    }
}
