//! The policies of a configuration, read once.

use std::collections::BTreeMap;

use fabric_proto::common::implicit_meta_policy::Rule;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::{ConfigGroup, ImplicitMetaPolicy, Policy};
use prost::Message as _;

use super::signature::SignatureRule;

/// Groups nested deeper than this are refused; real configurations have four levels.
const GROUPS_NESTING_MAX: usize = 16;

/// A policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
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
    /// Too many groups below each other.
    #[error("group {path} is nested too deeply")]
    Nesting {
        /// Full path.
        path: String,
    },
}

/// All policies of a channel, by their path, such as `/Channel/Application/Writers`.
#[derive(Debug, Default)]
pub struct Policies {
    pub(super) by_path: BTreeMap<String, usize>,
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    Signature(SignatureRule),
    /// So many of the sub-policies of this name; a subgroup that has none counts, and never agrees.
    Implicit {
        name: String,
        needed: usize,
        subs: Vec<Option<usize>>,
    },
}

impl Policies {
    /// Reads all policies of the configuration whose root is `channel_group`.
    pub fn from_config(channel_group: &ConfigGroup) -> Result<Self, PolicyError> {
        let mut policies = Self::default();
        policies.read_group("/Channel", channel_group, 0)?;
        Ok(policies)
    }

    /// Whether there is a policy at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Subgroups first: an implicit policy refers to theirs.
    fn read_group(&mut self, path: &str, group: &ConfigGroup, depth: usize) -> Result<(), PolicyError> {
        if depth > GROUPS_NESTING_MAX {
            return Err(PolicyError::Nesting { path: path.to_owned() });
        }
        for (name, subgroup) in &group.groups {
            self.read_group(&format!("{path}/{name}"), subgroup, depth + 1)?;
        }
        for (name, policy) in &group.policies {
            // a policy element without a policy in it is left out, as the reference does
            let Some(policy) = &policy.policy else { continue };
            let policy_path = format!("{path}/{name}");
            let node = self.read_policy(&policy_path, path, policy, group)?;
            self.by_path.insert(policy_path, self.nodes.len());
            self.nodes.push(node);
        }
        Ok(())
    }

    fn read_policy(
        &self,
        policy_path: &str,
        group_path: &str,
        policy: &Policy,
        group: &ConfigGroup,
    ) -> Result<Node, PolicyError> {
        match PolicyType::try_from(policy.r#type) {
            Ok(PolicyType::Signature) => Ok(Node::Signature(SignatureRule::read(policy_path, &policy.value)?)),
            Ok(PolicyType::ImplicitMeta) => {
                let malformed = |problem: String| PolicyError::Malformed { path: policy_path.to_owned(), problem };
                let meta = ImplicitMetaPolicy::decode(policy.value.clone()).map_err(|e| malformed(e.to_string()))?;
                let sub_path = |subgroup: &String| format!("{group_path}/{subgroup}/{}", meta.sub_policy);
                let subs: Vec<_> =
                    group.groups.keys().map(|subgroup| self.by_path.get(&sub_path(subgroup)).copied()).collect();
                let needed = match Rule::try_from(meta.rule) {
                    // of no sub-policies at all, none is needed
                    _ if subs.is_empty() => 0,
                    Ok(Rule::Any) => 1,
                    Ok(Rule::All) => subs.len(),
                    Ok(Rule::Majority) => subs.len() / 2 + 1,
                    Err(_) => return Err(malformed(format!("rule {} is not known", meta.rule))),
                };
                Ok(Node::Implicit { name: meta.sub_policy, needed, subs })
            }
            _ => Err(PolicyError::Kind { path: policy_path.to_owned(), kind: policy.r#type }),
        }
    }
}
