//! Tables, keys and how values are laid out. Drawn in `docs/ledger-format.md`; what is written here is for ever.

use bytes::Buf;
use redb::TableDefinition;

use crate::error::LedgerError;

/// The newest format this program reads: of a ledger that was pruned. Older programs would misread it.
pub const FORMAT: u32 = 2;
/// The format of a ledger with all its blocks.
pub(crate) const FORMAT_WHOLE: u32 = 1;
/// Under [`MAGIC_KEY`]: tells a ledger from any other redb file.
pub(crate) const MAGIC: &[u8] = b"orderer-ledger";
/// The first bytes of every redb file.
pub(crate) const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

pub(crate) const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledger.identity");
pub(crate) const MAGIC_KEY: &str = "magic";
pub(crate) const FORMAT_KEY: &str = "format";
pub(crate) const CHANNEL_KEY: &str = "channel";
/// The key under which the key that seals rows of the pending log is stored.
pub(crate) const PENDING_KEY_KEY: &str = "pending key";

/// (number, chunk) → bytes.
pub(crate) type Blocks = TableDefinition<'static, (u64, u32), &'static [u8]>;
pub(crate) const BLOCKS: Blocks = TableDefinition::new("ledger.blocks");
/// Config blocks before the horizon: (number, chunk) → bytes.
pub(crate) const HISTORY: Blocks = TableDefinition::new("ledger.history");
/// [`HORIZON_KEY`] → number of the first block that is there, [`HORIZON_HASH_KEY`] → hash of the header before it.
pub(crate) const HORIZON: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledger.horizon");
pub(crate) const HORIZON_KEY: &str = "horizon";
pub(crate) const HORIZON_HASH_KEY: &str = "previous hash";
/// [`FLOOR_KEY`] → the floor: pending envelopes with a smaller sequence are in blocks.
pub(crate) const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("ledger.pending");
/// Sequence numbers begin above it.
pub(crate) const FLOOR_KEY: u64 = 0;
/// Name → bytes.
pub(crate) const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledger.values");

/// In front of a block's first chunk: its length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// redb's pages; a value that does not fit one gets a power of two of them.
const PAGE_BYTES: usize = 4096;
/// Bytes that a leaf with one pair of [`BLOCKS`] needs beside the value: header 4, offset 4, key 12.
const LEAF_OVERHEAD_BYTES: usize = 20;
/// A larger chunk saves a little CPU (256 KiB: 20 %) but makes it harder to find room for it in a used file.
const CHUNK_PAGES_MAX: usize = 16;

/// Cuts `left` bytes into chunks that fill their pages, largest first.
pub(crate) fn chunk_lengths(mut left: usize) -> impl Iterator<Item = usize> {
    let mut pages = CHUNK_PAGES_MAX;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        while pages > 1 && left < pages * PAGE_BYTES - LEAF_OVERHEAD_BYTES {
            pages /= 2;
        }
        let length = left.min(pages * PAGE_BYTES - LEAF_OVERHEAD_BYTES);
        left -= length;
        Some(length)
    })
}

/// A number stored as four or eight bytes.
pub(crate) fn decode_number(what: &str, mut value: &[u8]) -> Result<u64, LedgerError> {
    match value.len() {
        4 => Ok(u64::from(value.get_u32())),
        8 => Ok(value.get_u64()),
        n => Err(LedgerError::Layout(format!("{what} has {n} bytes, no number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chunks_fill_their_pages() {
        let lengths = |n| chunk_lengths(n).collect::<Vec<_>>();
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(4076), [4076]);
        assert_eq!(lengths(4077), [4076, 1]);
        assert_eq!(lengths(8172), [8172]);
        assert_eq!(lengths(13_700), [8172, 4076, 1452]);
        assert_eq!(lengths(2 * 65_516 + 5), [65_516, 65_516, 5]);
    }

    proptest! {
        #[test]
        fn chunks_hold_every_byte_and_waste_at_most_a_page(bytes in 0usize..3_000_000) {
            let lengths: Vec<usize> = chunk_lengths(bytes).collect();
            prop_assert_eq!(lengths.iter().sum::<usize>(), bytes);
            let pages: usize = lengths.iter().map(|l| (l + LEAF_OVERHEAD_BYTES).div_ceil(PAGE_BYTES).next_power_of_two()).sum();
            let overhead = lengths.len() * LEAF_OVERHEAD_BYTES;
            prop_assert!(pages * PAGE_BYTES < bytes + overhead + PAGE_BYTES);
        }
    }
}
