//! Policies for display: the rule in words, and the evaluation of each part.

use serde::Serialize;

use super::evaluate::Evaluation;
use super::manager::{Node, PolicyManager};
use super::signers::Signers;
use crate::identity::WorkLimit;

/// Maximum number of parts in a verdict: one is built for every rejected envelope, and a channel may have hundreds of
/// organizations.
const MAX_PARTS: usize = 128;

/// A policy and its rule, for display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyDescription {
    /// Path, such as `/Channel/Application/Writers`.
    pub path: String,
    /// Rule in words, such as `1 of 2 Writers below`.
    pub rule: String,
}

/// Evaluation of a policy, down to each principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyExplanation {
    /// Path of the policy.
    pub path: String,
    /// Whether it holds.
    pub holds: bool,
    /// Rule in words.
    pub rule: String,
    /// For the outermost policy only: the signers, and why a signature was not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signers: Option<String>,
    /// For a signature policy: evaluation of its principals.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<PrincipalResult>,
    /// For an implicit policy: evaluation of the policies that it counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<PolicyExplanation>,
}

/// Evaluation of one principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrincipalResult {
    /// Principal, such as `Org1MSP.admin`.
    pub principal: String,
    /// Whether a signer satisfies it.
    pub satisfied: bool,
    /// Reason why no signer does; empty if one does.
    pub why: String,
}

impl PolicyManager {
    /// Returns all policies, sorted by path.
    pub fn in_words(&self) -> Vec<PolicyDescription> {
        let words = |(path, &node): (&String, &usize)| PolicyDescription { path: path.clone(), rule: self.rule(node) };
        self.by_path.iter().map(words).collect()
    }

    fn path_of(&self, node: usize) -> &str {
        self.by_path.iter().find(|(_, at)| **at == node).map_or("", |(path, _)| path)
    }

    fn rule(&self, node: usize) -> String {
        match &self.nodes[node] {
            Node::Signature(rule) => rule.wanted(),
            Node::Implicit { name, needed, of, .. } => format!("{needed} of {of} {name} below"),
        }
    }

    /// Returns the evaluation of the policy at `path`; `None` if there is none. Costs microseconds, unlike
    /// [`evaluate`](Self::evaluate).
    pub fn verdict(&self, path: &str, signers: &Signers) -> Option<PolicyExplanation> {
        self.evaluation(signers, WorkLimit::AsNeeded).verdict(path)
    }
}

impl Evaluation<'_> {
    /// Returns the evaluation of the policy at `path`, as [`PolicyManager::verdict`] does.
    pub(super) fn verdict(&mut self, path: &str) -> Option<PolicyExplanation> {
        let (path, node) = self.policies.by_path.get_key_value(path)?;
        let mut parts = MAX_PARTS;
        let mut verdict = self.judge(path, *node, &mut parts);
        verdict.signers = Some(self.signers.describe());
        Some(verdict)
    }

    fn judge(&mut self, path: &str, node: usize, parts: &mut usize) -> PolicyExplanation {
        *parts = parts.saturating_sub(1);
        let policies = self.policies;
        let mut verdict = PolicyExplanation {
            path: path.to_owned(),
            holds: self.holds(node),
            rule: policies.rule(node),
            signers: None,
            principals: Vec::new(),
            below: Vec::new(),
        };
        match &policies.nodes[node] {
            Node::Signature(rule) => {
                verdict.principals = rule.principals().iter().take(*parts).map(|p| self.signers.judge(p)).collect();
                *parts -= verdict.principals.len();
            }
            Node::Implicit { subs, .. } => {
                for sub in subs.iter() {
                    if *parts == 0 {
                        break;
                    }
                    let path = policies.path_of(*sub);
                    verdict.below.push(self.judge(path, *sub, parts));
                }
            }
        }
        verdict
    }
}
