//! Parses the text form of policies in configtx.yaml: `OR('Org1MSP.admin', OutOf(2, ..))` and `MAJORITY Admins`.

use fabric_proto::common::implicit_meta_policy::Rule;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    ImplicitMetaPolicy, MspPrincipal, MspRole, Policy, SignaturePolicy, SignaturePolicyEnvelope,
    msp_principal::Classification, msp_role::MspRoleType,
};
use prost::Message as _;

/// Maximum nesting of gates; a policy that is nested deeper could not be decoded by the nodes that evaluate it.
const MAX_NESTING: usize = 32;

/// A text is not a valid policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyTextError {
    /// The text does not continue as the grammar requires.
    #[error("at '{found}': {expected} expected")]
    Expected {
        /// Expected element.
        expected: &'static str,
        /// The text from this place to the end.
        found: String,
    },
    /// A principal is not `MSP.role`.
    #[error("'{0}' is not MSP.role, the role being one of member, admin, client, peer, orderer")]
    Principal(String),
    /// The count of an `OutOf` is negative or cannot be reached.
    #[error("OutOf({n}, ..) over {rules} rules can never be satisfied")]
    Count {
        /// Count in the text.
        n: String,
        /// Number of rules in the gate.
        rules: usize,
    },
    /// Gates are nested too deeply.
    #[error("nested deeper than {MAX_NESTING} gates")]
    Nesting,
    /// An implicit policy is not a rule and a name.
    #[error("'{0}' is not a rule and the name of a policy, such as ANY Readers")]
    ImplicitMeta(String),
    /// The rule of an implicit policy is unknown.
    #[error("'{0}' is not one of ALL, ANY, MAJORITY")]
    ImplicitRule(String),
}

/// Parses a rule of type `Signature`. Principals are numbered as in Fabric: those of inner gates first, and each
/// occurrence separately.
pub fn signature_policy(text: &str) -> Result<SignaturePolicyEnvelope, PolicyTextError> {
    let mut reader = Parser { rest: text.trim_start(), identities: Vec::new() };
    let rule = reader.gate(0)?;
    if !reader.rest.is_empty() {
        return Err(reader.expected("the end"));
    }
    Ok(SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities: reader.identities })
}

/// Parses a rule of type `ImplicitMeta`.
pub fn implicit_meta_policy(text: &str) -> Result<ImplicitMetaPolicy, PolicyTextError> {
    let (rule, name) = text
        .split_once(' ')
        .filter(|(_, name)| !name.is_empty() && !name.contains(' '))
        .ok_or_else(|| PolicyTextError::ImplicitMeta(text.to_owned()))?;
    let rule = match rule {
        "ALL" => Rule::All,
        "ANY" => Rule::Any,
        "MAJORITY" => Rule::Majority,
        other => return Err(PolicyTextError::ImplicitRule(other.to_owned())),
    };
    Ok(ImplicitMetaPolicy { sub_policy: name.to_owned(), rule: rule as i32 })
}

