//! The policies of a configuration, read once.

use std::collections::BTreeMap;

use fabric_proto::common::implicit_meta_policy::Rule;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::{ConfigGroup, ImplicitMetaPolicy};
use fabric_proto::lenient;

use super::signature::SignatureRule;
use crate::config::tree::{GroupRef, PolicyBody, Tree};

/// A policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The element has no policy in it.
    #[error("policy {path} is missing in its element: give it a policy, or remove the element")]
    Nothing {
        /// Full path.
        path: String,
    },
    /// Its type is not known, or of the kind that was never implemented.
    #[error("policy {path} has unknown type {kind}")]
    Kind {
        /// Full path.
        path: String,
        /// `Policy.type`.
        kind: i32,
    },
    /// Its value is not what its type says.
    #[error("policy {path} is malformed: {problem}")]
    Malformed {
        /// Full path.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// All policies of a channel, by their path, such as `/Channel/Application/Writers`.
#[derive(Debug, Default)]
pub struct Policies {
    pub(super) by_path: BTreeMap<String, usize>,
    pub(super) nodes: Vec<Node>,
    recursion_max: usize,
}

#[derive(Debug)]
pub(super) enum Node {
    Signature(SignatureRule),
    /// At least `needed` of the subgroups' policies named `name`. A subgroup without such a policy counts in the total and is
    /// never satisfied. `needed` is 0 although there are subgroups for a rule that Fabric does not know: the policy then
    /// holds only if no subgroup's policy does, as in Fabric.
    Implicit {
        name: String,
        needed: usize,
        subs: Vec<Option<usize>>,
    },
}

/// What a name of a policy leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup<'a> {
    /// The policy's path.
    Found(&'a str),
    /// Nothing; such a policy is never satisfied.
    Missing,
    /// The group itself that the name is looked up in.
    Group,
}

impl Policies {
    /// Reads all policies of the configuration whose root is `channel_group`.
    pub fn from_config(channel_group: &ConfigGroup) -> Result<Self, PolicyError> {
        Self::from_tree(&Tree::of_message(channel_group.clone()), usize::MAX)
    }

    /// `recursion_max` is how many messages may be below each other in a signature policy.
    pub(crate) fn from_tree(tree: &Tree, recursion_max: usize) -> Result<Self, PolicyError> {
        let mut policies = Self { recursion_max, ..Self::default() };
        // groups below first: an implicit policy refers to their policies
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

    /// What `name` means in the group at `group`. A relative name is looked up below the group. So is an absolute one that
    /// begins with the group's path, of which one more character is left out, whatever it is: Fabric does it so.
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
        let group_path = group.path();
        for (name, element) in group.policies() {
            let path = format!("{group_path}/{name}");
            let Some(policy) = &element.policy else { return Err(PolicyError::Nothing { path }) };
            let node = self.read_policy(&path, &group_path, policy, group)?;
            self.by_path.insert(path, self.nodes.len());
            self.nodes.push(node);
        }
        Ok(())
    }

    fn read_policy(
        &self,
        path: &str,
        group_path: &str,
        policy: &PolicyBody,
        group: GroupRef<'_>,
    ) -> Result<Node, PolicyError> {
        match PolicyType::try_from(policy.kind) {
            Ok(PolicyType::Signature) => {
                Ok(Node::Signature(SignatureRule::read(path, &policy.value, self.recursion_max)?))
            }
            Ok(PolicyType::ImplicitMeta) => {
                let malformed = |problem: String| PolicyError::Malformed { path: path.to_owned(), problem };
                let meta: ImplicitMetaPolicy = lenient::decode(policy.value.clone())
                    .map_err(|e| malformed(format!("error unmarshalling to ImplicitMetaPolicy: {e}")))?;
                let mut subs = Vec::with_capacity(group.groups_len());
                for (name, _) in group.groups() {
                    subs.push(match self.resolve(&format!("{group_path}/{name}"), &meta.sub_policy) {
                        Lookup::Found(path) => self.by_path.get(path).copied(),
                        Lookup::Missing => None,
                        Lookup::Group => {
                            let problem = "its sub_policy is the path of a group; no Fabric orderer gets over it";
                            return Err(malformed(problem.to_owned()));
                        }
                    });
                }
                let needed = match Rule::try_from(meta.rule) {
                    // of no sub-policies at all, none is needed
                    _ if subs.is_empty() => 0,
                    Ok(Rule::Any) => 1,
                    Ok(Rule::All) => subs.len(),
                    Ok(Rule::Majority) => subs.len() / 2 + 1,
                    Err(_) => 0,
                };
                Ok(Node::Implicit { name: meta.sub_policy, needed, subs })
            }
            _ => Err(PolicyError::Kind { path: path.to_owned(), kind: policy.kind }),
        }
    }
}
