//! Making configurations: the groups of a new network and the genesis block around them, as Fabric's own tool makes
//! them.

use bytes::Bytes;
use fabric_proto::common::implicit_meta_policy::Rule;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    Block, BlockData, BlockDataHashingStructure, BlockHeader, BlockMetadata, Capabilities, Capability, ChannelHeader,
    Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigValue, Consortium, Envelope, HashingAlgorithm, Header,
    HeaderType, ImplicitMetaPolicy, LastConfig, Metadata, MspPrincipal, MspRole, OrdererAddresses,
    OrdererBlockMetadata, Payload, Policy, SignatureHeader, SignaturePolicy, SignaturePolicyEnvelope,
    msp_principal::Classification, msp_role::MspRoleType,
};
use fabric_proto::msp::MspConfig;
use fabric_proto::orderer::{BatchSize, BatchTimeout, ChannelRestrictions, ConsensusType};
use prost::Message;

use super::key;
use crate::block::{METADATA_SLOTS, data_hash};
use crate::channel::{ChannelId, UnixSeconds};
use crate::crypto::{hex, sha256};
use crate::identity::Role;

/// An organization, as it appears in a configuration.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Name of its group.
    pub name: String,
    /// Name of its MSP.
    pub msp_id: String,
    /// Its MSP's definition.
    pub msp: MspConfig,
    /// host:port of its orderers; empty for one that does not order.
    pub orderer_endpoints: Vec<String>,
    /// Who of it may read, write, administer, endorse.
    pub roles: Roles,
}

/// Roles that satisfy an organization's policies; an empty list leaves the policy out.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Policy Readers.
    pub readers: Vec<Role>,
    /// Policy Writers.
    pub writers: Vec<Role>,
    /// Policy Admins.
    pub admins: Vec<Role>,
    /// Policy Endorsement.
    pub endorsers: Vec<Role>,
}

/// What an Orderer group says beside its organizations.
#[derive(Clone, Debug)]
pub struct Ordering {
    /// `solo`, ..
    pub consensus_type: String,
    /// Duration, such as `500ms`.
    pub batch_timeout: String,
    /// Limits of a batch.
    pub batch_size: super::BatchSize,
    /// Capabilities, such as `V2_0`.
    pub capabilities: Vec<String>,
}

/// The Channel group, around an Orderer group and either an Application or a Consortiums group.
pub fn channel_group(
    orderer: ConfigGroup,
    inner: (&str, ConfigGroup),
    addresses: &[String],
    capabilities: &[String],
) -> ConfigGroup {
    let mut group = ConfigGroup { mod_policy: key::ADMINS.to_owned(), ..ConfigGroup::default() };
    add_standard_policies(&mut group);
    add_value(&mut group, key::HASHING_ALGORITHM, &HashingAlgorithm { name: "SHA256".to_owned() });
    add_value(&mut group, key::BLOCK_DATA_HASHING_STRUCTURE, &BlockDataHashingStructure { width: u32::MAX });
    if !addresses.is_empty() {
        let value = OrdererAddresses { addresses: addresses.to_vec() };
        add_value(&mut group, key::ORDERER_ADDRESSES, &value);
        if let Some(value) = group.values.get_mut(key::ORDERER_ADDRESSES) {
            "/Channel/Orderer/Admins".clone_into(&mut value.mod_policy);
        }
    }
    add_capabilities(&mut group, capabilities);
    group.groups.insert(key::ORDERER.to_owned(), orderer);
    group.groups.insert(inner.0.to_owned(), inner.1);
    group
}

