//! Certificate policies: whether a chain has a policy where one is required (`policiesValid` of Go's `crypto/x509`: RFC 5280 with
//! the graph of RFC 9618; any policy is acceptable at the end).
//!
//! Work and memory are bounded as in Go: a level of the graph has at most as many nodes as the certificate has policies and
//! mappings, or as the level above has expected policies; and a node has at most as many parents as there are mappings to its
//! policy.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::certificate::Certificate;
use crate::cost;
use crate::memo::Memo;

/// Content octets of the object identifier of anyPolicy (2.5.29.32.0).
const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0x00];

/// Index of a node in its graph.
type Id = usize;

/// A policy at one level of a chain.
struct Node {
    policy: Bytes,
    /// Names of the policy in the certificates below.
    expected: Vec<Bytes>,
    parents: BTreeSet<Id>,
    children: BTreeSet<Id>,
}

/// The policies that hold, from the trust anchor downward (`policyGraph`).
struct Graph {
    nodes: Vec<Node>,
    /// Nodes by their policy, for each level; the last level is the current one.
    levels: Vec<HashMap<Bytes, Id>>,
    /// Nodes of the level above, by the policies that they expect.
    expecting: HashMap<Bytes, Vec<Id>>,
}

impl Graph {
    fn new() -> Self {
        let policy = Bytes::from_static(ANY_POLICY);
        let root = Node {
            policy: policy.clone(),
            expected: vec![policy.clone()],
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
        };
        Self { nodes: vec![root], levels: vec![HashMap::from([(policy, 0)])], expecting: HashMap::new() }
    }

    /// Returns the index of the current level.
    fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    fn leaf(&self, policy: &[u8]) -> Option<Id> {
        self.levels[self.depth()].get(policy).copied()
    }

    fn begin_level(&mut self) {
        self.expecting.clear();
        for id in self.levels[self.depth()].values() {
            for expected in &self.nodes[*id].expected {
                self.expecting.entry(expected.clone()).or_default().push(*id);
            }
        }
        self.levels.push(HashMap::new());
    }

    fn insert(&mut self, policy: &Bytes, expected: Vec<Bytes>, parents: impl IntoIterator<Item = Id>) {
        let id = self.nodes.len();
        let parents: BTreeSet<Id> = parents.into_iter().collect();
        for parent in &parents {
            self.nodes[*parent].children.insert(id);
        }
        self.nodes.push(Node { policy: policy.clone(), expected, parents, children: BTreeSet::new() });
        let depth = self.depth();
        self.levels[depth].insert(policy.clone(), id);
    }

    /// Removes a node from its level.
    fn remove(&mut self, level: usize, id: Id) {
        for parent in std::mem::take(&mut self.nodes[id].parents) {
            self.nodes[parent].children.remove(&id);
        }
        for child in std::mem::take(&mut self.nodes[id].children) {
            self.nodes[child].parents.remove(&id);
        }
        let policy = self.nodes[id].policy.clone();
        self.levels[level].remove(&policy);
    }

    fn remove_leaf(&mut self, policy: &[u8]) {
        if let Some(id) = self.leaf(policy) {
            self.remove(self.depth(), id);
        }
    }

    /// Removes nodes that no longer lead to the current level.
    fn prune(&mut self) {
        for level in (1..self.depth()).rev() {
            let childless: Vec<Id> =
                self.levels[level].values().copied().filter(|id| self.nodes[*id].children.is_empty()).collect();
            for id in childless {
                self.remove(level, id);
            }
        }
    }

    /// 6.1.3 (d): adds the policies of the next certificate.
    fn add_policies(&mut self, policies: &[Bytes], any_counts: bool) {
        self.begin_level();
        let any_above = self.levels[self.depth() - 1].get(ANY_POLICY).copied();
        let mut has_any = false;
        for policy in policies {
            if policy == ANY_POLICY {
                has_any = true;
                continue;
            }
            let parents = match self.expecting.get(policy) {
                Some(parents) => parents.clone(),
                None => any_above.into_iter().collect(),
            };
            if !parents.is_empty() {
                self.insert(policy, vec![policy.clone()], parents);
            }
        }
        if has_any && any_counts {
            let missing: Vec<(Bytes, Vec<Id>)> = self
                .expecting
                .iter()
                .filter(|(expected, _)| self.leaf(expected).is_none())
                .map(|(expected, parents)| (expected.clone(), parents.clone()))
                .collect();
            for (policy, parents) in missing {
                self.insert(&policy, vec![policy.clone()], parents);
            }
        }
        self.prune();
    }

