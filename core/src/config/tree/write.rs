//! Encodes configurations as protobuf-go does in its deterministic mode: fields by number, entries of maps by key and
//! with their values even if these are empty, and unknown fields after known ones.

use bytes::Bytes;
use fabric_proto::lenient::{append_key, append_varint};
use prost::encoding::encoded_len_varint;

use super::{Group, GroupRef, PolicyElement, Tree, Value};
use crate::envelope::SignedEnvelope;

/// Wire types.
const VARINT: u8 = 0;
const BYTES: u8 = 2;

/// Encodes a `common.Config`.
pub(in crate::config) fn config_bytes(sequence: u64, tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 1, sequence);
    let group = tree.to_bytes();
    put_message(&mut out, 2, &group);
    out
}

/// Encodes a `common.ConfigEnvelope`.
pub(in crate::config) fn config_envelope_bytes(sequence: u64, tree: &Tree, last_update: &SignedEnvelope) -> Bytes {
    let mut out = Vec::new();
    put_message(&mut out, 1, &config_bytes(sequence, tree));
    let mut update = Vec::with_capacity(last_update.size_bytes() + 16);
    put_bytes(&mut update, 1, last_update.payload());
    put_bytes(&mut update, 2, last_update.signature());
    put_message(&mut out, 2, &update);
    out.into()
}

/// Step of the encoding: a group is written in two parts, with its subgroups between them.
enum Step<'a> {
    Open(GroupRef<'a>),
    Entry(&'a str, GroupRef<'a>),
    Close(GroupRef<'a>),
}

impl Tree {
    /// Encodes the tree as a `common.ConfigGroup`.
    pub(in crate::config) fn to_bytes(&self) -> Vec<u8> {
        // a group comes after its parent in the list: iterating backwards measures the subgroups first
        let mut lengths = vec![0; self.groups.len()];
        for (index, group) in self.groups.iter().enumerate().rev() {
            let below = group.below.iter().map(|(name, id)| {
                let length = lengths.get(id.0 as usize).copied().unwrap_or_default();
                field_len(entry_len(name, length))
            });
            lengths[index] = below.sum::<usize>() + own_len(group);
        }
        let length = |group: GroupRef<'_>| lengths.get(group.id.0 as usize).copied().unwrap_or_default();
        let mut out = Vec::with_capacity(length(self.root()));
        let mut steps = vec![Step::Open(self.root())];
        while let Some(step) = steps.pop() {
            match step {
                Step::Open(group) => {
                    put_number(&mut out, 1, group.version);
                    steps.push(Step::Close(group));
                    steps.extend(group.groups().rev().map(|(name, below)| Step::Entry(name, below)));
                }
                Step::Entry(name, below) => {
                    append_key(&mut out, 2, BYTES);
                    append_varint(&mut out, entry_len(name, length(below)) as u64);
                    put_message(&mut out, 1, name.as_bytes());
                    append_key(&mut out, 2, BYTES);
                    append_varint(&mut out, length(below) as u64);
                    steps.push(Step::Open(below));
                }
                Step::Close(group) => put_rest(&mut out, group.group()),
            }
        }
        out
    }
}

/// Writes the fields of a group that come after its subgroups.
fn put_rest(out: &mut Vec<u8>, group: &Group) {
    for (name, value) in &group.values {
        put_entry(out, 3, name, &value_bytes(value));
    }
    for (name, policy) in &group.policies {
        put_entry(out, 4, name, &policy_bytes(policy));
    }
    put_bytes(out, 5, group.mod_policy.as_bytes());
    out.extend_from_slice(&group.unknown);
}

/// Returns the encoded length of a group without its subgroups.
fn own_len(group: &Group) -> usize {
    let version = if group.version == 0 { 0 } else { 1 + encoded_len_varint(group.version) };
    let mut rest = Vec::new();
    put_rest(&mut rest, group);
    version + rest.len()
}

fn value_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.value.len() + value.mod_policy.len() + 16);
    put_number(&mut out, 1, value.version);
    put_bytes(&mut out, 2, &value.value);
    put_bytes(&mut out, 3, value.mod_policy.as_bytes());
    out.extend_from_slice(&value.unknown);
    out
}

fn policy_bytes(element: &PolicyElement) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 1, element.version);
    if let Some(body) = &element.policy {
        let mut policy = Vec::with_capacity(body.value.len() + 16);
        // a negative number takes ten bytes, as in protobuf-go
        put_number(&mut policy, 1, i64::from(body.kind).cast_unsigned());
        put_bytes(&mut policy, 2, &body.value);
        policy.extend_from_slice(&body.unknown);
        put_message(&mut out, 2, &policy);
    }
    put_bytes(&mut out, 3, element.mod_policy.as_bytes());
    out.extend_from_slice(&element.unknown);
    out
}

/// Returns the length of a message's field whose number is below 16.
fn field_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn entry_len(name: &str, value: usize) -> usize {
    field_len(name.len()) + field_len(value)
}

fn put_entry(out: &mut Vec<u8>, number: u32, name: &str, value: &[u8]) {
    append_key(out, number, BYTES);
    append_varint(out, entry_len(name, value.len()) as u64);
    put_message(out, 1, name.as_bytes());
    put_message(out, 2, value);
}

/// Writes a number, unless it is zero.
fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        append_key(out, number, VARINT);
        append_varint(out, value);
    }
}

/// Writes bytes, unless they are empty.
fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_message(out, number, bytes);
    }
}

fn put_message(out: &mut Vec<u8>, number: u32, message: &[u8]) {
    append_key(out, number, BYTES);
    append_varint(out, message.len() as u64);
    out.extend_from_slice(message);
}
