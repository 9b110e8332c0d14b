//! The configuration of a channel, its updates, and the blocks that contain them.

use std::collections::BTreeMap;

use bytes::Bytes;
use fabric_proto::Message;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    Block, BlockData, BlockDataHashingStructure, BlockHeader, BlockMetadata, Capabilities, Capability, ChannelHeader,
    Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope,
    ConfigValue, Envelope, HashingAlgorithm, Header, HeaderType, ImplicitMetaPolicy, LastConfig, Metadata,
    MspPrincipal, OrdererAddresses, OrdererBlockMetadata, Payload, Policy, SignatureHeader, SignaturePolicy,
    SignaturePolicyEnvelope,
};
use fabric_proto::msp::{FabricMspConfig, MspConfig, SerializedIdentity};
use fabric_proto::orderer::{BatchSize, BatchTimeout, ConsensusType};
use orderer_core::block::{data_hash, header_hash};
use orderer_verdicts::Release;

use crate::keys::{Form, Hash, Key};

/// The channel of all cases.
pub const CHANNEL: &str = "odd";
/// Channel capabilities that change the validation of members. The first is none.
pub const LEVELS: [&str; 6] = ["", "V1_1", "V1_3", "V1_4_3", "V2_0", "V3_0"];

/// Returns a value with its modification policy.
pub fn value(message: &impl Message) -> ConfigValue {
    ConfigValue { version: 0, value: message.encode_to_vec().into(), mod_policy: "Admins".to_owned() }
}

/// Returns a policy element.
pub fn policy(policy: Policy) -> ConfigPolicy {
    ConfigPolicy { version: 0, policy: Some(policy), mod_policy: "Admins".to_owned() }
}

/// Returns a policy over the groups below.
pub fn meta(sub_policy: &str, rule: i32) -> Policy {
    let meta = ImplicitMetaPolicy { sub_policy: sub_policy.to_owned(), rule };
    Policy { r#type: PolicyType::ImplicitMeta as i32, value: meta.encode_to_vec().into() }
}

/// Returns a policy over signatures.
pub fn signatures(rule: SignaturePolicy, identities: Vec<MspPrincipal>) -> Policy {
    let envelope = SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities };
    Policy { r#type: PolicyType::Signature as i32, value: envelope.encode_to_vec().into() }
}

/// Returns a rule that `n` of these rules satisfy.
pub fn n_of(n: i32, rules: Vec<SignaturePolicy>) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules })) }
}

/// Returns a rule that a signer with the principal of this number satisfies.
pub fn signed_by(number: i32) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::SignedBy(number)) }
}

/// Returns a policy that needs no signature.
pub fn anybody() -> Policy {
    signatures(n_of(0, Vec::new()), Vec::new())
}

/// Returns a value with these capabilities. Empty names are left out.
pub fn capabilities(names: &[&str]) -> ConfigValue {
    let names = names.iter().filter(|name| !name.is_empty());
    value(&Capabilities { capabilities: names.map(|name| ((*name).to_owned(), Capability {})).collect() })
}

fn group(policies: &[(&str, Policy)]) -> ConfigGroup {
    ConfigGroup {
        policies: policies.iter().map(|(name, p)| ((*name).to_owned(), policy(p.clone()))).collect(),
        mod_policy: "Admins".to_owned(),
        ..ConfigGroup::default()
    }
}

