//! Decoding by the rules of protobuf-go, which determine the messages that an orderer or a peer of Fabric accepts.
//!
//! The difference to prost: a known field with the wrong wire type is an unknown field, not an error, and unknown groups
//! may nest 10,000 deep. Everything else is the same: unknown fields are skipped, strings are UTF-8, repeated occurrences
//! are merged.

mod fields;
mod schema;

pub use fields::{Field, Fields, Malformed, RECURSION_MAX, Value, append_key, append_varint, int32};

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

use schema::{Misfit, Schema};

/// Maximum nesting of messages when decoding into Rust types. No message that a node decodes this way nests more than eight
/// deep; messages that can contain themselves, which are groups of a configuration and signature policies, are decoded
/// field by field ([`Fields`]).
const DEPTH_MAX: usize = 90;

/// Decodes a message as protobuf-go does. Costs the same as prost's decoding unless that fails.
///
/// # Errors
/// Go rejects the bytes, too.
pub fn decode<M: Message + Name + Default>(bytes: impl Into<Bytes>) -> Result<M, DecodeError> {
    decode_with(bytes.into(), Misfit::Absent)
}

/// Decodes a message as protobuf-go does with the generated code of Fabric 2, which is from an older compiler: a field of
/// message type with another wire type counts as present and empty. (Fabric 3 counts it as absent, as [`decode`] does.) Not
/// for messages with such fields in a `oneof`.
///
/// # Errors
/// Go rejects the bytes, too.
pub fn decode_as_v2<M: Message + Name + Default>(bytes: impl Into<Bytes>) -> Result<M, DecodeError> {
    decode_with(bytes.into(), Misfit::Empty)
}

fn decode_with<M: Message + Name + Default>(bytes: Bytes, misfit: Misfit) -> Result<M, DecodeError> {
    let error = match M::decode(bytes.clone()) {
        Ok(message) => return Ok(message),
        Err(error) => error,
    };
    // Go accepts everything that prost accepts, with the same result; of the rest, Go accepts messages that prost accepts
    // without their unknown fields
    let mut known = Vec::with_capacity(bytes.len());
    match Schema::of(&M::full_name()).map(|schema| schema.keep_known(&bytes, misfit, DEPTH_MAX, &mut known)) {
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
    fn fabric_2_takes_a_message_of_another_wire_type_as_an_empty_one() {
        use crate::msp::FabricNodeOUs;
        let bytes = raw(&[(1, Value::Varint(1)), (4, Value::Varint(7))]);
        assert_eq!(decode::<FabricNodeOUs>(bytes.clone()).unwrap().admin_ou_identifier, None);
        assert_eq!(decode_as_v2::<FabricNodeOUs>(bytes).unwrap().admin_ou_identifier, Some(Default::default()));
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