    /// 6.1.4 (b): sets the names of the policies in the certificates below. Returns false if a mapping is not allowed.
    fn map_policies(&mut self, mappings: &[(Bytes, Bytes)], allowed: bool) -> bool {
        let mut by_issuer: HashMap<&Bytes, Vec<Bytes>> = HashMap::new();
        for (issuer, subject) in mappings {
            if !allowed {
                self.remove_leaf(issuer);
            } else if issuer == ANY_POLICY || subject == ANY_POLICY {
                return false;
            } else {
                by_issuer.entry(issuer).or_default().push(subject.clone());
            }
        }
        self.prune();
        for (issuer, subjects) in by_issuer {
            if let Some(id) = self.leaf(issuer) {
                self.nodes[id].expected = subjects;
            } else if let Some(any) = self.leaf(ANY_POLICY) {
                // below the leaf node and yet on its level, as in Go
                self.insert(issuer, subjects, [any]);
            }
        }
        true
    }

    /// 6.1.5 (g): returns whether a policy is left.
    fn has_valid_policy(&self) -> bool {
        self.leaf(ANY_POLICY).is_some()
            || self.levels.iter().flat_map(HashMap::values).any(|id| {
                let node = &self.nodes[*id];
                let mut parents = node.parents.iter();
                node.policy != ANY_POLICY
                    && matches!((parents.next(), parents.next()), (Some(only), None)
                        if self.nodes[*only].policy == ANY_POLICY)
            })
    }
}

/// Whether the chain, from the leaf to the trust anchor, has the policies that its certificates require. The trust anchor's own
/// policies do not count.
pub(crate) fn are_valid(chain: &[Arc<Certificate>], memo: &mut Memo) -> bool {
    let Some((_, below_anchor)) = chain.split_last() else { return true };
    let Some((leaf, _)) = below_anchor.split_first() else { return true };

    let is_demanded = |certificate: &Certificate| {
        let extensions = &certificate.extensions;
        extensions.require_explicit_policy.is_some() || !extensions.policy_mappings.is_empty()
    };
    // without a requirement, `explicit` never reaches zero, so no policy is needed, and only a mapping could be invalid
    if !below_anchor.iter().any(|certificate| is_demanded(certificate)) {
        return true;
    }

    let beyond = i64::try_from(chain.len()).unwrap_or(i64::MAX);
    let (mut inhibit_any, mut explicit, mut mapping) = (beyond, beyond, beyond);
    let mut graph = Some(Graph::new());

    for (position, certificate) in below_anchor.iter().enumerate().rev() {
        let extensions = &certificate.extensions;
        let count = extensions.policies.as_ref().map_or(0, Vec::len) + extensions.policy_mappings.len();
        memo.spend(cost::POLICY.saturating_mul(count as u64));
        if memo.is_exhausted() {
            return false;
        }
        let self_issued = certificate.raw_issuer == certificate.raw_subject;
        let policies = extensions.policies.as_deref().unwrap_or_default();

        if policies.is_empty() {
            graph = None;
        }
        if explicit == 0 && graph.is_none() {
            return false;
        }
        if let Some(graph) = &mut graph {
            graph.add_policies(policies, inhibit_any > 0 || (position > 0 && self_issued));
            if position != 0 && !graph.map_policies(&extensions.policy_mappings, mapping > 0) {
                return false;
            }
        }
        if position != 0 {
            if !self_issued {
                for counter in [&mut explicit, &mut mapping, &mut inhibit_any] {
                    *counter = (*counter - 1).max(0);
                }
            }
            lower(&mut explicit, extensions.require_explicit_policy);
            lower(&mut mapping, extensions.inhibit_policy_mapping);
            lower(&mut inhibit_any, extensions.inhibit_any_policy);
        }
    }

    explicit = (explicit - 1).max(0);
    if leaf.extensions.require_explicit_policy == Some(0) {
        explicit = 0;
    }
    explicit != 0 || graph.is_some_and(|graph| graph.has_valid_policy())
}

/// Lowers a counter to a limit. Negative limits, which Go's parser accepts, count as absent.
fn lower(counter: &mut i64, limit: Option<i64>) {
    if let Some(limit) = limit.filter(|limit| *limit >= 0) {
        *counter = (*counter).min(limit);
    }
}

#[cfg(test)]
mod tests;
