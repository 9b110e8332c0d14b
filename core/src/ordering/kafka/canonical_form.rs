//! The form of envelopes in which Fabric writes them into blocks.
//!
//! Fabric parses an envelope from its record and encodes it again, which changes nothing for envelopes that its own
//! Broadcast produced. But an envelope may be encoded in another way: unknown fields first, a repeated field, a length in
//! more bytes than needed. If an orderer passes on such an envelope of its client, its record would get one data hash in
//! Fabric and another one here: a fork that any client can cause. So every envelope from a topic is converted to the form
//! in which Fabric would store it. Payload and signature, which are all that is signed, are unchanged.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::envelope::SignedEnvelope;

const PAYLOAD: u64 = 1;
const SIGNATURE: u64 = 2;
/// Unknown fields come after known ones.
const UNKNOWN_PLACE: u64 = 3;
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const GROUP_START: u64 = 3;
const GROUP_END: u64 = 4;
const FIXED32: u64 = 5;
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;
/// Maximum nesting of groups, as in Fabric.
const MAX_GROUP_DEPTH: usize = 10_000;

/// The bytes are not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} does not parse as a field of an envelope")]
pub struct MalformedEnvelope {
    /// Offset in bytes of the invalid field, or of its value.
    at: usize,
}

/// Parses an envelope from a record. Copies nothing if it is in normal form already, as nearly all are.
pub(super) fn parse(raw: Bytes) -> Result<SignedEnvelope, MalformedEnvelope> {
    let (mut payload, mut signature, mut unknown) = (Bytes::new(), Bytes::new(), Vec::new());
    let mut is_normal = true;
    let mut last_place = 0;
    let mut at = 0;
    while at < raw.len() {
        let wrong = MalformedEnvelope { at };
        let (tag, value_at) = varint(&raw, at).ok_or(wrong)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        if !(1..=MAX_FIELD_NUMBER).contains(&number) {
            return Err(wrong);
        }
        let end = value_end(&raw, value_at, number, wire_type).ok_or(wrong)?;
        is_normal &= value_at - at == encoded_len_varint(tag);
        let known = match (number, wire_type) {
            (PAYLOAD, LENGTH_DELIMITED) => Some(&mut payload),
            (SIGNATURE, LENGTH_DELIMITED) => Some(&mut signature),
            // for Fabric, a known number with another wire type is not an error but an unknown field
            _ => None,
        };
        let place = if let Some(part) = known {
            let (len, begin) = varint(&raw, value_at).ok_or(wrong)?;
            is_normal &= len > 0 && begin - value_at == encoded_len_varint(len) && number > last_place;
            // the last occurrence wins, as everywhere in protobuf
            *part = raw.slice(begin..end);
            number
        } else {
            unknown.push((tag, value_at..end));
            UNKNOWN_PLACE
        };
        is_normal &= place >= last_place;
        last_place = place;
        at = end;
    }
    let raw = if is_normal { raw } else { encode(&raw, &payload, &signature, unknown) };
    Ok(SignedEnvelope::from_raw_parts(raw, payload, signature))
}

fn encode(raw: &Bytes, payload: &Bytes, signature: &Bytes, unknown: Vec<(u64, Range<usize>)>) -> Bytes {
    let mut out = BytesMut::with_capacity(raw.len());
    for (number, value) in [(PAYLOAD, payload), (SIGNATURE, signature)] {
        if !value.is_empty() {
            encode_varint(number << 3 | LENGTH_DELIMITED, &mut out);
            encode_varint(value.len() as u64, &mut out);
            out.put_slice(value);
        }
    }
    for (tag, value) in unknown {
        encode_varint(tag, &mut out);
        out.put_slice(&raw[value]);
    }
    out.freeze()
}

/// Returns the varint at `at`, and the offset of its end.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        // the tenth byte only has room for the last of 64 bits
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, at + i + 1));
        }
    }
    None
}

/// Returns the offset of the end of the value at `at`. Does not recurse into groups, because a client chooses how deeply
/// they are nested.
fn value_end(bytes: &[u8], at: usize, number: u64, wire_type: u64) -> Option<usize> {
    if wire_type != GROUP_START {
        return plain_value_end(bytes, at, wire_type);
    }
    let mut open = vec![number];
    let mut at = at;
    while let Some(&innermost) = open.last() {
        let (tag, value_at) = varint(bytes, at)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        // inside a group, Fabric accepts numbers that are too large, up to the maximum of its integer
        if !(1..=u64::from(u32::MAX >> 1)).contains(&number) {
            return None;
        }
        match wire_type {
            GROUP_START if open.len() > MAX_GROUP_DEPTH => return None,
            GROUP_START => {
                open.push(number);
                at = value_at;
            }
            GROUP_END if number == innermost => {
                open.pop();
                at = value_at;
            }
            _ => at = plain_value_end(bytes, value_at, wire_type)?,
        }
    }
    Some(at)
}

