//! Converts a profile into a tree of groups, values and policies.

use std::collections::BTreeSet;

use bytes::Bytes;
use fabric_proto::common::implicit_meta_policy::Rule;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    BlockDataHashingStructure, ConfigGroup, ConfigPolicy, ConfigValue, Consortium, HashingAlgorithm,
    ImplicitMetaPolicy, OrdererAddresses, Policy, SignaturePolicy, SignaturePolicyEnvelope,
};
use fabric_proto::orderer::{BatchSize, BatchTimeout, ChannelRestrictions, ConsensusType, KafkaBrokers};
use fabric_proto::protos::{AcLs, AnchorPeer, AnchorPeers, ApiResource};
use prost::Message;

use super::{Application, Consensus, NamedPolicies, Orderer, Organization, Profile};
use crate::config::{go_duration_text, key};
use crate::policy::dsl::{implicit_meta, signature};

const ORDERER_ADMINS: &str = "/Channel/Orderer/Admins";

/// Returns the Channel group: the root of the tree.
pub fn channel_group(profile: &Profile) -> ConfigGroup {
    let mut group = administered(&profile.policies);
    add_value(&mut group, key::HASHING_ALGORITHM, &HashingAlgorithm { name: "SHA256".to_owned() });
    add_value(&mut group, key::BLOCK_DATA_HASHING_STRUCTURE, &BlockDataHashingStructure { width: u32::MAX });
    if let Some(consortium) = &profile.consortium {
        add_value(&mut group, key::CONSORTIUM, &Consortium { name: consortium.clone() });
    }
    add_capabilities(&mut group, profile.capabilities.as_ref());
    if let Some(orderer) = &profile.orderer {
        if !orderer.addresses.is_empty() {
            let addresses = OrdererAddresses { addresses: orderer.addresses.clone() };
            add_value_of(&mut group, key::ORDERER_ADDRESSES, &addresses, ORDERER_ADMINS);
        }
        group.groups.insert(key::ORDERER.to_owned(), orderer_group(orderer));
    }
    if let Some(application) = &profile.application {
        group.groups.insert(key::APPLICATION.to_owned(), application_group(application));
    }
    if let Some(consortiums) = &profile.consortiums {
        group.groups.insert(key::CONSORTIUMS.to_owned(), consortiums_group(consortiums));
    }
    group
}

fn orderer_group(orderer: &Orderer) -> ConfigGroup {
    let mut group = administered(&orderer.policies);
    let metadata = match &orderer.consensus {
        Consensus::Solo => Bytes::new(),
        Consensus::Kafka(brokers) => {
            add_value(&mut group, key::KAFKA_BROKERS, &KafkaBrokers { brokers: brokers.clone() });
            Bytes::new()
        }
        Consensus::Etcdraft(metadata) => metadata.encode_to_vec().into(),
    };
    let r#type = orderer.consensus.name().to_owned();
    add_value(&mut group, key::CONSENSUS_TYPE, &ConsensusType { r#type, metadata, ..ConsensusType::default() });
    let batch = BatchSize {
        max_message_count: orderer.batch_size.max_message_count,
        absolute_max_bytes: orderer.batch_size.absolute_max_bytes,
        preferred_max_bytes: orderer.batch_size.preferred_max_bytes,
    };
    add_value(&mut group, key::BATCH_SIZE, &batch);
    add_value(&mut group, key::BATCH_TIMEOUT, &BatchTimeout { timeout: go_duration_text(orderer.batch_timeout) });
    add_value(&mut group, key::CHANNEL_RESTRICTIONS, &ChannelRestrictions { max_count: orderer.max_channels });
    add_capabilities(&mut group, orderer.capabilities.as_ref());
    for organization in &orderer.organizations {
        group.groups.insert(organization.name.clone(), orderer_organization_group(organization));
    }
    group
}

fn application_group(application: &Application) -> ConfigGroup {
    let mut group = administered(&application.policies);
    if !application.acls.is_empty() {
        let acl = |(name, policy): (&String, &String)| (name.clone(), ApiResource { policy_ref: policy.clone() });
        add_value(&mut group, key::ACLS, &AcLs { acls: application.acls.iter().map(acl).collect() });
    }
    add_capabilities(&mut group, application.capabilities.as_ref());
    for organization in &application.organizations {
        group.groups.insert(organization.name.clone(), application_organization_group(organization));
    }
    group
}

/// Returns the Consortiums group. The orderers' administrators govern it; any administrator of a member may create a
/// channel.
fn consortiums_group(consortiums: &std::collections::BTreeMap<String, Vec<Organization>>) -> ConfigGroup {
    let mut group = ConfigGroup { mod_policy: ORDERER_ADMINS.to_owned(), ..ConfigGroup::default() };
    // this policy needs no signature: the mod policies make the orderers' administrators the ones who administer
    // consortiums
    let accept_all = SignaturePolicyEnvelope {
        rule: Some(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n: 0, rules: Vec::new() })) }),
        ..SignaturePolicyEnvelope::default()
    };
    add_policy(&mut group, key::ADMINS, signature(&accept_all), ORDERER_ADMINS);
    for (name, organizations) in consortiums {
        let mut members = ConfigGroup { mod_policy: ORDERER_ADMINS.to_owned(), ..ConfigGroup::default() };
        for organization in organizations {
            members.groups.insert(organization.name.clone(), organization_group(organization));
        }
        let any_admin =
            implicit_meta(&ImplicitMetaPolicy { sub_policy: key::ADMINS.to_owned(), rule: Rule::Any as i32 });
        add_value_of(&mut members, key::CHANNEL_CREATION_POLICY, &any_admin, ORDERER_ADMINS);
        group.groups.insert(name.clone(), members);
    }
    group
}

