//! A row of the pending log: what one commit acknowledged. Drawn in `docs/ledger-format.md`.

use bytes::{Buf, BufMut, Bytes};
use orderer_core::types::ConfigSequence;

use super::PendingEnvelope;
use crate::sealed::{self, SealKey};

/// Bytes of each entry's header: sequence, checked at, flags, length of the envelope.
const ENTRY_HEADER_BYTES: usize = 8 + 8 + 1 + 4;
const FLAG_CONFIG: u8 = 1;

/// Encodes a row of these, with zeros up to the end of its last page. Each must be shorter than 4 GiB: the caller checks.
pub(super) fn encode(key: &SealKey, envelopes: &[PendingEnvelope]) -> Vec<u8> {
    let bytes: usize = envelopes.iter().map(|e| ENTRY_HEADER_BYTES + e.raw.len()).sum();
    sealed::encode(key, envelopes.first().map_or(0, |e| e.sequence), bytes, |row| {
        for envelope in envelopes {
            row.put_u64(envelope.sequence);
            row.put_u64(envelope.validated_at.0);
            row.put_u8(if envelope.is_config { FLAG_CONFIG } else { 0 });
            row.put_u32(u32::try_from(envelope.raw.len()).unwrap_or(u32::MAX));
            row.put_slice(&envelope.raw);
        }
    })
}

/// Returns the envelopes of a row that is whole; they share its memory. `first` is the sequence that its header says.
///
/// # Errors
/// The text says what is wrong. The row was written by a newer version and its envelopes were acknowledged, so it must not be
/// dropped.
pub(super) fn decode(first: u64, mut rest: Bytes) -> Result<Vec<PendingEnvelope>, &'static str> {
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
        let validated_at = ConfigSequence(rest.get_u64());
        let flags = rest.get_u8();
        if flags & !FLAG_CONFIG != 0 {
            return Err("has flags this program does not know");
        }
        let length = rest.get_u32() as usize;
        if rest.remaining() < length {
            return Err("ends within an envelope");
        }
        let raw = rest.split_to(length);
        envelopes.push(PendingEnvelope { sequence, validated_at, is_config: flags & FLAG_CONFIG != 0, raw });
    }
    if envelopes.is_empty() { Err("is empty") } else { Ok(envelopes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::{HEADER_BYTES, PAGE_BYTES, RecordHeader, SEAL_BYTES};
    use orderer_core::crypto::sha256;
    use proptest::prelude::*;

    const KEY: SealKey = SealKey([7; SEAL_BYTES]);

    fn envelopes() -> impl Strategy<Value = Vec<PendingEnvelope>> {
        let one = (1u64..9, any::<u64>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..1400));
        proptest::collection::vec(one, 1..9).prop_map(|ones| {
            let mut next = 0;
            ones.into_iter()
                .map(|(step, validated_at, is_config, raw)| {
                    next += step;
                    let validated_at = ConfigSequence(validated_at);
                    PendingEnvelope { sequence: next, validated_at, is_config, raw: raw.into() }
                })
                .collect()
        })
    }

    fn split(row: &[u8]) -> ([u8; HEADER_BYTES], Bytes) {
        let (header, rest) = row.split_first_chunk().expect("a page is longer than a header");
        (*header, Bytes::copy_from_slice(rest))
    }

    /// Reads a row as the log does.
    fn read(key: &SealKey, row: &[u8]) -> Option<Vec<PendingEnvelope>> {
        let (encoded, mut rest) = split(row);
        let header = RecordHeader::decode(key, encoded)?;
        assert_eq!(header.record_bytes(), row.len() as u64);
        rest.truncate(usize::try_from(header.rest_bytes()).expect("is small"));
        sealed::open(key, &encoded, rest).map(|content| decode(header.sequence, content).expect("is of this version"))
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
            prop_assert_eq!(read(&KEY, &encode(&SealKey(other), &envelopes)), None);
        }

        #[test]
        fn a_row_with_another_byte_in_it_is_none(envelopes in envelopes(), at: prop::sample::Index, by in 1u8..) {
            let mut row = encode(&KEY, &envelopes);
            let (encoded, _) = split(&row);
            let used = RecordHeader::decode(&KEY, encoded).expect("is a header").rest_bytes() + HEADER_BYTES as u64;
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
            let header = RecordHeader::decode(&KEY, encoded).expect("is sealed");
            prop_assert!(header.record_bytes() >= PAGE_BYTES);
            let seal = sha256(&[&KEY.0, &encoded, &rest]);
            let content = sealed::open(&KEY, &encoded, [&rest[..], &seal].concat().into()).expect("is sealed");
            let _ = decode(header.sequence, content);
            prop_assert_eq!(sealed::open(&KEY, &encoded, rest.into()), None);
        }
    }
}
