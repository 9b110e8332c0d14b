//! Decoding by the rules of protobuf-go, which decide what an orderer or a peer of Fabric takes.
//!
//! The difference to prost: a known field with another wire type than its own is an unknown field, not an error, and
//! unknown groups may nest 10,000 deep. Everything else is the same: unknown fields are skipped, strings are UTF-8, what is
//! there twice is merged.

mod fields;
mod schema;

pub use fields::{Field, Fields, Malformed, RECURSION_MAX, Value, append_key, append_varint, int32};

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

use schema::Schema;

/// Messages below each other, as far as decoding into Rust types goes. Of those that a node reads this way none holds more
/// than eight; what may hold itself, groups of a configuration and signature policies, is read field by field
/// ([`Fields`]).
const DEPTH_MAX: usize = 90;

/// Decodes a message as protobuf-go does. Costs no more than prost's decoding unless that fails.
///
/// # Errors
/// Go refuses the bytes, too.
pub fn decode<M: Message + Name + Default>(bytes: impl Into<Bytes>) -> Result<M, DecodeError> {
    let bytes = bytes.into();
    let error = match M::decode(bytes.clone()) {
        Ok(message) => return Ok(message),
        Err(error) => error,
    };
    // what prost takes, Go takes, and as the same; of the rest Go takes what prost takes without the unknown fields
    let mut known = Vec::with_capacity(bytes.len());
    match Schema::of(&M::full_name()).map(|schema| schema.keep_known(&bytes, DEPTH_MAX, &mut known)) {
        Some(Ok(())) => M::decode(Bytes::from(known)),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Capabilities, Capability, Config, ImplicitMetaPolicy, Policy};

    fn raw(parts: &[(u32, Value<'_>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, value) in parts {
            match value {
                Value::Varint(n) => {
                    append_key(&mut out, *number, 0);
                    append_varint(&mut out, *n);
                }
                Value::Bytes(bytes) => {
                    append_key(&mut out, *number, 2);
                    append_varint(&mut out, bytes.len() as u64);
                    out.extend_from_slice(bytes);
                }
                _ => unreachable!("not used here"),
            }
        }
        out
    }

    #[test]
    fn a_known_field_of_another_wire_type_is_an_unknown_field() {
        let bytes = raw(&[(1, Value::Bytes(b"x")), (2, Value::Bytes(b"value")), (2, Value::Varint(7))]);
        assert!(Policy::decode(&bytes[..]).is_err(), "prost refuses it");
        let policy: Policy = decode(bytes).unwrap();
        assert_eq!((policy.r#type, &policy.value[..]), (0, &b"value"[..]));
    }

    #[test]
    fn it_is_so_inside_of_messages_and_entries_of_maps() {
        // the entry's key is a number the first time, its value a number at last; so it is a capability of that name
        let entry = raw(&[(1, Value::Varint(5)), (1, Value::Bytes(b"V2_0")), (2, Value::Varint(9))]);
        let read: Capabilities = decode(raw(&[(1, Value::Bytes(&entry)), (1, Value::Varint(1))])).unwrap();
        assert_eq!(read.capabilities, [("V2_0".to_owned(), Capability {})].into());
        let group = raw(&[(1, Value::Bytes(b"no number")), (5, Value::Bytes(b"Admins"))]);
        let read: Config = decode(raw(&[(1, Value::Varint(3)), (2, Value::Bytes(&group))])).unwrap();
        assert_eq!((read.sequence, read.channel_group.unwrap().mod_policy.as_str()), (3, "Admins"));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        let no_text = raw(&[(1, Value::Bytes(&[0xff])), (2, Value::Bytes(b"no number"))]);
        assert!(decode::<ImplicitMetaPolicy>(no_text).is_err(), "a string that is not UTF-8");
        for malformed in [&[0x0a, 0x05, 1][..], &[0x07], &[0x00, 0x00], &[0x0c], &[0x13], &[0x0b, 0x14]] {
            assert!(decode::<ImplicitMetaPolicy>(malformed.to_vec()).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn unknown_groups_may_be_nested_as_deep_as_in_go() {
        let nested = |depth: usize| {
            let mut bytes = vec![0x7b; depth];
            bytes.resize(2 * depth, 0x7c);
            bytes
        };
        assert!(decode::<Policy>(nested(10_001)).is_ok());
        assert!(decode::<Policy>(nested(10_002)).is_err());
        assert!(decode::<Policy>(nested(1_000_000)).is_err());
    }

    #[test]
    fn every_message_has_a_schema() {
        for name in ["common.ConfigGroup", "common.ConfigGroup.GroupsEntry", "msp.FabricMSPConfig", "protos.ACLs"] {
            assert_eq!(Schema::of(name).map(|schema| schema.name), Some(name));
        }
        assert!(schema::MESSAGES.is_sorted_by_key(|schema| schema.name));
    }
}
