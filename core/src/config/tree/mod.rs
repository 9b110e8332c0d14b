//! A tree of configuration groups with all its fields: unknown fields are kept and compared, as in Fabric, because a
//! channel's next configuration is computed from the current one.
//!
//! The groups are stored in one list, so no operation recurses and a tree of any depth cannot overflow the stack.

mod equal;
mod message;
mod read;
mod write;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(crate) use read::{ConfigMessage, TreeDecodeError, UpdateMessage};
pub(super) use write::{config_bytes, config_envelope_bytes};

/// Name of the root group.
pub(super) const ROOT: &str = "Channel";
/// Maximum length of a key in bytes.
const MAX_KEY_BYTES: usize = 249;

/// Index of a group in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(u32);

impl GroupId {
    pub(super) const ROOT: Self = Self(0);
}

/// A configuration's groups, values and policies, with unknown fields. It always has a root.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// The groups; each comes after its parent.
    groups: Vec<Group>,
}

/// A group, without the contents of its subgroups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) version: u64,
    pub(crate) mod_policy: String,
    pub(crate) values: BTreeMap<String, Value>,
    pub(crate) policies: BTreeMap<String, PolicyElement>,
    pub(crate) unknown: Bytes,
    pub(super) below: BTreeMap<String, GroupId>,
    /// The parent group, and the group's name in it.
    pub(super) place: Option<(GroupId, String)>,
}

/// `common.ConfigValue`.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "its fields are named as in the message")]
pub(crate) struct Value {
    pub(crate) version: u64,
    pub(crate) value: Bytes,
    pub(crate) mod_policy: String,
    pub(crate) unknown: Bytes,
}

/// `common.ConfigPolicy`.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicyElement {
    pub(crate) version: u64,
    pub(crate) policy: Option<PolicyBody>,
    pub(crate) mod_policy: String,
    pub(crate) unknown: Bytes,
}

/// `common.Policy`.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicyBody {
    pub(crate) kind: i32,
    pub(crate) value: Bytes,
    pub(crate) unknown: Bytes,
}

/// A group in its tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupRef<'a> {
    tree: &'a Tree,
    id: GroupId,
}

impl Tree {
    /// Creates a tree with this root, which has no subgroups yet.
    pub(super) fn new(root: Group) -> Self {
        Self { groups: vec![Group { below: BTreeMap::new(), place: None, ..root }] }
    }

    pub(crate) fn root(&self) -> GroupRef<'_> {
        GroupRef { tree: self, id: GroupId::ROOT }
    }

    /// Adds a subgroup without its own subgroups to a group, and replaces one of the same name.
    pub(super) fn insert(&mut self, into: GroupId, name: String, group: Group) -> GroupId {
        let id = GroupId(u32::try_from(self.groups.len()).unwrap_or(u32::MAX));
        self.groups.push(Group { below: BTreeMap::new(), place: Some((into, name.clone())), ..group });
        self.get_mut(into).below.insert(name, id);
        id
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> &mut Group {
        &mut self.groups[id.0 as usize]
    }

    /// Sets the contents of a group and keeps its subgroups.
    pub(super) fn fill(&mut self, id: GroupId, contents: Group) {
        let group = self.get_mut(id);
        *group = Group { below: std::mem::take(&mut group.below), place: group.place.take(), ..contents };
    }

    fn get(&self, id: GroupId) -> &Group {
        &self.groups[id.0 as usize]
    }

    /// Sets all versions to zero.
    pub(super) fn zero_versions(&mut self) {
        for group in &mut self.groups {
            group.version = 0;
            group.values.values_mut().for_each(|value| value.version = 0);
            group.policies.values_mut().for_each(|policy| policy.version = 0);
        }
    }

    /// Copies a group of another tree, with everything below it, into a group.
    pub(super) fn graft(&mut self, into: GroupId, name: &str, part: GroupRef<'_>) {
        let mut work = vec![(into, name.to_owned(), part)];
        while let Some((into, name, part)) = work.pop() {
            let id = self.insert(into, name, part.group().clone());
            work.extend(part.groups().map(|(name, below)| (id, name.to_owned(), below)));
        }
    }

    /// Iterates over all groups, each before its subgroups, and siblings by name.
    pub(crate) fn walk(&self) -> impl Iterator<Item = GroupRef<'_>> {
        let mut open = vec![self.root()];
        std::iter::from_fn(move || {
            let group = open.pop()?;
            open.extend(group.groups().rev().map(|(_, below)| below));
            Some(group)
        })
    }

    /// Rejects a tree with an invalid name of an element.
    pub(super) fn check_keys(&self) -> Result<(), KeyError> {
        for group in self.walk() {
            let (values, policies) = (group.values.keys(), group.policies.keys());
            if let Some(key) = values.chain(policies).chain(group.group().below.keys()).find(|key| !is_key(key)) {
                return Err(KeyError { key: key.clone(), path: group.path() });
            }
        }
        Ok(())
    }
}

impl<'a> GroupRef<'a> {
    pub(crate) fn id(self) -> GroupId {
        self.id
    }

    /// Returns the group's own contents.
    pub(crate) fn group(self) -> &'a Group {
        self.tree.get(self.id)
    }

    /// Iterates over the subgroups, by name.
    pub(crate) fn groups(self) -> impl DoubleEndedIterator<Item = (&'a str, Self)> {
        self.group().below.iter().map(move |(name, &id)| (name.as_str(), Self { tree: self.tree, id }))
    }

    /// Returns the number of subgroups.
    pub(crate) fn groups_len(self) -> usize {
        self.group().below.len()
    }

    /// Returns the subgroup of this name.
    pub(crate) fn below(self, name: &str) -> Option<Self> {
        self.group().below.get(name).map(|&id| Self { tree: self.tree, id })
    }

    pub(crate) fn values(self) -> &'a BTreeMap<String, Value> {
        &self.group().values
    }

    pub(crate) fn policies(self) -> &'a BTreeMap<String, PolicyElement> {
        &self.group().policies
    }

    /// Returns the full path, such as `/Channel/Orderer`.
    pub(crate) fn path(self) -> String {
        let mut names = Vec::new();
        let mut at = self.group();
        while let Some((into, name)) = &at.place {
            names.push(name.as_str());
            at = self.tree.get(*into);
        }
        names.push(ROOT);
        names.iter().rev().flat_map(|name| ["/", name]).collect()
    }
}

impl std::ops::Deref for GroupRef<'_> {
    type Target = Group;

    fn deref(&self) -> &Group {
        self.group()
    }
}

/// A name of an element is invalid: empty, too long, `.` or `..`, or with characters other than `[a-zA-Z0-9.-]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal characters in key: '{key}' in {path}")]
pub struct KeyError {
    /// The invalid name.
    pub key: String,
    /// Path of the group that has the element.
    pub path: String,
}

/// Whether a text is a valid name of an element.
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= MAX_KEY_BYTES
        && key != "."
        && key != ".."
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

pub(super) fn group_name(path: &str) -> String {
    format!("[Group]  {path}")
}

pub(super) fn value_name(path: &str, key: &str) -> String {
    format!("[Value]  {path}/{key}")
}

pub(super) fn policy_name(path: &str, key: &str) -> String {
    format!("[Policy] {path}/{key}")
}
