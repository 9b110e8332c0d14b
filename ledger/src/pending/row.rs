//! A row of the pending log: what one commit acknowledged. Drawn in `docs/ledger-format.md`.

use bytes::{Buf, BufMut, Bytes};
use orderer_core::channel::ConfigSequence;
use orderer_core::crypto::sha256;

use super::PendingEnvelope;

/// A row begins where one of these does, so that writing it touches no other row.
pub(super) const PAGE_BYTES: u64 = 4096;

/// What only this ledger knows. With it rows are sealed: strangers choose what is in envelopes, and without a secret in
/// the seal one of them could put a row into an envelope, to be found where an old row was partly written over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u8; SEAL_BYTES]);

const SEAL_BYTES: usize = 32;
/// First sequence, bytes of all entries, seal of these two.
pub(super) const HEADER_BYTES: usize = 8 + 8 + SEAL_BYTES;
/// Of each entry: sequence, checked at, flags, bytes of the envelope.
const ENTRY_HEADER_BYTES: usize = 8 + 8 + 1 + 4;
const FLAG_CONFIG: u8 = 1;

/// What a row's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The first envelope's sequence.
    pub(super) first: u64,
    /// Of the entries.
    bytes: u64,
}

impl Header {
    /// The header, if it is one that this ledger wrote.
    pub(super) fn decode(key: &Key, encoded: [u8; HEADER_BYTES]) -> Option<Self> {
        let (said, seal) = encoded.split_at(HEADER_BYTES - SEAL_BYTES);
        if sha256(&[&key.0, said]) != seal {
            return None;
        }
        let mut said = said;
        Some(Self { first: said.get_u64(), bytes: said.get_u64() })
    }

    /// What follows the header: entries and their seal.
    pub(super) fn rest_bytes(self) -> u64 {
        self.bytes.saturating_add(SEAL_BYTES as u64)
    }

    /// From the row's beginning to the next one's.
    pub(super) fn row_bytes(self) -> u64 {
        let bytes = self.rest_bytes().saturating_add(HEADER_BYTES as u64);
        bytes.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX)
    }
}

/// A row of these, with zeros up to the end of its last page. Each must be shorter than 4 GiB: the caller checks.
pub(super) fn encode(key: &Key, envelopes: &[PendingEnvelope]) -> Vec<u8> {
    let bytes: usize = envelopes.iter().map(|e| ENTRY_HEADER_BYTES + e.raw.len()).sum();
    let header = Header { first: envelopes.first().map_or(0, |e| e.sequence), bytes: bytes as u64 };
    let row_bytes = usize::try_from(header.row_bytes()).unwrap_or(usize::MAX);
    let mut row = Vec::with_capacity(row_bytes);
    row.put_u64(header.first);
    row.put_u64(header.bytes);
    let seal = sha256(&[&key.0, &row]);
    row.put_slice(&seal);
    for envelope in envelopes {
        row.put_u64(envelope.sequence);
        row.put_u64(envelope.checked_at.0);
        row.put_u8(if envelope.is_config { FLAG_CONFIG } else { 0 });
        row.put_u32(u32::try_from(envelope.raw.len()).unwrap_or(u32::MAX));
        row.put_slice(&envelope.raw);
    }
    let seal = sha256(&[&key.0, &row]);
    row.put_slice(&seal);
    row.resize(row_bytes, 0);
    row
}

/// The envelopes of a row, which share its memory; none if it was not wholly written.
///
/// # Errors
/// What is wrong with a row that is whole: it was written by a version that knows more, and somebody was told that what is
/// in it is safe.
pub(super) fn decode(
    key: &Key,
    header: [u8; HEADER_BYTES],
    mut rest: Bytes,
) -> Result<Option<Vec<PendingEnvelope>>, &'static str> {
    let Some(entries_bytes) = rest.len().checked_sub(SEAL_BYTES) else { return Ok(None) };
    let seal = rest.split_off(entries_bytes);
    if seal != sha256(&[&key.0, &header, &rest])[..] {
        return Ok(None);
    }
    let first = (&header[..]).get_u64();
    let mut envelopes: Vec<PendingEnvelope> = Vec::new();
    while rest.has_remaining() {
        if rest.remaining() < ENTRY_HEADER_BYTES {
            return Err("ends within an entry's header");
        }
        let sequence = rest.get_u64();
        let in_order = match envelopes.last() {
            Some(before) => before.sequence < sequence,
            None => sequence == first,
        };
        if !in_order {
            return Err("has its envelopes out of order");
        }
        let checked_at = ConfigSequence(rest.get_u64());
        let flags = rest.get_u8();
        if flags & !FLAG_CONFIG != 0 {
            return Err("has flags this program does not know");
        }
        let length = rest.get_u32() as usize;
        if rest.remaining() < length {
            return Err("ends within an envelope");
        }
        let raw = rest.split_to(length);
        envelopes.push(PendingEnvelope { sequence, checked_at, is_config: flags & FLAG_CONFIG != 0, raw });
    }
    if envelopes.is_empty() { Err("is empty") } else { Ok(Some(envelopes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Key([7; SEAL_BYTES]);

    fn envelopes() -> impl Strategy<Value = Vec<PendingEnvelope>> {
        let one = (1u64..9, any::<u64>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..1400));
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

    fn split(row: &[u8]) -> ([u8; HEADER_BYTES], Bytes) {
        let (header, rest) = row.split_first_chunk().expect("a page is longer than a header");
        (*header, Bytes::copy_from_slice(rest))
    }

    /// As the log does it.
    fn read(key: &Key, row: &[u8]) -> Option<Vec<PendingEnvelope>> {
        let (encoded, mut rest) = split(row);
        let header = Header::decode(key, encoded)?;
        assert_eq!(header.row_bytes(), row.len() as u64);
        rest.truncate(usize::try_from(header.rest_bytes()).expect("is small"));
        decode(key, encoded, rest).expect("is of this version")
    }

    proptest! {
        #[test]
        fn a_row_comes_back_as_it_was(envelopes in envelopes()) {
            let row = encode(&KEY, &envelopes);
            prop_assert_eq!(row.len() % 4096, 0);
            prop_assert_eq!(read(&KEY, &row), Some(envelopes));
        }

        #[test]
        fn nobody_else_can_make_a_row(envelopes in envelopes(), other: [u8; 32]) {
            prop_assume!(other != KEY.0);
            prop_assert_eq!(read(&KEY, &encode(&Key(other), &envelopes)), None);
        }

        #[test]
        fn a_row_with_another_byte_in_it_is_none(envelopes in envelopes(), at: prop::sample::Index, by in 1u8..) {
            let mut row = encode(&KEY, &envelopes);
            let (encoded, _) = split(&row);
            let used = Header::decode(&KEY, encoded).expect("is a header").rest_bytes() + HEADER_BYTES as u64;
            let at = at.index(usize::try_from(used).expect("is small"));
            row[at] ^= by;
            prop_assert_eq!(read(&KEY, &row), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(header: [u8; 16], rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            // sealed, so that they are looked into
            let mut encoded = [0; HEADER_BYTES];
            encoded[..16].copy_from_slice(&header);
            encoded[16..].copy_from_slice(&sha256(&[&KEY.0, &header]));
            let header = Header::decode(&KEY, encoded).expect("is sealed");
            prop_assert!(header.row_bytes() >= PAGE_BYTES);
            let seal = sha256(&[&KEY.0, &encoded, &rest]);
            let _ = decode(&KEY, encoded, [&rest[..], &seal].concat().into());
            let _ = decode(&KEY, encoded, rest.into());
        }
    }
}
