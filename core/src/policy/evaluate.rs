//! Whether signers satisfy a policy, and if not, why.

use std::fmt;

use serde::Serialize;

use super::signers::Signers;
use super::tree::{Node, Policies};
use super::verdict::Verdict;

/// An info text is not longer than this: it is repeated for every refused envelope.
const TEXT_MAX_BYTES: usize = 800;

/// More of what is wanted is not listed.
const WANTED_MAX: usize = 128;

/// A policy that was not satisfied. Its text is one line for the client: which rule failed, who signed, and what would
/// have satisfied it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Denied {
    /// Path of the policy that was asked.
    pub policy: String,
    /// What failed, in Fabric's words.
    pub summary: String,
    /// Who signed, and why a signature did not count.
    pub signers: String,
    /// What each signature policy below asks for.
    pub wanted: Vec<String>,
    /// How each part of it was judged, if there is such a policy.
    pub verdict: Option<Box<Verdict>>,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{} ({}; wanted ", self.summary, self.signers);
        for (i, wanted) in self.wanted.iter().enumerate() {
            if text.len() > TEXT_MAX_BYTES {
                text.push_str(", ..");
                break;
            }
            if i > 0 {
                text.push_str(", ");
            }
            text.push_str(wanted);
        }
        write!(f, "{text})")
    }
}

impl Policies {
    /// Whether the policy at `path` holds for these signers. A path that names no policy is refused.
    pub fn evaluate(&self, path: &str, signers: &Signers) -> Result<(), Denied> {
        let Some(&node) = self.by_path.get(path) else {
            return Err(Denied {
                policy: path.to_owned(),
                summary: format!("no such policy: '{path}'"),
                signers: signers.describe(),
                wanted: Vec::new(),
                verdict: None,
            });
        };
        if self.holds(node, signers) { Ok(()) } else { Err(self.explain(path, node, signers)) }
    }

    pub(super) fn holds(&self, node: usize, signers: &Signers) -> bool {
        match &self.nodes[node] {
            Node::Signature(rule) => rule.is_satisfied_by(signers.valid()),
            Node::Implicit { needed: 0, subs, .. } => !subs.iter().flatten().any(|sub| self.holds(*sub, signers)),
            Node::Implicit { needed, subs, .. } => {
                let mut missing = *needed;
                for sub in subs {
                    if missing == 0 {
                        break;
                    }
                    if sub.is_some_and(|sub| self.holds(sub, signers)) {
                        missing -= 1;
                    }
                }
                missing == 0
            }
        }
    }

    fn explain(&self, path: &str, node: usize, signers: &Signers) -> Denied {
        let summary = match &self.nodes[node] {
            Node::Signature(_) => "signature set did not satisfy policy".to_owned(),
            Node::Implicit { name, needed, subs } => {
                let satisfied = subs.iter().flatten().filter(|sub| self.holds(**sub, signers)).count();
                format!(
                    "implicit policy evaluation failed - {satisfied} sub-policies were satisfied, \
                     but this policy requires {needed} of the '{name}' sub-policies to be satisfied"
                )
            }
        };
        let mut wanted = Vec::new();
        self.collect_wanted(node, signers, &mut wanted);
        let (signers_text, verdict) = (signers.describe(), self.verdict(path, signers).map(Box::new));
        Denied { policy: path.to_owned(), summary, signers: signers_text, wanted, verdict }
    }

    /// The signature policies below `node` that do not hold.
    fn collect_wanted(&self, node: usize, signers: &Signers, wanted: &mut Vec<String>) {
        if wanted.len() > WANTED_MAX {
            return;
        }
        match &self.nodes[node] {
            Node::Signature(rule) if !rule.is_satisfied_by(signers.valid()) => wanted.push(rule.wanted()),
            Node::Signature(_) => {}
            Node::Implicit { subs, .. } => {
                for sub in subs.iter().flatten() {
                    self.collect_wanted(*sub, signers, wanted);
                }
            }
        }
    }
}
