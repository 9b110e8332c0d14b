//! Signature policies: n out of rules, down to principals. Their nesting is limited only by the length of the message, so
//! nothing here recurses.

use std::sync::Arc;

use fabric_proto::common::MspPrincipal;
use fabric_proto::lenient::{self, Fields, Malformed, Value, int32};

use super::manager::PolicyError;
use super::used_signers::UsedSigners;
use crate::identity::{Identity, Principal, WorkLimit};

/// Maximum number of steps of one evaluation for a client's request. Fabric has no such limit. A policy reaches it with thousands of
/// principals and as many signers.
const MAX_STEPS: usize = 100_000_000;
/// Number of rules or signers above which an evaluation caches the signers that satisfy each principal.
const REMEMBER_FROM: usize = 8;
/// Length in bytes after which a policy's text for display is cut off.
const MAX_DESCRIPTION_BYTES: usize = 800;

/// A signature policy with its principals parsed.
#[derive(Debug)]
pub(super) struct SignaturePolicy {
    /// All rules, each before those inside it. There is at least one.
    rules: Vec<Rule>,
    principals: Vec<Principal>,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// One identity that satisfies the principal of this index.
    SignedBy(usize),
    /// At least `needed` of the `of` rules that follow in the list.
    OutOf { needed: usize, of: usize },
}

/// An n-out-of rule in evaluation.
struct PendingOutOf {
    needed: usize,
    /// Number of rules inside it that were not evaluated yet.
    left: usize,
    satisfied: usize,
    /// Number of identities that were used before it: entries of the log.
    used_before: usize,
}

impl SignaturePolicy {
    pub(super) fn read(path: &str, value: &[u8], recursion_max: usize) -> Result<Self, PolicyError> {
        let wrong = |problem: String| PolicyError::Malformed { path: path.to_owned(), problem };
        let (mut version, mut rule, mut identities) = (0, Vec::new(), Vec::new());
        let malformed = |cause: Malformed| wrong(format!("error unmarshalling to SignaturePolicy: {cause}"));
        for field in Fields::new(value) {
            let field = field.map_err(malformed)?;
            match (field.number, field.value) {
                (1, Value::Varint(number)) => version = int32(number),
                (2, Value::Bytes(part)) => rule.push(part),
                (3, Value::Bytes(identity)) => identities.push(identity),
                _ => {}
            }
        }
        let has_rule = !rule.is_empty();
        let rules = read_rules(rule, recursion_max).map_err(|problem| wrong(problem.to_owned()))?;
        let principal = |bytes: &[u8]| lenient::decode::<MspPrincipal>(bytes.to_vec());
        let principals = identities.into_iter().map(|bytes| Ok(Principal::from_proto(&principal(bytes)?)));
        let principals = principals.collect::<Result<Vec<_>, prost::DecodeError>>();
        let principals =
            principals.map_err(|cause| wrong(format!("error unmarshalling to SignaturePolicy: {cause}")))?;
        if version != 0 {
            return Err(wrong(format!("signature policy version {version} is not known, only 0 is")));
        }
        if !has_rule {
            return Err(wrong("empty policy element".to_owned()));
        }
        let mut read = Vec::with_capacity(rules.len());
        for rule in rules {
            read.push(match rule {
                EncodedRule::Nothing => return Err(wrong("a rule is neither signed_by nor n_out_of".to_owned())),
                EncodedRule::SignedBy(index) => match usize::try_from(index) {
                    Ok(index) if index < principals.len() => Rule::SignedBy(index),
                    _ => {
                        let identities = principals.len();
                        return Err(wrong(format!("identity index {index} out of range, there are {identities}")));
                    }
                },
                // zero or a negative number needs no signature
                EncodedRule::OutOf { n, of } => Rule::OutOf { needed: usize::try_from(n).unwrap_or(0), of },
            });
        }
        Ok(Self { rules: read, principals })
    }

    /// Returns whether these signers satisfy the policy. Each signer counts once along a branch. Every rule is tried, also when enough
    /// hold already, because which signers are used up must not depend on a shortcut. A bounded effort that runs out satisfies nothing.
    pub(super) fn is_satisfied_by(&self, signers: &[Arc<Identity>], effort: WorkLimit) -> bool {
        self.holds_within(
            signers,
            match effort {
                WorkLimit::AsNeeded => usize::MAX,
                WorkLimit::Bounded => MAX_STEPS,
            },
        )
    }

