//! Policies of a configuration, parsed once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use fabric_proto::common::implicit_meta_policy::Rule;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::{ConfigGroup, ImplicitMetaPolicy};
use fabric_proto::lenient;

use super::signature::SignaturePolicy;
use crate::config::tree::{GroupRef, PolicyBody, Tree};

/// A policy is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The element has no policy in it.
    #[error("policy {path} is missing in its element: give it a policy, or remove the element")]
    Nothing {
        /// Full path.
        path: String,
    },
    /// The type is unknown, or is one that Fabric never implemented.
    #[error("policy {path} has unknown type {kind}")]
    Kind {
        /// Full path.
        path: String,
        /// `Policy.type`.
        kind: i32,
    },
    /// The value is invalid for its type.
    #[error("policy {path} is malformed: {problem}")]
    Malformed {
        /// Full path.
        path: String,
        /// Description of the error.
        problem: String,
    },
}

/// All policies of a channel, by their path, such as `/Channel/Application/Writers`.
#[derive(Debug, Default)]
pub struct PolicyManager {
    pub(super) by_path: BTreeMap<String, usize>,
    pub(super) nodes: Vec<Node>,
    recursion_max: usize,
}

#[derive(Debug)]
pub(super) enum Node {
    Signature(SignaturePolicy),
    /// At least `needed` of the policies named `name` in `of` subgroups must hold. A subgroup without such a policy is counted
    /// in `of`, but not in `subs`. For a rule that Fabric does not know, `needed` is 0 although there are subgroups: the policy
    /// then holds only if no subgroup's policy does, as in Fabric.
    Implicit {
        name: String,
        needed: usize,
        of: usize,
        /// Nodes of the subgroups' policies. Policies of one group with the same name share the list: there may be thousands of
        /// them, over thousands of subgroups.
        subs: Arc<[usize]>,
    },
}

/// Result of looking up a policy's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup<'a> {
    /// The path of the policy.
    Found(&'a str),
    /// There is no such policy; it is never satisfied.
    Missing,
    /// The name is the path of the group itself in which it is looked up.
    Group,
}

impl PolicyManager {
    /// Parses all policies of the configuration whose root is `channel_group`.
    pub fn from_config(channel_group: &ConfigGroup) -> Result<Self, PolicyError> {
        Self::from_tree(&Tree::of_message(channel_group.clone()), usize::MAX)
    }

    /// Parses all policies of a tree. `recursion_max` is the maximum nesting of messages in a signature policy.
    pub(crate) fn from_tree(tree: &Tree, recursion_max: usize) -> Result<Self, PolicyError> {
        let mut policies = Self { recursion_max, ..Self::default() };
        // subgroups first, because an implicit policy refers to their policies
        let groups: Vec<_> = tree.walk().collect();
        for group in groups.into_iter().rev() {
            policies.read_group(group)?;
        }
        Ok(policies)
    }