/// The Orderer group.
pub fn orderer_group(ordering: &Ordering, organizations: &[Organization]) -> ConfigGroup {
    let mut group = ConfigGroup { mod_policy: key::ADMINS.to_owned(), ..ConfigGroup::default() };
    add_standard_policies(&mut group);
    add_policy(&mut group, key::BLOCK_VALIDATION, implicit_meta(Rule::Any, key::WRITERS));
    let consensus = ConsensusType { r#type: ordering.consensus_type.clone(), ..ConsensusType::default() };
    add_value(&mut group, key::CONSENSUS_TYPE, &consensus);
    let batch = BatchSize {
        max_message_count: ordering.batch_size.max_message_count,
        absolute_max_bytes: ordering.batch_size.absolute_max_bytes,
        preferred_max_bytes: ordering.batch_size.preferred_max_bytes,
    };
    add_value(&mut group, key::BATCH_SIZE, &batch);
    add_value(&mut group, key::BATCH_TIMEOUT, &BatchTimeout { timeout: ordering.batch_timeout.clone() });
    add_value(&mut group, key::CHANNEL_RESTRICTIONS, &ChannelRestrictions::default());
    add_capabilities(&mut group, &ordering.capabilities);
    for organization in organizations {
        group.groups.insert(organization.name.clone(), organization_group(organization));
    }
    group
}

/// The Application group.
pub fn application_group(organizations: &[Organization], capabilities: &[String]) -> ConfigGroup {
    let mut group = ConfigGroup { mod_policy: key::ADMINS.to_owned(), ..ConfigGroup::default() };
    add_standard_policies(&mut group);
    add_policy(&mut group, "LifecycleEndorsement", implicit_meta(Rule::Majority, "Endorsement"));
    add_policy(&mut group, "Endorsement", implicit_meta(Rule::Majority, "Endorsement"));
    add_capabilities(&mut group, capabilities);
    for organization in organizations {
        group.groups.insert(organization.name.clone(), organization_group(organization));
    }
    group
}

/// The Consortiums group, with one consortium of these organizations; any of their administrators may create a channel.
pub fn consortiums_group(consortium: &str, organizations: &[Organization]) -> ConfigGroup {
    const ORDERER_ADMINS: &str = "/Channel/Orderer/Admins";
    let mut members = ConfigGroup { mod_policy: ORDERER_ADMINS.to_owned(), ..ConfigGroup::default() };
    for organization in organizations {
        members.groups.insert(organization.name.clone(), organization_group(organization));
    }
    add_value(&mut members, key::CHANNEL_CREATION_POLICY, &implicit_meta(Rule::Any, key::ADMINS));
    if let Some(value) = members.values.get_mut(key::CHANNEL_CREATION_POLICY) {
        ORDERER_ADMINS.clone_into(&mut value.mod_policy);
    }
    let mut group = ConfigGroup { mod_policy: ORDERER_ADMINS.to_owned(), ..ConfigGroup::default() };
    group.groups.insert(consortium.to_owned(), members);
    // nobody's signature is asked of who administers consortiums: the orderers' administrators do, by the mod policies
    let accept_all = SignaturePolicyEnvelope {
        rule: Some(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n: 0, rules: Vec::new() })) }),
        ..SignaturePolicyEnvelope::default()
    };
    add_policy(&mut group, key::ADMINS, policy(PolicyType::Signature, &accept_all));
    if let Some(policy) = group.policies.get_mut(key::ADMINS) {
        ORDERER_ADMINS.clone_into(&mut policy.mod_policy);
    }
    group
}

/// Names the consortium that a channel belongs to.
pub fn set_consortium(channel_group: &mut ConfigGroup, consortium: &str) {
    add_value(channel_group, key::CONSORTIUM, &Consortium { name: consortium.to_owned() });
}

fn organization_group(organization: &Organization) -> ConfigGroup {
    let mut group = ConfigGroup { mod_policy: key::ADMINS.to_owned(), ..ConfigGroup::default() };
    add_value(&mut group, key::MSP, &organization.msp);
    if !organization.orderer_endpoints.is_empty() {
        add_value(&mut group, key::ENDPOINTS, &OrdererAddresses { addresses: organization.orderer_endpoints.clone() });
    }
    let roles = &organization.roles;
    let named = [
        (key::READERS, &roles.readers),
        (key::WRITERS, &roles.writers),
        (key::ADMINS, &roles.admins),
        ("Endorsement", &roles.endorsers),
    ];
    for (name, roles) in named {
        if !roles.is_empty() {
            add_policy(&mut group, name, any_of(&organization.msp_id, roles));
        }
    }
    group
}

