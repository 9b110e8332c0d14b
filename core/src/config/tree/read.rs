//! Decodes configurations and updates from their bytes, by the rules of protobuf-go.

use bytes::Bytes;
use fabric_proto::lenient::{Field, Fields, Malformed, RECURSION_MAX, Value as Wire, int32};

use super::{Group, GroupId, PolicyBody, PolicyElement, Tree, Value};
use crate::envelope::SignedEnvelope;

/// Bytes are not a configuration or an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeDecodeError {
    /// The bytes are not protobuf.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A text is not UTF-8.
    #[error("a string field contains invalid UTF-8")]
    Utf8,
    /// Messages are nested too deeply.
    #[error("messages are nested deeper than {RECURSION_MAX}")]
    Depth,
}

type Read<T> = Result<T, TreeDecodeError>;

/// `common.ConfigEnvelope`: the data of a CONFIG message.
#[derive(Debug, Default)]
pub(crate) struct ConfigMessage {
    /// `config`: its sequence and its tree.
    pub(crate) config: Option<(u64, Option<Tree>)>,
    /// The update that led to the configuration.
    pub(crate) last_update: Option<SignedEnvelope>,
}

/// `common.ConfigUpdate`.
#[derive(Debug, Default)]
pub(crate) struct UpdateMessage {
    pub(crate) channel_id: String,
    pub(crate) read_set: Option<Tree>,
    pub(crate) write_set: Option<Tree>,
}

impl ConfigMessage {
    pub(crate) fn read(bytes: &Bytes) -> Read<Self> {
        let (mut config, mut last_update) = (Parts::default(), Parts::default());
        for field in Fields::new(bytes) {
            match known(&field?) {
                (1, Wire::Bytes(part)) => config.add(part),
                (2, Wire::Bytes(part)) => last_update.add(part),
                _ => {}
            }
        }
        let config = config.0.map(|parts| -> Read<_> {
            let (mut sequence, mut group) = (0, Parts::default());
            for part in parts {
                for field in Fields::new(part) {
                    match known(&field?) {
                        (1, Wire::Varint(n)) => sequence = n,
                        (2, Wire::Bytes(part)) => group.add(part),
                        _ => {}
                    }
                }
            }
            Ok((sequence, group.0.map(|parts| tree(bytes, parts, (3, usize::MAX))).transpose()?))
        });
        let last_update = last_update.0.map(|parts| -> Read<_> {
            let (mut payload, mut signature) = (Bytes::new(), Bytes::new());
            for part in parts {
                for field in Fields::new(part) {
                    match known(&field?) {
                        (1, Wire::Bytes(part)) => payload = bytes.slice_ref(part),
                        (2, Wire::Bytes(part)) => signature = bytes.slice_ref(part),
                        _ => {}
                    }
                }
            }
            Ok(SignedEnvelope::from_parts(payload, signature))
        });
        Ok(Self { config: config.transpose()?, last_update: last_update.transpose()? })
    }
}

impl UpdateMessage {
    /// Decodes an update in which at most `recursion_max` messages are nested.
    pub(crate) fn read(bytes: &Bytes, recursion_max: usize) -> Read<Self> {
        let mut update = Self::default();
        let (mut read_set, mut write_set) = (Parts::default(), Parts::default());
        for field in Fields::new(bytes) {
            match known(&field?) {
                (1, Wire::Bytes(id)) => update.channel_id = text(id)?,
                (2, Wire::Bytes(part)) => read_set.add(part),
                (3, Wire::Bytes(part)) => write_set.add(part),
                // isolated data is not used, but it must be a map
                (5, Wire::Bytes(entry)) => drop(Entry::read(entry)?),
                _ => {}
            }
        }
        update.read_set = read_set.0.map(|parts| tree(bytes, parts, (2, recursion_max))).transpose()?;
        update.write_set = write_set.0.map(|parts| tree(bytes, parts, (2, recursion_max))).transpose()?;
        Ok(update)
    }
}

/// Parts of a message: it may be in several fields, which are then merged.
#[derive(Default)]
struct Parts<'a>(Option<Vec<&'a [u8]>>);

impl<'a> Parts<'a> {
    fn add(&mut self, part: &'a [u8]) {
        self.0.get_or_insert_default().push(part);
    }
}

fn known<'a>(field: &Field<'a>) -> (u32, Wire<'a>) {
    (field.number, field.value)
}

fn text(bytes: &[u8]) -> Read<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| TreeDecodeError::Utf8)
}

