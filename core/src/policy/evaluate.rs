//! Evaluates policies for a set of signers, and explains denials.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::explanation::PolicyExplanation;
use super::manager::{Node, PolicyManager};
use super::signers::Signers;
use crate::identity::WorkLimit;

/// Maximum length in bytes of an info text before further entries are cut off: it is repeated for every rejected envelope.
const MAX_TEXT_BYTES: usize = 800;

/// Maximum number of listed policies that would have to hold.
const MAX_WANTED: usize = 128;

/// A policy was not satisfied. The text is one line for the client: the failed rule, the signers, and what would have satisfied
/// the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct PolicyDenied {
    /// Path of the evaluated policy.
    pub policy: String,
    /// The failed rule, in Fabric's words.
    pub summary: String,
    /// The signers, and why a signature was not accepted.
    pub signers: String,
    /// Requirements of each failed signature policy below.
    pub wanted: Vec<String>,
    /// Evaluation of each part of the policy; `None` if there is no such policy.
    pub verdict: Option<Box<PolicyExplanation>>,
}

impl fmt::Display for PolicyDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{} ({}; wanted ", self.summary, self.signers);
        for (i, wanted) in self.wanted.iter().enumerate() {
            if text.len() > MAX_TEXT_BYTES {
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

impl PolicyManager {
    /// Evaluates the policy at `path` for these signers. A path without a policy is denied.
    pub fn evaluate(&self, path: &str, signers: &Signers) -> Result<(), PolicyDenied> {
        match self.by_path.get(path) {
            // most policies hold, and one that is needed once is not worth a cache
            Some(&node) if self.holds(node, signers) => Ok(()),
            _ => self.evaluation(signers, WorkLimit::AsNeeded).evaluate(path),
        }
    }

    /// Starts an evaluation of several policies for the same signers.
    pub(crate) fn evaluation<'a>(&'a self, signers: &'a Signers, effort: WorkLimit) -> Evaluation<'a> {
        Evaluation { policies: self, signers, effort, nodes: HashMap::new(), satisfied: HashMap::new() }
    }

    fn holds(&self, node: usize, signers: &Signers) -> bool {
        match &self.nodes[node] {
            Node::Signature(rule) => rule.is_satisfied_by(signers.valid(), WorkLimit::AsNeeded),
            Node::Implicit { needed: 0, subs, .. } => !subs.iter().any(|sub| self.holds(*sub, signers)),
            Node::Implicit { needed, subs, .. } => {
                let mut missing = *needed;
                for sub in subs.iter() {
                    if missing == 0 {
                        break;
                    }
                    if self.holds(*sub, signers) {
                        missing -= 1;
                    }
                }
                missing == 0
            }
        }
    }
}

/// Evaluates policies for the same signers, each policy once: thousands of elements of an update may have policies that all
/// count the same ones.
#[derive(Debug)]
pub(crate) struct Evaluation<'a> {
    pub(super) policies: &'a PolicyManager,
    pub(super) signers: &'a Signers,
    effort: WorkLimit,
    nodes: HashMap<usize, bool>,
    /// Number of policies in a list that hold, by the list's address.
    satisfied: HashMap<usize, usize>,
}

impl Evaluation<'_> {
    /// Evaluates the policy at `path`, as [`PolicyManager::evaluate`] does.
    pub(crate) fn evaluate(&mut self, path: &str) -> Result<(), PolicyDenied> {
        let Some(&node) = self.policies.by_path.get(path) else {
            return Err(PolicyDenied {
                policy: path.to_owned(),
                summary: format!("no such policy: '{path}'"),
                signers: self.signers.describe(),
                wanted: Vec::new(),
                verdict: None,
            });
        };
        if self.holds(node) { Ok(()) } else { Err(self.explain(path, node)) }
    }

    pub(super) fn holds(&mut self, node: usize) -> bool {
        if let Some(known) = self.nodes.get(&node) {
            return *known;
        }
        let policies = self.policies;
        let holds = match &policies.nodes[node] {
            Node::Signature(rule) => rule.is_satisfied_by(self.signers.valid(), self.effort),
            Node::Implicit { needed: 0, subs, .. } => self.satisfied(subs) == 0,
            Node::Implicit { needed, subs, .. } => self.satisfied(subs) >= *needed,
        };
        self.nodes.insert(node, holds);
        holds
    }

    fn satisfied(&mut self, subs: &[usize]) -> usize {
        let address = subs.as_ptr().addr();
        if let Some(known) = self.satisfied.get(&address) {
            return *known;
        }
        let count = subs.iter().filter(|sub| self.holds(**sub)).count();
        self.satisfied.insert(address, count);
        count
    }

    fn explain(&mut self, path: &str, node: usize) -> PolicyDenied {
        let policies = self.policies;
        let summary = match &policies.nodes[node] {
            Node::Signature(_) => "signature set did not satisfy policy".to_owned(),
            Node::Implicit { name, needed, subs, .. } => {
                let satisfied = self.satisfied(subs);
                format!(
                    "implicit policy evaluation failed - {satisfied} sub-policies were satisfied, \
                     but this policy requires {needed} of the '{name}' sub-policies to be satisfied"
                )
            }
        };
        let mut wanted = Vec::new();
        self.collect_wanted(node, &mut wanted);
        let (signers, verdict) = (self.signers.describe(), self.verdict(path).map(Box::new));
        PolicyDenied { policy: path.to_owned(), summary, signers, wanted, verdict }
    }

    /// Collects the signature policies below `node` that do not hold.
    fn collect_wanted(&mut self, node: usize, wanted: &mut Vec<String>) {
        if wanted.len() > MAX_WANTED {
            return;
        }
        let policies = self.policies;
        match &policies.nodes[node] {
            Node::Signature(rule) if !self.holds(node) => wanted.push(rule.wanted()),
            Node::Signature(_) => {}
            Node::Implicit { subs, .. } => {
                for sub in subs.iter() {
                    self.collect_wanted(*sub, wanted);
                }
            }
        }
    }
}
