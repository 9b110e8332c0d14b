//! Tables, keys and how values are laid out. Drawn in `docs/ledger-format.md`; what is written here is for ever.

use bytes::{Buf, BufMut, Bytes};
use orderer_core::channel::ConfigSequence;
use orderer_core::crypto::sha256;
use redb::TableDefinition;

use crate::error::Fault;
use crate::pending::PendingEnvelope;

/// The format this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// Under [`MAGIC_KEY`]: tells a ledger from any other redb file.
pub(crate) const MAGIC: &[u8] = b"orderer-ledger";
/// What every redb file begins with.
pub(crate) const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

pub(crate) const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledger.identity");
pub(crate) const MAGIC_KEY: &str = "magic";
pub(crate) const FORMAT_KEY: &str = "format";
pub(crate) const CHANNEL_KEY: &str = "channel";

/// (number, chunk) → bytes.
pub(crate) const BLOCKS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("ledger.blocks");
/// First sequence → row; [`FLOOR_KEY`] → the floor.
pub(crate) const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("ledger.pending");
/// Sequence numbers begin above it.
pub(crate) const FLOOR_KEY: u64 = 0;
/// Name → bytes.
pub(crate) const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledger.values");

/// In front of a block's first chunk: its length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// redb's pages; a value that does not fit one gets a power of two of them.
const PAGE_BYTES: usize = 4096;
/// What a leaf with one pair of [`BLOCKS`] needs beside the value: header 4, offset 4, key 12.
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

/// Of each envelope of a pending row: sequence, checked at, flags, length.
const ENTRY_HEADER_BYTES: usize = 8 + 8 + 1 + 4;
const FLAG_CONFIG: u8 = 1;
/// SHA-256 at the end of a row.
const DIGEST_BYTES: usize = 32;

/// A row of pending envelopes, and SHA-256 of it all behind them. Their raw bytes must be shorter than 4 GiB: the caller
/// checks.
pub(crate) fn encode_row(envelopes: &[PendingEnvelope]) -> Vec<u8> {
    let size: usize = envelopes.iter().map(|e| ENTRY_HEADER_BYTES + e.raw.len()).sum();
    let mut row = Vec::with_capacity(size + DIGEST_BYTES);
    for envelope in envelopes {
        row.put_u64(envelope.sequence);
        row.put_u64(envelope.checked_at.0);
        row.put_u8(if envelope.is_config { FLAG_CONFIG } else { 0 });
        row.put_u32(u32::try_from(envelope.raw.len()).unwrap_or(u32::MAX));
        row.put_slice(&envelope.raw);
    }
    let digest = sha256(&[&row]);
    row.put_slice(&digest);
    row
}

/// The envelopes of a row stored under `key`. They share `row`'s memory.
pub(crate) fn decode_row(key: u64, mut row: Bytes) -> Result<Vec<PendingEnvelope>, Fault> {
    let broken = |what: &str| Fault::Layout(format!("pending row {key} {what}"));
    let Some(envelopes_len) = row.len().checked_sub(DIGEST_BYTES) else {
        return Err(broken("is too short"));
    };
    let digest = row.split_off(envelopes_len);
    if digest != sha256(&[&row])[..] {
        return Err(broken("is not what was written: its digest differs"));
    }
    let mut envelopes: Vec<PendingEnvelope> = Vec::new();
    while row.has_remaining() {
        if row.remaining() < ENTRY_HEADER_BYTES {
            return Err(broken("ends within an envelope's header"));
        }
        let sequence = row.get_u64();
        let in_order = match envelopes.last() {
            Some(before) => before.sequence < sequence,
            None => sequence == key,
        };
        if !in_order {
            return Err(broken("has its envelopes out of order"));
        }
        let checked_at = ConfigSequence(row.get_u64());
        let flags = row.get_u8();
        if flags & !FLAG_CONFIG != 0 {
            return Err(broken("has flags this program does not know"));
        }
        let length = row.get_u32() as usize;
        if row.remaining() < length {
            return Err(broken("ends within an envelope"));
        }
        let raw = row.split_to(length);
        envelopes.push(PendingEnvelope { sequence, checked_at, is_config: flags & FLAG_CONFIG != 0, raw });
    }
    if envelopes.is_empty() { Err(broken("is empty")) } else { Ok(envelopes) }
}

/// A number stored as four or eight bytes.
pub(crate) fn decode_number(what: &str, mut value: &[u8]) -> Result<u64, Fault> {
    match value.len() {
        4 => Ok(u64::from(value.get_u32())),
        8 => Ok(value.get_u64()),
        n => Err(Fault::Layout(format!("{what} has {n} bytes, no number"))),
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

    fn envelopes() -> impl Strategy<Value = Vec<PendingEnvelope>> {
        let one = (1u64..9, any::<u64>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40));
        proptest::collection::vec(one, 1..9).prop_map(|ones| {
            let mut next = 0;
            ones.into_iter()
                .map(|(step, checked_at, is_config, raw)| {
                    next += step;
                    let checked_at = ConfigSequence(checked_at);
                    PendingEnvelope { sequence: next, checked_at, is_config, raw: raw.into() }
                })
                .collect()
        })
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

        #[test]
        fn a_row_comes_back_as_it_was(envelopes in envelopes()) {
            let row = encode_row(&envelopes);
            prop_assert_eq!(decode_row(envelopes[0].sequence, row.into()).ok(), Some(envelopes));
        }

        #[test]
        fn a_row_cut_short_is_an_error_or_a_shorter_row(envelopes in envelopes(), cut: prop::sample::Index) {
            let row = encode_row(&envelopes);
            let cut = cut.index(row.len());
            if let Ok(some) = decode_row(envelopes[0].sequence, Bytes::from(row).slice(..cut)) {
                prop_assert_eq!(&some[..], &envelopes[..some.len()]);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(key: u64, row in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode_row(key, row.into());
        }
    }
}