fn plain_value_end(bytes: &[u8], at: usize, wire_type: u64) -> Option<usize> {
    let end = match wire_type {
        VARINT => varint(bytes, at)?.1,
        FIXED64 => at + 8,
        FIXED32 => at + 4,
        LENGTH_DELIMITED => {
            let (len, begin) = varint(bytes, at)?;
            begin.checked_add(usize::try_from(len).ok()?)?
        }
        _ => return None,
    };
    (end <= bytes.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(raw: &[u8]) -> Option<Vec<u8>> {
        parse(Bytes::copy_from_slice(raw)).ok().map(|e| e.raw().to_vec())
    }

    const NORMAL: [u8; 6] = [0x0a, 1, b'p', 0x12, 1, b's'];

    #[test]
    fn an_envelope_in_its_normal_form_is_not_copied() {
        let raw = Bytes::from_static(&NORMAL);
        let envelope = parse(raw.clone()).expect("an envelope");
        assert_eq!(envelope.raw().as_ptr(), raw.as_ptr());
        assert_eq!((envelope.payload().as_ref(), envelope.signature().as_ref()), (&b"p"[..], &b"s"[..]));
    }

    #[test]
    fn order_repetition_and_long_lengths_are_undone() {
        assert_eq!(normal(&[0x12, 1, b's', 0x0a, 1, b'p']), Some(NORMAL.to_vec()), "signature first");
        assert_eq!(normal(&[0x0a, 1, b'x', 0x0a, 1, b'p', 0x12, 1, b's']), Some(NORMAL.to_vec()), "payload twice");
        assert_eq!(normal(&[0x0a, 0x81, 0, b'p', 0x12, 1, b's']), Some(NORMAL.to_vec()), "a length in two bytes");
        assert_eq!(normal(&[0x8a, 0, 1, b'p', 0x12, 1, b's']), Some(NORMAL.to_vec()), "a tag in two bytes");
        assert_eq!(normal(&[0x0a, 1, b'p', 0x12, 0]), Some(vec![0x0a, 1, b'p']), "an empty signature");
        assert_eq!(normal(&[]), Some(vec![]));
    }

    #[test]
    fn unknown_fields_go_behind_the_known_ones() {
        let unknown = [0x7a, 2, 7, 7];
        let expected = [&NORMAL[..], &unknown].concat();
        assert_eq!(normal(&[&unknown[..], &NORMAL].concat()), Some(expected.clone()));
        assert_eq!(normal(&expected), Some(expected));
        let wrong_type = [0x08, 5]; // field 1 as a number
        assert_eq!(normal(&[&wrong_type[..], &NORMAL].concat()), Some([&NORMAL[..], &wrong_type].concat()));
        let group = [0x1b, 0x23, 0x08, 1, 0x24, 0x1c]; // 3 { 4 { 1: 1 } }
        assert_eq!(normal(&[&group[..], &NORMAL].concat()), Some([&NORMAL[..], &group].concat()));
        assert_eq!(normal(&[0xfd, 0, 1, 2, 3, 4]), Some(vec![0x7d, 1, 2, 3, 4]), "its tag becomes short, too");
    }

    #[test]
    fn what_is_not_protobuf_is_refused() {
        for bad in [&[0x0a, 2, b'p'][..], &[0x02, 0], &[0x0b, 0x14], &[0x0c], &[0x0e], &[0x80], &[0x0d, 1], &[0x09, 1]]
        {
            assert_eq!(normal(bad), None, "{bad:?}");
        }
        assert_eq!(normal(&vec![0x0b; 40_000]), None, "groups without end");
        assert_eq!(normal(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]), None, "more than 64 bits");
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(once) = normal(&bytes) {
                prop_assert_eq!(normal(&once), Some(once));
            }
        }

        #[test]
        fn it_is_what_this_node_makes_itself(payload in any::<Vec<u8>>(), signature in any::<Vec<u8>>()) {
            let made = SignedEnvelope::from_parts(payload.into(), signature.into());
            prop_assert_eq!(parse(made.raw().clone()), Ok(made));
        }
    }
}
