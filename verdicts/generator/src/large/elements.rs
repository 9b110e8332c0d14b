//! Configurations with large trees: groups, and policies with their rules and principals.

use fabric_proto::Message as _;
use fabric_proto::common::{
    Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, HeaderType, MspPrincipal, MspRole, SignaturePolicy,
};
use orderer_verdicts::Case;

use super::{case_of, msp_with, orderers, with};
use crate::keys::Kind;
use crate::network::{Chain, anybody, channel, envelope, meta, n_of, organization, policy, signatures, signed_by};
use crate::organization::Authority;

fn plain_organization(admins: fabric_proto::common::Policy) -> ConfigGroup {
    organization(&msp_with(&Authority::root("root", Kind::P256, 0), &[]), admins)
}

/// Returns the principal of a role in an organization.
pub(super) fn member_of(msp: &str, role: i32) -> MspPrincipal {
    let role = MspRole { msp_identifier: msp.to_owned(), role };
    MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() }
}

/// As many elements as fit.
pub(super) fn groups(size: usize) -> ConfigGroup {
    let mut organization = plain_organization(anybody());
    let one = ConfigPolicy { mod_policy: String::new(), ..policy(anybody()) };
    for n in 0..size / (one.encoded_len() + 14) {
        organization.policies.insert(format!("p{n}"), one.clone());
    }
    channel("V2_0", orderers(), organization)
}

/// Groups nested as deep as fits. No valid configuration has such a group, which a reader detects only when it has read
/// all of it.
pub(super) fn deep_groups(size: usize) -> Case {
    let field = |number: u8, length: usize| {
        let mut header = vec![number << 3 | 2];
        prost::encoding::encode_varint(length as u64, &mut header);
        header
    };
    // lengths from the innermost group outward, then the bytes before each group
    let mut heads: Vec<Vec<u8>> = Vec::new();
    let (mut length, mut total) = (0, 0);
    while total < size {
        let inner = [&field(1, 1)[..], b"a", &field(2, length)].concat();
        let head = [field(2, inner.len() + length), inner].concat();
        total += head.len();
        length += head.len();
        heads.push(head);
    }
    let deep: Vec<u8> = heads.into_iter().rev().flatten().collect();
    // a second part of the same configuration, which is merged with the first
    let entry = [&field(1, 4)[..], b"Deep", &field(2, deep.len()), &deep].concat();
    let group = [field(2, entry.len()), entry].concat();
    let config = [field(2, group.len()), group].concat();
    let root = channel("V2_0", orderers(), plain_organization(anybody()));
    let message = ConfigEnvelope { config: Some(Config { sequence: 0, channel_group: Some(root) }), last_update: None };
    let data = [message.encode_to_vec(), field(1, config.len()), config].concat();
    let mut chain = Chain::default();
    chain.push_entry(envelope(HeaderType::Config, data).encode_to_vec());
    case_of("deep-groups", chain)
}

/// A policy with many principals.
pub(super) fn principals(size: usize) -> ConfigGroup {
    let all: Vec<_> = (0..size / 24).map(|n| member_of(&format!("Org{n}MSP"), 0)).collect();
    let rules = (0..all.len()).map(|n| signed_by(i32::try_from(n).unwrap_or_default())).collect();
    channel("V2_0", orderers(), plain_organization(signatures(n_of(1, rules), all)))
}

fn with_policy(rule: SignaturePolicy) -> ConfigGroup {
    channel("V2_0", orderers(), plain_organization(signatures(rule, vec![member_of("Org1MSP", 0)])))
}

pub(super) fn flat_policy(size: usize) -> ConfigGroup {
    let one = signed_by(0);
    with_policy(n_of(1, vec![one.clone(); size / (one.encoded_len() + 2)]))
}

/// A policy nested as deep as protobuf permits.
pub(super) fn deep_policy(size: usize) -> ConfigGroup {
    let mut rule = n_of(1, vec![signed_by(0); 200]);
    for _ in 0..40 {
        rule = n_of(1, vec![n_of(2, vec![signed_by(0); 8]), rule]);
    }
    let many = size / rule.encoded_len();
    with_policy(n_of(1, vec![rule; many]))
}

/// Policies over the groups below, each under its own name, and as many groups.
pub(super) fn implicit(size: usize) -> ConfigGroup {
    let mut root = with(&msp_with(&Authority::root("root", Kind::P256, 0), &[]));
    if let Some(application) = root.groups.get_mut("Application") {
        let organization = application.groups.get("Org1").cloned().unwrap_or_default();
        for n in 0..size / 2 / organization.encoded_len() {
            application.groups.insert(format!("Org1-{n}"), organization.clone());
        }
        // half of the policies refer to a name that all groups have, the others to names that no group has
        for n in 0..size / 2 / 30 {
            let name = if n % 2 == 0 { "Readers".to_owned() } else { format!("x{n}") };
            let one = ConfigPolicy { mod_policy: String::new(), ..policy(meta(&name, 0)) };
            application.policies.insert(format!("p{n}"), one);
        }
    }
    root
}