/// Wraps a policy of type `Signature` as configurations hold it.
pub fn signature(envelope: &SignaturePolicyEnvelope) -> Policy {
    Policy { r#type: PolicyType::Signature as i32, value: envelope.encode_to_vec().into() }
}

/// Wraps a policy of type `ImplicitMeta` as configurations hold it.
pub fn implicit_meta(policy: &ImplicitMetaPolicy) -> Policy {
    Policy { r#type: PolicyType::ImplicitMeta as i32, value: policy.encode_to_vec().into() }
}

struct Parser<'a> {
    /// Never begins with white space.
    rest: &'a str,
    identities: Vec<MspPrincipal>,
}

enum Argument<'a> {
    Principal(&'a str),
    Rule(SignaturePolicy),
}

impl<'a> Parser<'a> {
    fn expected(&self, expected: &'static str) -> PolicyTextError {
        PolicyTextError::Expected { expected, found: self.rest.to_owned() }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest[bytes..].trim_start();
    }

    fn take(&mut self, sign: char) -> bool {
        let found = self.rest.starts_with(sign);
        if found {
            self.skip(sign.len_utf8());
        }
        found
    }

    fn gate(&mut self, depth: usize) -> Result<SignaturePolicy, PolicyTextError> {
        const GATE: &str = "AND(..), OR(..) or OutOf(n, ..)";
        if depth > MAX_NESTING {
            return Err(PolicyTextError::Nesting);
        }
        let length = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let name = &self.rest[..length];
        let kind = match name {
            "And" | "and" | "AND" => Operator::And,
            "Or" | "or" | "OR" => Operator::Or,
            "OutOf" | "outof" | "OUTOF" => Operator::OutOf,
            _ => return Err(self.expected(GATE)),
        };
        self.skip(length);
        if !self.take('(') {
            return Err(self.expected("("));
        }
        let number = match kind {
            Operator::OutOf => Some(self.number()?),
            Operator::And | Operator::Or => None,
        };
        let mut arguments = vec![self.argument(depth)?];
        while self.take(',') {
            arguments.push(self.argument(depth)?);
        }
        if !self.take(')') {
            return Err(self.expected(", or )"));
        }
        let count = arguments.len();
        let n = match (kind, number) {
            (Operator::And, _) => count,
            (Operator::Or, _) => 1,
            (Operator::OutOf, number) => {
                let number = number.unwrap_or_default();
                // Fabric accepts one more than there are rules, a count that no signatures can satisfy
                let n = number.parse().ok().filter(|&n: &usize| n <= count + 1);
                n.ok_or_else(|| PolicyTextError::Count { n: number.to_owned(), rules: count })?
            }
        };
        // only now, because the gates inside number their principals first
        let mut rules = Vec::with_capacity(count);
        for argument in arguments {
            rules.push(match argument {
                Argument::Rule(rule) => rule,
                Argument::Principal(text) => {
                    let index = i32::try_from(self.identities.len()).unwrap_or(i32::MAX);
                    self.identities.push(principal(text)?);
                    SignaturePolicy { r#type: Some(Type::SignedBy(index)) }
                }
            });
        }
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        Ok(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules })) })
    }

    /// Parses the first argument of an `OutOf`, which may be in quotes, and the comma after it.
    fn number(&mut self) -> Result<&'a str, PolicyTextError> {
        let before = self.rest;
        let text = if let Some(text) = self.quoted()? {
            text
        } else {
            let length = self.rest.find([',', ')']).unwrap_or(self.rest.len());
            let text = self.rest[..length].trim_end();
            self.skip(length);
            text
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PolicyTextError::Expected { expected: "a number", found: before.to_owned() });
        }
        if self.take(',') { Ok(text) } else { Err(self.expected(", and at least one rule")) }
    }

    fn argument(&mut self, depth: usize) -> Result<Argument<'a>, PolicyTextError> {
        match self.quoted()? {
            Some(text) => Ok(Argument::Principal(text)),
            None if self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                self.gate(depth + 1).map(Argument::Rule)
            }
            None => Err(self.expected("'MSP.role' in quotes, or a gate")),
        }
    }

    fn quoted(&mut self) -> Result<Option<&'a str>, PolicyTextError> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else { return Ok(None) };
        let inside = &self.rest[1..];
        let end = inside.find(quote).ok_or_else(|| self.expected("a text with its closing quote"))?;
        self.skip(end + 2);
        Ok(Some(&inside[..end]))
    }
}

#[derive(Clone, Copy)]
enum Operator {
    And,
    Or,
    OutOf,
}

