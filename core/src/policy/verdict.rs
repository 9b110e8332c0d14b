//! A policy for people: its rule in words, and how each part of it was judged.

use serde::Serialize;

use super::signers::Signers;
use super::tree::{Node, Policies};

/// No verdict has more parts: it is made for every refused envelope, and a channel may have hundreds of organizations.
const PARTS_MAX: usize = 128;

/// A policy and its rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyInWords {
    /// Such as `/Channel/Application/Writers`.
    pub path: String,
    /// Such as `1 of 2 Writers below`.
    pub rule: String,
}

/// How a policy was judged, down to each principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The policy's.
    pub path: String,
    /// Whether it holds.
    pub holds: bool,
    /// In words.
    pub rule: String,
    /// Of the first policy: who signed, and why a signature did not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signers: Option<String>,
    /// Of a signature policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<PrincipalVerdict>,
    /// Of an implicit policy: the policies that it counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Verdict>,
}

/// How one principal fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrincipalVerdict {
    /// Such as `Org1MSP.admin`.
    pub principal: String,
    /// Whether somebody who signed is it.
    pub satisfied: bool,
    /// Why nobody is; empty if somebody is.
    pub why: String,
}

impl Policies {
    /// All policies, by path.
    pub fn in_words(&self) -> Vec<PolicyInWords> {
        let words = |(path, &node): (&String, &usize)| PolicyInWords { path: path.clone(), rule: self.rule(node) };
        self.by_path.iter().map(words).collect()
    }

    fn rule(&self, node: usize) -> String {
        match &self.nodes[node] {
            Node::Signature(rule) => rule.wanted(),
            Node::Implicit { name, needed, subs } => format!("{needed} of {} {name} below", subs.len()),
        }
    }

    /// How the policy at `path` is judged; `None` if there is none. Costs microseconds, unlike
    /// [`evaluate`](Self::evaluate).
    pub fn verdict(&self, path: &str, signers: &Signers) -> Option<Verdict> {
        let node = *self.by_path.get(path)?;
        let mut parts = PARTS_MAX;
        let mut verdict = self.judge(node, signers, &mut parts);
        verdict.signers = Some(signers.describe());
        Some(verdict)
    }

    fn judge(&self, node: usize, signers: &Signers, parts: &mut usize) -> Verdict {
        *parts = parts.saturating_sub(1);
        let path = self.by_path.iter().find(|(_, at)| **at == node).map_or("", |(path, _)| path);
        let mut verdict = Verdict {
            path: path.to_owned(),
            holds: self.holds(node, signers),
            rule: self.rule(node),
            signers: None,
            principals: Vec::new(),
            below: Vec::new(),
        };
        match &self.nodes[node] {
            Node::Signature(rule) => {
                verdict.principals = rule.principals().iter().take(*parts).map(|p| signers.judge(p)).collect();
                *parts -= verdict.principals.len();
            }
            Node::Implicit { subs, .. } => {
                for sub in subs.iter().flatten() {
                    if *parts == 0 {
                        break;
                    }
                    verdict.below.push(self.judge(*sub, signers, parts));
                }
            }
        }
        verdict
    }
}
