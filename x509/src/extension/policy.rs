//! Parses certificate policies.
//!
//! | Extension | Rule | In Go |
//! |---|---|---|
//! | certificatePolicies | SEQUENCE of SEQUENCEs that begin with an object identifier, whose arcs are minimal and of any size. None is repeated. | `parseCertificatePoliciesExtension`, `newOIDFromDER` |
//! | policyMappings | SEQUENCE of SEQUENCEs that begin with two object identifiers, whose contents are not checked. | `processExtensions` |
//! | policyConstraints | SEQUENCE; two optional INTEGERs of 64 bits in it, also negative ones. | `processExtensions` |
//! | inhibitAnyPolicy | INTEGER of 64 bits. | `processExtensions` |
//!
//! Octets after the known fields of a sequence, or after the outer element, are ignored.

use std::collections::HashSet;

use bytes::Bytes;

use crate::der::{self, Reader};

/// Returns the contents of the object identifiers in the body of certificatePolicies.
pub(super) fn policies(body: &Bytes) -> Option<Vec<Bytes>> {
    let mut list = Reader::new(body).enter(der::SEQUENCE)?;
    let (mut policies, mut seen) = (Vec::new(), HashSet::new());
    while !list.is_empty() {
        let oid = list.enter(der::SEQUENCE)?.contents(der::OBJECT_IDENTIFIER)?;
        if !has_minimal_arcs(oid) || !seen.insert(oid) {
            return None;
        }
        policies.push(body.slice_ref(oid));
    }
    Some(policies)
}

fn has_minimal_arcs(oid: &[u8]) -> bool {
    let mut begins = true;
    let minimal = oid.iter().all(|&octet| {
        let minimal = !(begins && octet == 0x80);
        begins = octet & 0x80 == 0;
        minimal
    });
    // the contents end where another arc could begin
    !oid.is_empty() && minimal && begins
}

/// Returns the contents of the pairs of object identifiers in the body of policyMappings.
pub(super) fn mappings(body: &Bytes) -> Option<Vec<(Bytes, Bytes)>> {
    let mut list = Reader::new(body).enter(der::SEQUENCE)?;
    let mut mappings = Vec::new();
    while !list.is_empty() {
        let mut pair = list.enter(der::SEQUENCE)?;
        let issuers = pair.contents(der::OBJECT_IDENTIFIER)?;
        let subjects = pair.contents(der::OBJECT_IDENTIFIER)?;
        mappings.push((body.slice_ref(issuers), body.slice_ref(subjects)));
    }
    Some(mappings)
}

/// Returns `requireExplicitPolicy` and `inhibitPolicyMapping` in the body of policyConstraints.
pub(super) fn constraints(mut body: Reader<'_>) -> Option<(Option<i64>, Option<i64>)> {
    let mut fields = body.enter(der::SEQUENCE)?;
    let mut optional = |number| {
        let tag = der::context(number);
        if fields.next_is(tag) { fields.int64_tagged(tag).map(Some) } else { Some(None) }
    };
    Some((optional(0)?, optional(1)?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use crate::der::encode;

    fn policy(oid: &[u8]) -> Vec<u8> {
        encode(0x30, &encode(6, oid))
    }

    #[test]
    fn a_policy_stands_once() {
        let body = |policies: &[Vec<u8>]| encode(0x30, &policies.concat());
        let extensions = parse(&[(32, true, &body(&[policy(&[1]), policy(&[2])]))]).unwrap();
        assert_eq!(extensions.policies.unwrap(), [&[1][..], &[2]]);
        assert!(parse(&[(32, false, &body(&[policy(&[1]), policy(&[1])]))]).is_err());
        assert_eq!(parse(&[(32, false, &body(&[]))]).unwrap().policies, Some(vec![]));
    }

    #[test]
    fn arcs_of_policies_are_minimal_and_of_any_size() {
        let one = |oid: &[u8]| parse(&[(32, false, &encode(0x30, &policy(oid)))]).is_ok();
        assert!(one(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]));
        for refused in [&[][..], &[0x80, 1], &[1, 0x80, 1], &[0x81]] {
            assert!(!one(refused), "{refused:x?}");
        }
    }

    #[test]
    fn constraints_of_policies_have_64_bits() {
        let extensions = parse(&[(36, true, &[0x30, 6, 0x80, 1, 0, 0x81, 1, 0xff]), (54, true, &[2, 1, 5])]).unwrap();
        assert_eq!(extensions.require_explicit_policy, Some(0));
        assert_eq!(extensions.inhibit_policy_mapping, Some(-1));
        assert_eq!(extensions.inhibit_any_policy, Some(5));
        assert!(parse(&[(36, false, &[0x30, 2, 0x80, 0])]).is_err());
        assert!(parse(&[(54, false, &[2, 9, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])]).is_err());
    }

    #[test]
    fn mapped_policies_are_not_looked_at() {
        let pair = encode(0x30, &[encode(6, &[0x80]), encode(6, &[])].concat());
        let extensions = parse(&[(33, true, &encode(0x30, &pair))]).unwrap();
        assert_eq!(extensions.policy_mappings.len(), 1);
        assert!(parse(&[(33, false, &encode(0x30, &policy(&[1])))]).is_err());
    }
}