/// An entry of a map whose values are messages.
struct Entry<'a> {
    key: String,
    value: Vec<&'a [u8]>,
}

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8]) -> Read<Self> {
        let mut entry = Self { key: String::new(), value: Vec::new() };
        for field in Fields::new(bytes) {
            match known(&field?) {
                (1, Wire::Bytes(key)) => entry.key = text(key)?,
                (2, Wire::Bytes(value)) => entry.value.push(value),
                // unknown fields of entries are not kept
                _ => {}
            }
        }
        Ok(entry)
    }
}

/// Decodes the group of these parts with everything below it. `depth` is the group's nesting, and `max`
/// the maximum.
fn tree(source: &Bytes, parts: Vec<&[u8]>, (depth, max): (usize, usize)) -> Read<Tree> {
    let mut tree = Tree::new(Group::default());
    let mut work = vec![(GroupId::ROOT, parts, depth)];
    while let Some((id, parts, depth)) = work.pop() {
        check_depth(depth, max)?;
        let mut below = Vec::new();
        let mut unknown = Vec::new();
        let group = tree.get_mut(id);
        for part in parts {
            for field in Fields::new(part) {
                let field = field?;
                match known(&field) {
                    (1, Wire::Varint(version)) => group.version = version,
                    (2, Wire::Bytes(entry)) => below.push(Entry::read(entry)?),
                    (3, Wire::Bytes(entry)) => {
                        let entry = Entry::read(entry)?;
                        check_depth(depth + if entry.value.is_empty() { 1 } else { 2 }, max)?;
                        group.values.insert(entry.key, value(source, &entry.value)?);
                    }
                    (4, Wire::Bytes(entry)) => {
                        let entry = Entry::read(entry)?;
                        let policy = policy_element(source, &entry.value)?;
                        let levels =
                            [1, 2, 3][usize::from(!entry.value.is_empty()) + usize::from(policy.policy.is_some())];
                        check_depth(depth + levels, max)?;
                        group.policies.insert(entry.key, policy);
                    }
                    (5, Wire::Bytes(mod_policy)) => group.mod_policy = text(mod_policy)?,
                    _ => field.append_to(&mut unknown),
                }
            }
        }
        group.unknown = unknown.into();
        for Entry { key, value } in below {
            check_depth(depth + 1, max)?;
            let id = tree.insert(id, key, Group::default());
            // the entry is a level of its own
            if !value.is_empty() {
                work.push((id, value, depth + 2));
            }
        }
    }
    Ok(tree)
}

fn check_depth(depth: usize, max: usize) -> Read<()> {
    if depth > max { Err(TreeDecodeError::Depth) } else { Ok(()) }
}

fn value(source: &Bytes, parts: &[&[u8]]) -> Read<Value> {
    let mut value = Value::default();
    let mut unknown = Vec::new();
    for part in parts {
        for field in Fields::new(part) {
            let field = field?;
            match known(&field) {
                (1, Wire::Varint(version)) => value.version = version,
                (2, Wire::Bytes(bytes)) => value.value = source.slice_ref(bytes),
                (3, Wire::Bytes(mod_policy)) => value.mod_policy = text(mod_policy)?,
                _ => field.append_to(&mut unknown),
            }
        }
    }
    value.unknown = unknown.into();
    Ok(value)
}

fn policy_element(source: &Bytes, parts: &[&[u8]]) -> Read<PolicyElement> {
    let mut element = PolicyElement::default();
    let mut unknown = Vec::new();
    let mut policy = Parts::default();
    for part in parts {
        for field in Fields::new(part) {
            let field = field?;
            match known(&field) {
                (1, Wire::Varint(version)) => element.version = version,
                (2, Wire::Bytes(part)) => policy.add(part),
                (3, Wire::Bytes(mod_policy)) => element.mod_policy = text(mod_policy)?,
                _ => field.append_to(&mut unknown),
            }
        }
    }
    element.unknown = unknown.into();
    element.policy = policy.0.map(|parts| policy_body(source, &parts)).transpose()?;
    Ok(element)
}

fn policy_body(source: &Bytes, parts: &[&[u8]]) -> Read<PolicyBody> {
    let mut body = PolicyBody::default();
    let mut unknown = Vec::new();
    for part in parts {
        for field in Fields::new(part) {
            let field = field?;
            match known(&field) {
                (1, Wire::Varint(kind)) => body.kind = int32(kind),
                (2, Wire::Bytes(bytes)) => body.value = source.slice_ref(bytes),
                _ => field.append_to(&mut unknown),
            }
        }
    }
    body.unknown = unknown.into();
    Ok(body)
}
