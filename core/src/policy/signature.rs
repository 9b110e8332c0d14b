//! Signature policies: n out of rules, down to principals.

use std::sync::Arc;

use fabric_proto::common::{SignaturePolicy, SignaturePolicyEnvelope, signature_policy};
use prost::Message as _;

use super::tree::PolicyError;
use crate::identity::{Identity, Principal};

/// Rules nested deeper than this are refused; protobuf's own limit on nesting is 100 messages, two a level.
const NESTING_MAX: usize = 48;
/// More rules in one policy than this are refused, so that a configuration has bounded work to check.
const RULES_MAX: usize = 10_000;

/// A signature policy, with its principals read.
#[derive(Debug)]
pub(super) struct SignatureRule {
    rule: Rule,
    principals: Vec<Principal>,
}

#[derive(Debug)]
enum Rule {
    /// One identity that satisfies the principal of this index.
    SignedBy(usize),
    /// So many of these.
    OutOf(usize, Vec<Rule>),
}

/// Which of up to 128 signers were already counted.
type Used = u128;

impl SignatureRule {
    pub(super) fn read(path: &str, value: &[u8]) -> Result<Self, PolicyError> {
        let wrong = |problem: String| PolicyError::Malformed { path: path.to_owned(), problem };
        let envelope = SignaturePolicyEnvelope::decode(value).map_err(|e| wrong(e.to_string()))?;
        if envelope.version != 0 {
            return Err(wrong(format!("signature policy version {} is not known", envelope.version)));
        }
        let principals: Vec<Principal> = envelope.identities.iter().map(Principal::from_proto).collect();
        let rule = envelope.rule.ok_or_else(|| wrong("empty policy element".to_owned()))?;
        let mut rules = 0;
        let rule = Rule::read(&rule, principals.len(), 0, &mut rules).map_err(wrong)?;
        Ok(Self { rule, principals })
    }

    /// Whether these signers satisfy the policy. Each counts once along a branch.
    pub(super) fn is_satisfied_by(&self, signers: &[Arc<Identity>]) -> bool {
        self.rule.evaluate(&self.principals, signers, &mut 0)
    }

    pub(super) fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// The principals, for people.
    pub(super) fn wanted(&self) -> String {
        let names: Vec<String> = self.principals.iter().map(ToString::to_string).collect();
        match &self.rule {
            Rule::OutOf(n, rules) => format!("{n} of {} rules over [{}]", rules.len(), names.join(", ")),
            Rule::SignedBy(_) => format!("[{}]", names.join(", ")),
        }
    }
}

impl Rule {
    fn read(policy: &SignaturePolicy, principals: usize, depth: usize, rules: &mut usize) -> Result<Self, String> {
        *rules += 1;
        if depth > NESTING_MAX || *rules > RULES_MAX {
            return Err("signature policy is nested too deeply or has too many rules".to_owned());
        }
        match &policy.r#type {
            None => Err("empty policy element".to_owned()),
            Some(signature_policy::Type::SignedBy(index)) => match usize::try_from(*index) {
                Ok(index) if index < principals => Ok(Self::SignedBy(index)),
                _ => Err(format!("identity index {index} out of range, there are {principals}")),
            },
            Some(signature_policy::Type::NOutOf(out_of)) => {
                let read = |rule| Self::read(rule, principals, depth + 1, rules);
                let of = out_of.rules.iter().map(read).collect::<Result<_, _>>()?;
                // a negative number is satisfied by nobody's signature, as zero is
                Ok(Self::OutOf(usize::try_from(out_of.n).unwrap_or(0), of))
            }
        }
    }

    /// Every rule is tried, also when enough hold already: which signers are used up must not depend on a shortcut.
    fn evaluate(&self, principals: &[Principal], signers: &[Arc<Identity>], used: &mut Used) -> bool {
        match self {
            Self::SignedBy(index) => {
                for (i, signer) in signers.iter().enumerate() {
                    if *used & (1 << i) == 0 && signer.satisfies(&principals[*index]).is_ok() {
                        *used |= 1 << i;
                        return true;
                    }
                }
                false
            }
            Self::OutOf(n, rules) => {
                let mut satisfied = 0;
                for rule in rules {
                    let mut used_if_satisfied = *used;
                    if rule.evaluate(principals, signers, &mut used_if_satisfied) {
                        *used = used_if_satisfied;
                        satisfied += 1;
                    }
                }
                satisfied >= *n
            }
        }
    }
}
