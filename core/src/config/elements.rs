//! A configuration tree laid flat: every group, value and policy by its full name, such as
//! `[Value]  /Channel/Orderer/BatchSize`. Updates are judged element by element.

use std::collections::BTreeMap;

use fabric_proto::common::{ConfigGroup, ConfigPolicy, ConfigValue};

/// Name of the root group.
pub(super) const ROOT: &str = "Channel";
/// Groups nested deeper than this are refused; real configurations have four levels.
const NESTING_MAX: usize = 16;
/// More elements than this are refused: a hundred organizations have about a thousand.
const ELEMENTS_MAX: usize = 100_000;
/// The longest key.
const KEY_MAX_BYTES: usize = 249;

/// A tree that is not laid flat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A name with other characters than `[a-zA-Z0-9.-]`, empty, too long, or `.` or `..`.
    #[error("illegal characters in key: '{key}' in {path}")]
    Key {
        /// The key.
        key: String,
        /// Where it stands.
        path: String,
    },
    /// Too deep.
    #[error("{path} is nested deeper than {NESTING_MAX} groups")]
    Nesting {
        /// Where.
        path: String,
    },
    /// Too many.
    #[error("the configuration has more than {ELEMENTS_MAX} elements")]
    TooMany,
}

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Element<'a> {
    Group(&'a ConfigGroup),
    Value(&'a ConfigValue),
    Policy(&'a ConfigPolicy),
}

/// An element and the path of the group whose policies its `mod_policy` is looked up in.
#[derive(Clone, Debug)]
pub(super) struct Placed<'a> {
    pub(super) element: Element<'a>,
    /// For a group, itself.
    pub(super) policy_group: String,
}

impl Element<'_> {
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Group(g) => g.version,
            Self::Value(v) => v.version,
            Self::Policy(p) => p.version,
        }
    }

    pub(super) fn mod_policy(&self) -> &str {
        match self {
            Self::Group(g) => &g.mod_policy,
            Self::Value(v) => &v.mod_policy,
            Self::Policy(p) => &p.mod_policy,
        }
    }
}

/// Elements by their full names.
pub(super) type Elements<'a> = BTreeMap<String, Placed<'a>>;

pub(super) fn group_name(path: &str) -> String {
    format!("[Group]  {path}")
}

pub(super) fn value_name(path: &str) -> String {
    format!("[Value]  {path}")
}

pub(super) fn policy_name(path: &str) -> String {
    format!("[Policy] {path}")
}

/// Lays a tree flat, its root being the Channel group.
pub(super) fn flatten(root: &ConfigGroup) -> Result<Elements<'_>, TreeError> {
    let mut elements = Elements::new();
    flatten_group(&format!("/{ROOT}"), root, 0, &mut elements)?;
    Ok(elements)
}

fn flatten_group<'a>(
    path: &str,
    group: &'a ConfigGroup,
    depth: usize,
    elements: &mut Elements<'a>,
) -> Result<(), TreeError> {
    if depth > NESTING_MAX {
        return Err(TreeError::Nesting { path: path.to_owned() });
    }
    if elements.len() + group.values.len() + group.policies.len() + group.groups.len() > ELEMENTS_MAX {
        return Err(TreeError::TooMany);
    }
    let placed = |element| Placed { element, policy_group: path.to_owned() };
    elements.insert(group_name(path), placed(Element::Group(group)));
    for (key, value) in &group.values {
        check_key(path, key)?;
        elements.insert(value_name(&format!("{path}/{key}")), placed(Element::Value(value)));
    }
    for (key, policy) in &group.policies {
        check_key(path, key)?;
        elements.insert(policy_name(&format!("{path}/{key}")), placed(Element::Policy(policy)));
    }
    for (key, subgroup) in &group.groups {
        check_key(path, key)?;
        flatten_group(&format!("{path}/{key}"), subgroup, depth + 1, elements)?;
    }
    Ok(())
}

/// Checks every key and the size of a tree.
pub(super) fn check_keys(root: &ConfigGroup) -> Result<(), TreeError> {
    flatten(root).map(|_| ())
}

fn check_key(path: &str, key: &str) -> Result<(), TreeError> {
    if is_key(key) { Ok(()) } else { Err(TreeError::Key { key: key.to_owned(), path: path.to_owned() }) }
}

/// Whether a text may name an element.
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= KEY_MAX_BYTES
        && key != "."
        && key != ".."
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}
