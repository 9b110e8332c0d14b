//! A row of a sealed file: header, content, seal, and zeros up to the end of its last page.

use bytes::{Buf, BufMut, Bytes};
use orderer_core::crypto::sha256;

/// A row begins where one of these does, so that writing it touches no other row.
pub(crate) const PAGE_BYTES: u64 = PAGE_LENGTH as u64;
/// The size of a page, as a length in memory.
pub(crate) const PAGE_LENGTH: usize = 4096;

/// The secret of the file's owner. Rows are sealed with it: clients choose what is in envelopes, and without a
/// secret in the seal one of them could put a row into an envelope, to be found where an old row was partly written over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealKey(pub(crate) [u8; SEAL_BYTES]);

pub(crate) const SEAL_BYTES: usize = 32;
/// Sequence, bytes of the content, seal of these two.
pub(crate) const HEADER_BYTES: usize = 8 + 8 + SEAL_BYTES;

/// The header of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// The sequence of the row, or of the first thing in it.
    pub(crate) sequence: u64,
    /// Size of the content.
    bytes: u64,
}

impl RecordHeader {
    /// The header, if it is one that was sealed with this key.
    pub(crate) fn decode(key: &SealKey, encoded: [u8; HEADER_BYTES]) -> Option<Self> {
        let (said, seal) = encoded.split_at(HEADER_BYTES - SEAL_BYTES);
        if sha256(&[&key.0, said]) != seal {
            return None;
        }
        let mut said = said;
        Some(Self { sequence: said.get_u64(), bytes: said.get_u64() })
    }

    /// Returns the size of what follows the header: the content and its seal.
    pub(crate) fn rest_bytes(self) -> u64 {
        self.bytes.saturating_add(SEAL_BYTES as u64)
    }

    /// Returns the bytes from the row's beginning to the next one's.
    pub(crate) fn record_bytes(self) -> u64 {
        let bytes = self.rest_bytes().saturating_add(HEADER_BYTES as u64);
        bytes.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX)
    }
}

/// A row with what `fill` writes: `bytes` bytes exactly.
pub(crate) fn encode(key: &SealKey, sequence: u64, bytes: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let header = RecordHeader { sequence, bytes: bytes as u64 };
    let row_bytes = usize::try_from(header.record_bytes()).unwrap_or(usize::MAX);
    let mut row = Vec::with_capacity(row_bytes);
    row.put_u64(header.sequence);
    row.put_u64(header.bytes);
    let seal = sha256(&[&key.0, &row]);
    row.put_slice(&seal);
    fill(&mut row);
    let seal = sha256(&[&key.0, &row]);
    row.put_slice(&seal);
    row.resize(row_bytes, 0);
    row
}

/// The content of a row, of which `rest` is what follows the header; none if it was not wholly written.
pub(crate) fn open(key: &SealKey, header: &[u8; HEADER_BYTES], mut rest: Bytes) -> Option<Bytes> {
    let seal = rest.split_off(rest.len().checked_sub(SEAL_BYTES)?);
    (seal == sha256(&[&key.0, header, &rest])[..]).then_some(rest)
}