    /// Whether there is a policy at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Looks up `name` in the group at the path `group`. A relative name is looked up below the group. So is an absolute one
    /// that starts with the group's path, after which one character is skipped, whatever it is, as in Fabric.
    pub(crate) fn resolve(&self, group: &str, name: &str) -> Lookup<'_> {
        let relative = match name.strip_prefix(group) {
            _ if name.is_empty() => return Lookup::Missing,
            _ if !name.starts_with('/') => name,
            None => return Lookup::Missing,
            Some("") => return Lookup::Group,
            Some(rest) => match rest.get(1..) {
                Some(relative) => relative,
                None => return Lookup::Missing,
            },
        };
        match self.by_path.get_key_value(&format!("{group}/{relative}")) {
            Some((path, _)) => Lookup::Found(path),
            None => Lookup::Missing,
        }
    }

    fn read_group(&mut self, group: GroupRef<'_>) -> Result<(), PolicyError> {
        let path = group.path();
        let mut subgroups = Subgroups::of(group, &path);
        for (name, element) in group.policies() {
            let path = format!("{path}/{name}");
            let Some(policy) = &element.policy else { return Err(PolicyError::Nothing { path }) };
            let node = self.read_policy(&path, policy, &mut subgroups)?;
            self.by_path.insert(path, self.nodes.len());
            self.nodes.push(node);
        }
        Ok(())
    }

    fn read_policy(&self, path: &str, policy: &PolicyBody, subgroups: &mut Subgroups) -> Result<Node, PolicyError> {
        match PolicyType::try_from(policy.kind) {
            Ok(PolicyType::Signature) => {
                Ok(Node::Signature(SignaturePolicy::read(path, &policy.value, self.recursion_max)?))
            }
            Ok(PolicyType::ImplicitMeta) => {
                let malformed = |problem: String| PolicyError::Malformed { path: path.to_owned(), problem };
                let meta: ImplicitMetaPolicy = lenient::decode(policy.value.clone())
                    .map_err(|e| malformed(format!("error unmarshalling to ImplicitMetaPolicy: {e}")))?;
                let of = subgroups.paths.len();
                let subs = subgroups.policies_named(&meta.sub_policy, self).ok_or_else(|| {
                    malformed("its sub_policy is the path of a group; no Fabric orderer gets over it".to_owned())
                })?;
                let needed = match Rule::try_from(meta.rule) {
                    // without subgroups, none is needed
                    _ if of == 0 => 0,
                    Ok(Rule::Any) => 1,
                    Ok(Rule::All) => of,
                    Ok(Rule::Majority) => of / 2 + 1,
                    Err(_) => 0,
                };
                Ok(Node::Implicit { name: meta.sub_policy, needed, of, subs })
            }
            _ => Err(PolicyError::Kind { path: path.to_owned(), kind: policy.kind }),
        }
    }
}

/// Subgroups of one group, and their policies by name. Each name is looked up once, and not in subgroups without such a policy:
/// a configuration may have very many policies beside very many groups.
struct Subgroups {
    paths: Vec<String>,
    /// Policies in all subgroups and below them, by their path within the subgroup. Built on first use.
    by_name: Option<HashMap<String, Arc<[usize]>>>,
    nothing: Arc<[usize]>,
}

impl Subgroups {
    fn of(group: GroupRef<'_>, path: &str) -> Self {
        let paths = group.groups().map(|(name, _)| format!("{path}/{name}")).collect();
        Self { paths, by_name: None, nothing: Arc::default() }
    }

    /// Returns the policies that the name leads to in each subgroup that has one. Returns `None` if the name is the path of one
    /// of the subgroups.
    fn policies_named(&mut self, name: &str, policies: &PolicyManager) -> Option<Arc<[usize]>> {
        if name.starts_with('/') {
            let mut found = Vec::new();
            for path in self.paths.iter().filter(|path| name.starts_with(path.as_str())) {
                match policies.resolve(path, name) {
                    Lookup::Found(path) => found.extend(policies.by_path.get(path)),
                    Lookup::Missing => {}
                    Lookup::Group => return None,
                }
            }
            return Some(if found.is_empty() { Arc::clone(&self.nothing) } else { found.into() });
        }
        let by_name = self.by_name.get_or_insert_with(|| policies.by_name_below(&self.paths));
        Some(by_name.get(name).unwrap_or(&self.nothing).clone())
    }
}

impl PolicyManager {
    /// Returns all policies in these groups and below them, by their path within the group.
    fn by_name_below(&self, groups: &[String]) -> HashMap<String, Arc<[usize]>> {
        let mut found = HashMap::<&str, Vec<usize>>::new();
        for group in groups {
            let inside = format!("{group}/");
            let all = self.by_path.range::<str, _>((Bound::Included(inside.as_str()), Bound::Unbounded));
            for (path, node) in all.take_while(|(path, _)| path.starts_with(&inside)) {
                found.entry(&path[inside.len()..]).or_default().push(*node);
            }
        }
        found.into_iter().map(|(name, nodes)| (name.to_owned(), nodes.into())).collect()
    }
}