fn principal(text: &str) -> Result<MspPrincipal, PolicyTextError> {
    let wrong = || PolicyTextError::Principal(text.to_owned());
    let (msp_id, role) = text.rsplit_once('.').ok_or_else(wrong)?;
    if msp_id.is_empty() || !msp_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')) {
        return Err(wrong());
    }
    let role = match role {
        "member" => MspRoleType::Member,
        "admin" => MspRoleType::Admin,
        "client" => MspRoleType::Client,
        "peer" => MspRoleType::Peer,
        "orderer" => MspRoleType::Orderer,
        _ => return Err(wrong()),
    };
    Ok(MspPrincipal {
        principal_classification: Classification::Role as i32,
        principal: MspRole { msp_identifier: msp_id.to_owned(), role: role as i32 }.encode_to_vec().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(rule: &SignaturePolicy) -> String {
        match rule.r#type.as_ref().expect("a rule") {
            Type::SignedBy(index) => index.to_string(),
            Type::NOutOf(NOutOf { n, rules }) => {
                let rules: Vec<String> = rules.iter().map(shown).collect();
                format!("{n}({})", rules.join(" "))
            }
        }
    }

    fn read(text: &str) -> String {
        let envelope = signature_policy(text).expect(text);
        let names: Vec<String> =
            envelope.identities.iter().map(|p| crate::identity::Principal::from_proto(p).to_string()).collect();
        format!("{} of {}", shown(&envelope.rule.expect("a rule")), names.join(" "))
    }

    #[test]
    fn gates_are_read_and_inner_principals_come_first() {
        assert_eq!(read("OR('Org1MSP.member')"), "1(0) of Org1MSP.member");
        assert_eq!(read(" and( \"A.peer\" ,'B-b.c.client' ) "), "2(0 1) of A.peer B-b.c.client");
        assert_eq!(
            read("OutOf(2, 'A.member', AND('B.admin', 'C.peer'), OR('A.member', outof(1, 'D.orderer')))"),
            "2(4 2(0 1) 1(3 1(2))) of B.admin C.peer D.orderer A.member A.member"
        );
        assert_eq!(read("OutOf('1', 'A.peer')"), "1(0) of A.peer");
        assert_eq!(read("OutOf(0, 'A.peer')"), "0(0) of A.peer");
    }

    #[test]
    fn what_is_no_policy_is_said() {
        for (text, said) in [
            ("", "at '': AND(..), OR(..) or OutOf(n, ..) expected"),
            ("'A.member'", "at ''A.member'': AND"),
            ("XOR('A.member')", "at 'XOR('A.member')': AND"),
            ("OR('A.member'", "at '': , or ) expected"),
            ("OR('A.member') x", "at 'x': the end expected"),
            ("OR()", "at ')': 'MSP.role' in quotes, or a gate expected"),
            ("OR(A.member)", "at 'A.member)': AND"),
            ("OR('A.member)", "at ''A.member)': a text with its closing quote expected"),
            ("OR('A.boss')", "'A.boss' is not MSP.role"),
            ("OR('.member')", "'.member' is not MSP.role"),
            ("OR('A_b.member')", "'A_b.member' is not MSP.role"),
            ("OutOf('A.member')", "a number expected"),
            ("OutOf(1)", "at ')': , and at least one rule expected"),
            ("OutOf(3, 'A.member')", "OutOf(3, ..) over 1 rules can never be satisfied"),
            ("OutOf(-1, 'A.member')", "OutOf(-1, ..) over 1 rules"),
        ] {
            let error = signature_policy(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(signature_policy(&"OR(".repeat(1000)), Err(PolicyTextError::Nesting));
    }

    #[test]
    fn implicit_policies_are_a_rule_and_a_name() {
        let read = implicit_meta_policy("MAJORITY Admins").expect("a policy");
        assert_eq!((read.rule, read.sub_policy.as_str()), (Rule::Majority as i32, "Admins"));
        for (text, said) in
            [("ANY", "such as ANY Readers"), ("ANY  Readers", "such as"), ("SOME Readers", "'SOME' is not one of")]
        {
            let error = implicit_meta_policy(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(OR|AND|OutOf|\\(|\\)|,|'|\"|2|A.member| |é|\\PC){0,30}") {
            let _ = signature_policy(&text);
        }
    }
}