/// Returns the group of an ordering organization.
pub fn orderer_organization_group(organization: &Organization) -> ConfigGroup {
    let mut group = organization_group(organization);
    if let Some(definition) = &organization.definition
        && !definition.orderer_endpoints.is_empty()
    {
        let addresses = definition.orderer_endpoints.clone();
        add_value(&mut group, key::ENDPOINTS, &OrdererAddresses { addresses });
    }
    group
}

/// Returns the group of an organization that uses the channel.
pub fn application_organization_group(organization: &Organization) -> ConfigGroup {
    let mut group = organization_group(organization);
    if let Some(definition) = &organization.definition
        && !definition.anchor_peers.is_empty()
    {
        let peer = |(host, port): &(String, u16)| AnchorPeer { host: host.clone(), port: i32::from(*port) };
        let anchor_peers = definition.anchor_peers.iter().map(peer).collect();
        add_value(&mut group, key::ANCHOR_PEERS, &AnchorPeers { anchor_peers });
    }
    group
}

fn organization_group(organization: &Organization) -> ConfigGroup {
    let Some(definition) = &organization.definition else { return administered(&NamedPolicies::new()) };
    let mut group = administered(&definition.policies);
    add_value(&mut group, key::MSP, &definition.msp);
    group
}

/// Returns a group with these policies, which its own administrators may change.
fn administered(policies: &NamedPolicies) -> ConfigGroup {
    let mut group = ConfigGroup { mod_policy: key::ADMINS.to_owned(), ..ConfigGroup::default() };
    for (name, policy) in policies {
        add_policy(&mut group, name, policy.clone(), key::ADMINS);
    }
    group
}

fn add_policy(group: &mut ConfigGroup, name: &str, policy: Policy, mod_policy: &str) {
    let policy = ConfigPolicy { version: 0, policy: Some(policy), mod_policy: mod_policy.to_owned() };
    group.policies.insert(name.to_owned(), policy);
}

fn add_value(group: &mut ConfigGroup, name: &str, value: &impl Message) {
    add_value_of(group, name, value, key::ADMINS);
}

fn add_value_of(group: &mut ConfigGroup, name: &str, value: &impl Message, mod_policy: &str) {
    let value = ConfigValue { version: 0, value: value.encode_to_vec().into(), mod_policy: mod_policy.to_owned() };
    group.values.insert(name.to_owned(), value);
}

fn add_capabilities(group: &mut ConfigGroup, names: Option<&BTreeSet<String>>) {
    if let Some(names) = names {
        let value = ConfigValue { version: 0, value: capabilities(names), mod_policy: key::ADMINS.to_owned() };
        group.values.insert(key::CAPABILITIES.to_owned(), value);
    }
}

/// Encodes `common.Capabilities` as Fabric does: each name with its empty message, which prost's encoder omits.
/// Values of configurations are compared by their bytes.
fn capabilities(names: &BTreeSet<String>) -> Bytes {
    let mut encoded = Vec::new();
    for name in names {
        let mut entry = Vec::new();
        prost::encoding::string::encode(1, name, &mut entry);
        prost::encoding::bytes::encode(2, &Bytes::new(), &mut entry);
        prost::encoding::bytes::encode(1, &entry, &mut encoded);
    }
    encoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric_proto::common::Capabilities;

    #[test]
    fn capabilities_are_written_as_the_reference_writes_them() {
        let names = BTreeSet::from(["V1_3".to_owned(), "V2_0".to_owned()]);
        let encoded = capabilities(&names);
        assert_eq!(encoded, &b"\n\x08\n\x04V1_3\x12\0\n\x08\n\x04V2_0\x12\0"[..]);
        assert!(Capabilities::decode(encoded).expect("reads").capabilities.into_keys().eq(names));
    }
}