/// Anyone of the MSP in one of the roles.
fn any_of(msp_id: &str, roles: &[Role]) -> Policy {
    let principal = |role: &Role| {
        let role = match role {
            Role::Member => MspRoleType::Member,
            Role::Admin => MspRoleType::Admin,
            Role::Client => MspRoleType::Client,
            Role::Peer => MspRoleType::Peer,
            Role::Orderer => MspRoleType::Orderer,
        };
        MspPrincipal {
            principal_classification: Classification::Role as i32,
            principal: MspRole { msp_identifier: msp_id.to_owned(), role: role as i32 }.encode_to_vec().into(),
        }
    };
    let indices = (0..).take(roles.len());
    let rules = indices.map(|i| SignaturePolicy { r#type: Some(Type::SignedBy(i)) }).collect();
    let envelope = SignaturePolicyEnvelope {
        version: 0,
        rule: Some(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n: 1, rules })) }),
        identities: roles.iter().map(principal).collect(),
    };
    policy(PolicyType::Signature, &envelope)
}

fn implicit_meta(rule: Rule, sub_policy: &str) -> Policy {
    policy(PolicyType::ImplicitMeta, &ImplicitMetaPolicy { sub_policy: sub_policy.to_owned(), rule: rule as i32 })
}

fn policy(kind: PolicyType, value: &impl Message) -> Policy {
    Policy { r#type: kind as i32, value: value.encode_to_vec().into() }
}

fn add_standard_policies(group: &mut ConfigGroup) {
    add_policy(group, key::READERS, implicit_meta(Rule::Any, key::READERS));
    add_policy(group, key::WRITERS, implicit_meta(Rule::Any, key::WRITERS));
    add_policy(group, key::ADMINS, implicit_meta(Rule::Majority, key::ADMINS));
}

fn add_policy(group: &mut ConfigGroup, name: &str, policy: Policy) {
    let policy = ConfigPolicy { version: 0, policy: Some(policy), mod_policy: key::ADMINS.to_owned() };
    group.policies.insert(name.to_owned(), policy);
}

fn add_value(group: &mut ConfigGroup, name: &str, value: &impl Message) {
    let value = ConfigValue { version: 0, value: value.encode_to_vec().into(), mod_policy: key::ADMINS.to_owned() };
    group.values.insert(name.to_owned(), value);
}

fn add_capabilities(group: &mut ConfigGroup, names: &[String]) {
    if !names.is_empty() {
        let capabilities = names.iter().map(|name| (name.clone(), Capability {})).collect();
        add_value(group, key::CAPABILITIES, &Capabilities { capabilities });
    }
}

/// The genesis block of a channel with this configuration, serialized. `nonce` must be fresh.
pub fn genesis_block(channel: &ChannelId, group: ConfigGroup, nonce: [u8; 24], now: UnixSeconds) -> Bytes {
    let tx_id = hex(&sha256(&[&nonce]));
    let channel_header = ChannelHeader {
        r#type: HeaderType::Config as i32,
        version: 1,
        timestamp: Some(fabric_proto::Timestamp { seconds: now.0, nanos: 0 }),
        channel_id: channel.to_string(),
        tx_id,
        ..ChannelHeader::default()
    };
    let signature_header = SignatureHeader { creator: Bytes::new(), nonce: Bytes::copy_from_slice(&nonce) };
    let config = ConfigEnvelope { config: Some(Config { sequence: 0, channel_group: Some(group) }), last_update: None };
    let payload = Payload {
        header: Some(Header {
            channel_header: channel_header.encode_to_vec().into(),
            signature_header: signature_header.encode_to_vec().into(),
        }),
        data: config.encode_to_vec().into(),
    };
    let envelope = Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::new() };
    genesis_block_of(envelope.encode_to_vec().into(), true)
}

/// The block 0 around a genesis envelope. A channel created through the system channel has empty metadata; a block made
/// by a tool says that its last config block is itself.
pub fn genesis_block_of(envelope: Bytes, made_by_tool: bool) -> Bytes {
    let mut slots = vec![Bytes::new(); METADATA_SLOTS];
    if made_by_tool {
        let last_config = Some(LastConfig { index: 0 });
        let value = OrdererBlockMetadata { last_config, consenter_metadata: Bytes::new() }.encode_to_vec().into();
        slots[0] = Metadata { value, signatures: Vec::new() }.encode_to_vec().into();
    }
    let block = Block {
        header: Some(BlockHeader {
            number: 0,
            previous_hash: Bytes::new(),
            data_hash: Bytes::copy_from_slice(&data_hash([envelope.as_ref()])),
        }),
        data: Some(BlockData { data: vec![envelope] }),
        metadata: Some(BlockMetadata { metadata: slots }),
    };
    block.encode_to_vec().into()
}