    fn holds_within(&self, signers: &[Arc<Identity>], steps_max: usize) -> bool {
        let mut used = UsedSigners::of(signers.len());
        let mut open: Vec<PendingOutOf> = Vec::new();
        // the signers that satisfy each principal; not cached for most policies, because they have few rules and an
        // envelope has one signer
        let mut known: Vec<Option<Vec<usize>>> = Vec::new();
        if self.rules.len().max(signers.len()) > REMEMBER_FROM {
            known.resize(self.principals.len(), None);
        }
        let mut steps = 0;
        for rule in &self.rules {
            let mut holds = match *rule {
                Rule::SignedBy(index) => {
                    let satisfies = |&signer: &usize| signers[signer].satisfies(&self.principals[index]).is_ok();
                    let found = if let Some(known) = known.get_mut(index) {
                        let satisfying = known.get_or_insert_with(|| {
                            steps += signers.len();
                            (0..signers.len()).filter(satisfies).collect()
                        });
                        satisfying.iter().copied().find(|&signer| !used.contains(signer))
                    } else {
                        steps += signers.len();
                        (0..signers.len()).filter(|&signer| !used.contains(signer)).find(satisfies)
                    };
                    found.is_some_and(|signer| used.insert(signer))
                }
                Rule::OutOf { needed, of: 0 } => needed == 0,
                Rule::OutOf { needed, of } => {
                    open.push(PendingOutOf { needed, left: of, satisfied: 0, used_before: used.len() });
                    continue;
                }
            };
            steps += 1;
            if steps > steps_max {
                return false;
            }
            loop {
                let Some(outer) = open.last_mut() else { return holds };
                outer.left -= 1;
                outer.satisfied += usize::from(holds);
                if outer.left > 0 {
                    break;
                }
                holds = outer.satisfied >= outer.needed;
                if !holds {
                    used.forget_from(outer.used_before);
                }
                open.pop();
            }
        }
        false
    }

    pub(super) fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// Describes the required principals, for display.
    pub(super) fn wanted(&self) -> String {
        let mut names = String::new();
        for principal in &self.principals {
            if names.len() > MAX_DESCRIPTION_BYTES {
                names.push_str(", ..");
                break;
            }
            names.push_str(if names.is_empty() { "" } else { ", " });
            names.push_str(&principal.to_string());
        }
        match self.rules.first() {
            Some(Rule::OutOf { needed, of }) => format!("{needed} of {of} rules over [{names}]"),
            _ => format!("[{names}]"),
        }
    }
}

/// A rule as it is encoded.
enum EncodedRule {
    Nothing,
    SignedBy(i32),
    OutOf { n: i32, of: usize },
}

/// Parses the rule of these parts, which are merged, and the rules inside it, each before those inside it.
fn read_rules(rule: Vec<&[u8]>, recursion_max: usize) -> Result<Vec<EncodedRule>, &'static str> {
    const MALFORMED: &str = "error unmarshalling to SignaturePolicy: cannot parse invalid wire-format data";
    let mut rules = Vec::new();
    // the policy itself is a level
    let mut work = vec![(rule, 2, true)];
    while let Some((parts, depth, counts)) = work.pop() {
        if depth > recursion_max {
            return Err("error unmarshalling to SignaturePolicy: exceeded maximum recursion depth");
        }
        let mut written = EncodedRule::Nothing;
        let mut out_of: Vec<&[u8]> = Vec::new();
        let mut replaced: Vec<&[u8]> = Vec::new();
        for part in parts {
            for field in Fields::new(part) {
                let field = field.map_err(|_| MALFORMED)?;
                match (field.number, field.value) {
                    (1, Value::Varint(index)) => {
                        replaced.append(&mut out_of);
                        written = EncodedRule::SignedBy(int32(index));
                    }
                    // several fields in sequence are merged
                    (2, Value::Bytes(part)) => {
                        out_of.push(part);
                        written = EncodedRule::OutOf { n: 0, of: 0 };
                    }
                    _ => {}
                }
            }
        }
        // a replaced part is no rule, but must be well-formed
        for (parts, counts) in [(replaced, false), (out_of, counts)] {
            if parts.is_empty() {
                continue;
            }
            if depth + 1 > recursion_max {
                return Err("error unmarshalling to SignaturePolicy: exceeded maximum recursion depth");
            }
            let mut n = 0;
            let mut inner = Vec::new();
            for part in parts {
                for field in Fields::new(part) {
                    let field = field.map_err(|_| MALFORMED)?;
                    match (field.number, field.value) {
                        (1, Value::Varint(number)) => n = int32(number),
                        (2, Value::Bytes(rule)) => inner.push(rule),
                        _ => {}
                    }
                }
            }
            if let (true, EncodedRule::OutOf { .. }) = (counts, &written) {
                written = EncodedRule::OutOf { n, of: inner.len() };
            }
            work.extend(inner.into_iter().rev().map(|rule| (vec![rule], depth + 2, counts)));
        }
        if counts {
            rules.push(written);
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_that_takes_too_many_steps_satisfies_nothing() {
        // none is needed of three rules, each of which is tried
        let rules = vec![Rule::OutOf { needed: 0, of: 3 }, Rule::SignedBy(0), Rule::SignedBy(0), Rule::SignedBy(0)];
        let rule = SignaturePolicy { rules, principals: vec![Principal::from_proto(&MspPrincipal::default())] };
        assert!(rule.holds_within(&[], 3));
        assert!(!rule.holds_within(&[], 2));
        assert!(rule.is_satisfied_by(&[], WorkLimit::Bounded));
    }
}