/// Returns the group of an organization whose changes need `admins`.
pub fn organization(msp: &FabricMspConfig, admins: Policy) -> ConfigGroup {
    let mut group = group(&[("Readers", anybody()), ("Writers", anybody()), ("Admins", admins)]);
    let config = MspConfig { r#type: 0, config: msp.encode_to_vec().into() };
    group.values.insert("MSP".to_owned(), value(&config));
    group
}

/// Returns a channel with one orderer organization and one application organization.
pub fn channel(level: &str, orderer: ConfigGroup, application: ConfigGroup) -> ConfigGroup {
    let metas = [("Readers", meta("Readers", 0)), ("Writers", meta("Writers", 0)), ("Admins", meta("Admins", 2))];
    let (mut root, mut ordering, mut using) = (group(&metas), group(&metas), group(&metas));
    let insert = |group: &mut ConfigGroup, name: &str, value| drop(group.values.insert(name.to_owned(), value));
    insert(&mut root, "HashingAlgorithm", value(&HashingAlgorithm { name: "SHA256".to_owned() }));
    insert(&mut root, "BlockDataHashingStructure", value(&BlockDataHashingStructure { width: u32::MAX }));
    let addresses = OrdererAddresses { addresses: vec!["127.0.0.1:7050".to_owned()] };
    let mut orderer = orderer;
    if level == "V3_0" {
        insert(&mut orderer, "Endpoints", value(&addresses));
    } else {
        insert(&mut root, "OrdererAddresses", value(&addresses));
    }
    if !level.is_empty() {
        insert(&mut root, "Capabilities", capabilities(&[level]));
        insert(&mut ordering, "Capabilities", capabilities(&["V1_1"]));
    }
    insert(
        &mut ordering,
        "ConsensusType",
        value(&ConsensusType { r#type: "solo".to_owned(), ..ConsensusType::default() }),
    );
    let batch = BatchSize { max_message_count: 10, absolute_max_bytes: 1 << 20, preferred_max_bytes: 1 << 16 };
    insert(&mut ordering, "BatchSize", value(&batch));
    insert(&mut ordering, "BatchTimeout", value(&BatchTimeout { timeout: "1s".to_owned() }));
    ordering.policies.insert("BlockValidation".to_owned(), policy(anybody()));
    ordering.groups.insert("OrdererOrg".to_owned(), orderer);
    using.groups.insert("Org1".to_owned(), application);
    root.groups.insert("Orderer".to_owned(), ordering);
    root.groups.insert("Application".to_owned(), using);
    root
}

/// A signer of an update, and how it signs.
pub struct Signer<'a> {
    /// MSP ID.
    pub msp: &'a str,
    /// Certificate, usually in PEM.
    pub certificate: Vec<u8>,
    /// The key that signs.
    pub key: &'a Key,
    /// The change of the signature before it is used.
    pub change: Box<dyn Fn(Vec<u8>) -> Vec<u8> + 'a>,
}

impl<'a> Signer<'a> {
    /// Creates a signer whose signatures are not changed.
    pub fn new(msp: &'a str, certificate: Vec<u8>, key: &'a Key) -> Self {
        Self { msp, certificate, key, change: Box::new(|signature| signature) }
    }

    /// Signs an update.
    pub fn sign(&self, update: &[u8]) -> ConfigSignature {
        let identity = SerializedIdentity { mspid: self.msp.to_owned(), id_bytes: self.certificate.clone().into() };
        let header = SignatureHeader { creator: identity.encode_to_vec().into(), nonce: Bytes::from_static(&[1; 24]) };
        let header = header.encode_to_vec();
        let signature = self.key.sign(Hash::Sha256, &[&header, update].concat(), Form::LowS);
        ConfigSignature { signature_header: header.into(), signature: (self.change)(signature).into() }
    }
}

/// Returns an update that sets one value of the application organization, and the resulting configuration.
pub fn set_anchors(root: &ConfigGroup, text: &str) -> (ConfigUpdate, ConfigGroup) {
    let old = root.groups.get("Application").and_then(|group| group.groups.get("Org1")).cloned().unwrap_or_default();
    let mut organization = ConfigGroup { version: old.version, ..ConfigGroup::default() };
    let version = old.values.get("AnchorPeers").map_or(0, |value| value.version + 1);
    let anchors =
        ConfigValue { version, value: Bytes::copy_from_slice(text.as_bytes()), mod_policy: "Admins".to_owned() };
    let bare = |group: &ConfigGroup| ConfigGroup { version: group.version, ..ConfigGroup::default() };
    let read_organization = organization.clone();
    if version == 0 {
        // the set of the group's elements changes, so the update has to name all of them
        organization.version += 1;
        organization.mod_policy.clone_from(&old.mod_policy);
        for (name, value) in &old.values {
            organization.values.insert(name.clone(), ConfigValue { version: value.version, ..ConfigValue::default() });
        }
        for (name, policy) in &old.policies {
            organization
                .policies
                .insert(name.clone(), ConfigPolicy { version: policy.version, ..ConfigPolicy::default() });
        }
    }
    let read = if version == 0 {
        ConfigGroup {
            values: organization.values.clone(),
            policies: organization.policies.clone(),
            ..read_organization
        }
    } else {
        read_organization
    };
    organization.values.insert("AnchorPeers".to_owned(), anchors.clone());
    let around = |inner: ConfigGroup| {
        let mut application = root.groups.get("Application").map(&bare).unwrap_or_default();
        application.groups.insert("Org1".to_owned(), inner);
        ConfigGroup { groups: BTreeMap::from([("Application".to_owned(), application)]), ..bare(root) }
    };
    let mut result = root.clone();
    let place = result.groups.get_mut("Application").and_then(|group| group.groups.get_mut("Org1"));
    if let Some(place) = place {
        place.version = organization.version;
        place.values.insert("AnchorPeers".to_owned(), anchors);
    }
    let update = ConfigUpdate {
        channel_id: CHANNEL.to_owned(),
        read_set: Some(around(read)),
        write_set: Some(around(organization)),
        ..ConfigUpdate::default()
    };
    (update, result)
}

/// Returns an unsigned message of the channel.
pub fn envelope(kind: HeaderType, data: Vec<u8>) -> Envelope {
    let channel_header =
        ChannelHeader { r#type: kind as i32, channel_id: CHANNEL.to_owned(), ..ChannelHeader::default() };
    let payload = Payload {
        header: Some(Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() }),
        data: data.into(),
    };
    Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::new() }
}

/// Returns an envelope with a signed update.
pub fn signed_update(update: &[u8], signers: &[Signer<'_>]) -> Envelope {
    let signatures = signers.iter().map(|signer| signer.sign(update)).collect();
    let data = ConfigUpdateEnvelope { config_update: Bytes::copy_from_slice(update), signatures };
    envelope(HeaderType::ConfigUpdate, data.encode_to_vec())
}

/// A chain under construction.
#[derive(Debug, Default)]
pub struct Chain {
    /// Serialized blocks.
    pub blocks: Vec<Bytes>,
    previous: Vec<u8>,
}

impl Chain {
    /// Appends a config block. The update is `None` for the first configuration.
    pub fn push(&mut self, root: &ConfigGroup, update: Option<Envelope>) {
        let config = Config { sequence: self.blocks.len() as u64, channel_group: Some(root.clone()) };
        let message = ConfigEnvelope { config: Some(config), last_update: update };
        self.push_entry(envelope(HeaderType::Config, message.encode_to_vec()).encode_to_vec());
    }

    /// Appends a block with this entry.
    pub fn push_entry(&mut self, entry: Vec<u8>) {
        let number = self.blocks.len() as u64;
        let hash = data_hash([&entry[..]]);
        let last_config = LastConfig { index: number };
        let metadata = |value: Vec<u8>| Metadata { value: value.into(), ..Metadata::default() }.encode_to_vec().into();
        let orderer = OrdererBlockMetadata { last_config: Some(last_config), ..OrdererBlockMetadata::default() };
        let block = Block {
            header: Some(BlockHeader {
                number,
                previous_hash: self.previous.clone().into(),
                data_hash: Bytes::copy_from_slice(&hash),
            }),
            data: Some(BlockData { data: vec![entry.into()] }),
            metadata: Some(BlockMetadata {
                metadata: vec![
                    metadata(orderer.encode_to_vec()),
                    metadata(last_config.encode_to_vec()),
                    Bytes::new(),
                    Bytes::new(),
                    Bytes::new(),
                ],
            }),
        };
        self.previous = header_hash(number, &self.previous, &hash).to_vec();
        self.blocks.push(block.encode_to_vec().into());
    }

    /// Returns the release of Fabric that validates the chain: 3.1 if a configuration has the channel capability V3_0.
    pub fn release(&self) -> Release {
        if self.has_v3() { Release::V3_1 } else { Release::V2_5 }
    }

    fn has_v3(&self) -> bool {
        let root = |block: &Bytes| {
            let block = Block::decode(block.clone()).ok()?;
            let entry = block.data?.data.into_iter().next()?;
            let payload = Payload::decode(Envelope::decode(entry).ok()?.payload).ok()?;
            ConfigEnvelope::decode(payload.data).ok()?.config?.channel_group
        };
        let has = |root: ConfigGroup| {
            let value = root.values.get("Capabilities")?.value.clone();
            Capabilities::decode(value).ok().map(|value| value.capabilities.contains_key("V3_0"))
        };
        self.blocks.iter().filter_map(root).any(|root| has(root).unwrap_or_default())
    }
}
