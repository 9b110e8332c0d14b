//! Chains signed by the orderer of the network in tests/fixtures/net, and by other identities of that network.

// each test uses only a part
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::implicit_meta_policy::Rule;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Config, ConfigEnvelope, ConfigGroup, ConfigSignature,
    ConfigUpdateEnvelope, Envelope, Header, HeaderType, ImplicitMetaPolicy, LastConfig, Metadata, MetadataSignature,
    OrdererBlockMetadata, Payload, Policy, SignatureHeader, SignaturePolicy, SignaturePolicyEnvelope,
};
use fabric_proto::orderer::BatchSize;
use orderer_core::block::{data_hash, header_bytes, header_hash};
use orderer_core::config::{ChannelSnapshot, compute_update};
use orderer_core::crypto::{Signer, SigningIdentity, SigningKey};
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::processing::{HeaderFields, MessageOrigin, ValidationContext, process_config_update};
use orderer_core::types::UnixSeconds;

/// ID of the channel.
pub(crate) const CHANNEL: &str = "app";

fn net(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/net").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn person(msp: &str, folder: &str, certificate: &str) -> SigningIdentity {
    let key = SigningKey::from_pem(&net(&format!("crypto/{folder}/msp/keystore/priv_sk"))).unwrap();
    let certificate = net(&format!("crypto/{folder}/msp/signcerts/{certificate}-cert.pem"));
    SigningIdentity::new(msp, &certificate, key).unwrap()
}

/// The signing identities.
pub(crate) struct People {
    pub(crate) orderer: SigningIdentity,
    pub(crate) other_orderer: SigningIdentity,
    pub(crate) orderer_admin: SigningIdentity,
    pub(crate) client: SigningIdentity,
}

impl People {
    pub(crate) fn new() -> Self {
        let of_orderer = |folder: &str, name: &str| {
            person("OrdererMSP", &format!("ordererOrganizations/example.com/{folder}/{name}"), name)
        };
        Self {
            orderer: of_orderer("orderers", "orderer.example.com"),
            other_orderer: of_orderer("orderers", "orderer2.example.com"),
            orderer_admin: of_orderer("users", "Admin@example.com"),
            client: person(
                "Org1MSP",
                "peerOrganizations/org1.example.com/users/User1@org1.example.com",
                "User1@org1.example.com",
            ),
        }
    }
}

/// Returns the genesis block that configtxgen wrote.
pub(crate) fn genesis() -> Block {
    Block::decode(&net("AppSolo.block")[..]).unwrap()
}

/// Returns the genesis block of a channel with another configuration.
pub(crate) fn genesis_with(change: impl Fn(&mut ConfigGroup)) -> Block {
    let mut block = genesis();
    let entry = &mut block.data.as_mut().unwrap().data[0];
    let mut envelope = Envelope::decode(entry.clone()).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let mut config = ConfigEnvelope::decode(payload.data).unwrap();
    change(config.config.as_mut().unwrap().channel_group.as_mut().unwrap());
    payload.data = config.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    *entry = envelope.encode_to_vec().into();
    rehash(&mut block);
    block
}

pub(crate) fn hash_of(block: &Block) -> [u8; 32] {
    let header = block.header.as_ref().unwrap();
    header_hash(header.number, &header.previous_hash, &header.data_hash)
}

/// Returns an envelope of a client with this header type.
pub(crate) fn transaction(who: &dyn Signer, header_type: HeaderType, data: &str) -> Bytes {
    let payload = payload(who, header_type, data.as_bytes());
    SignedEnvelope::sign(payload, who).unwrap().raw().clone()
}

fn payload(who: &dyn Signer, header_type: HeaderType, data: &[u8]) -> Bytes {
    let channel_header =
        ChannelHeader { r#type: header_type as i32, channel_id: CHANNEL.to_owned(), ..ChannelHeader::default() };
    let signature_header = SignatureHeader { creator: who.creator().clone(), nonce: vec![7; 24].into() };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    Payload { header: Some(header), data: Bytes::copy_from_slice(data) }.encode_to_vec().into()
}

/// Returns an unsigned block.
pub(crate) fn block(number: u64, previous: &[u8], data: Vec<Bytes>) -> Block {
    let header = BlockHeader { number, previous_hash: Bytes::copy_from_slice(previous), data_hash: Bytes::new() };
    let mut block = Block {
        header: Some(header),
        data: Some(BlockData { data }),
        metadata: Some(BlockMetadata { metadata: vec![Bytes::new(); 5] }),
    };
    rehash(&mut block);
    block
}

/// Sets the header's data hash.
pub(crate) fn rehash(block: &mut Block) {
    let hash = data_hash(block.data.iter().flat_map(|data| &data.data).map(|entry| &entry[..]));
    block.header.as_mut().unwrap().data_hash = hash.to_vec().into();
}

/// Signs a block as an orderer does.
pub(crate) fn sign(block: &mut Block, last_config: u64, who: &dyn Signer) {
    let metadata = signed(block, last_config, who);
    put(block, &metadata);
}

pub(crate) fn put(block: &mut Block, metadata: &Metadata) {
    block.metadata.as_mut().unwrap().metadata[0] = metadata.encode_to_vec().into();
}

/// Returns the metadata of the first slot.
pub(crate) fn signed(block: &Block, last_config: u64, who: &dyn Signer) -> Metadata {
    let header = block.header.as_ref().unwrap();
    let value = OrdererBlockMetadata {
        last_config: Some(LastConfig { index: last_config }),
        consenter_metadata: Metadata::default().encode_to_vec().into(),
    };
    let value = Bytes::from(value.encode_to_vec());
    let signature_header = SignatureHeader { creator: who.creator().clone(), nonce: vec![9; 24].into() };
    let signature_header = Bytes::from(signature_header.encode_to_vec());
    let header = header_bytes(header.number, &header.previous_hash, &header.data_hash);
    let signature = who.sign(&[&value[..], &signature_header, &header].concat()).unwrap();
    let signature = MetadataSignature { signature_header, signature, identifier_header: Bytes::new() };
    Metadata { value, signatures: vec![signature] }
}

/// Sets the previous hashes of the blocks from index `from` on, and signs those blocks.
pub(crate) fn relink(blocks: &mut [Block], from: usize, last_config: impl Fn(u64) -> u64, who: &dyn Signer) {
    for at in from.max(1)..blocks.len() {
        let previous = hash_of(&blocks[at - 1]);
        let header = blocks[at].header.as_mut().unwrap();
        header.previous_hash = previous.to_vec().into();
        let number = header.number;
        sign(&mut blocks[at], last_config(number), who);
    }
}

/// Returns the CONFIG message that applies `change` to the configuration.
pub(crate) fn config_message(people: &People, snapshot: &ChannelSnapshot, change: impl Fn(&mut ConfigGroup)) -> Bytes {
    let old = snapshot.config();
    let mut new: Config = old.clone();
    change(new.channel_group.as_mut().unwrap());
    let update = compute_update(snapshot.channel(), &old, &new).unwrap();
    let config_update = Bytes::from(update.encode_to_vec());
    let admin = &people.orderer_admin;
    let signature_header =
        Bytes::from(SignatureHeader { creator: admin.creator().clone(), nonce: vec![5; 24].into() }.encode_to_vec());
    let signature = admin.sign(&[&signature_header[..], &config_update].concat()).unwrap();
    let signatures = vec![ConfigSignature { signature_header, signature }];
    let data = ConfigUpdateEnvelope { config_update, signatures }.encode_to_vec();
    let envelope = SignedEnvelope::sign(payload(admin, HeaderType::ConfigUpdate, &data), admin).unwrap();
    let message = ParsedEnvelope::parse(envelope).unwrap();
    let stamp = HeaderFields { nonce: [3; 24], seconds: 1_700_000_000, nanos: 0 };
    let at = ValidationContext {
        now: UnixSeconds(1_700_000_000),
        expiration_checks: false,
        judging: MessageOrigin::Ordered,
    };
    let proposed = process_config_update(snapshot, &message, &people.orderer, stamp, at);
    proposed.unwrap_or_else(|refusal| panic!("{refusal:?}")).envelope.raw().clone()
}

/// Returns a change of the maximum number of messages in a batch.
pub(crate) fn batch_of(count: u32) -> impl Fn(&mut ConfigGroup) {
    move |root| {
        let orderer = root.groups.get_mut("Orderer").unwrap();
        let value = orderer.values.get_mut("BatchSize").unwrap();
        let mut size = BatchSize::decode(value.value.clone()).unwrap();
        size.max_message_count = count;
        value.value = size.encode_to_vec().into();
    }
}

/// Requires blocks to be signed by administrators of the ordering organizations.
pub(crate) fn signed_by_admins(root: &mut ConfigGroup) {
    let policies: &mut BTreeMap<_, _> = &mut root.groups.get_mut("Orderer").unwrap().policies;
    let meta = ImplicitMetaPolicy { sub_policy: "Admins".to_owned(), rule: Rule::Any as i32 };
    let policy = Policy { r#type: PolicyType::ImplicitMeta as i32, value: meta.encode_to_vec().into() };
    policies.get_mut("BlockValidation").unwrap().policy = Some(policy);
}

/// Lets blocks be accepted without any signature.
pub(crate) fn signed_by_nobody(root: &mut ConfigGroup) {
    let policies: &mut BTreeMap<_, _> = &mut root.groups.get_mut("Orderer").unwrap().policies;
    let none = NOutOf { n: 0, rules: Vec::new() };
    let rule = Some(SignaturePolicy { r#type: Some(Type::NOutOf(none)) });
    let envelope = SignaturePolicyEnvelope { version: 0, rule, identities: Vec::new() };
    let policy = Policy { r#type: PolicyType::Signature as i32, value: envelope.encode_to_vec().into() };
    policies.get_mut("BlockValidation").unwrap().policy = Some(policy);
}

/// Blocks after the genesis block: three, a config block with number 4, and two.
pub(crate) struct Made {
    pub(crate) people: People,
    pub(crate) genesis: Block,
    pub(crate) snapshot: ChannelSnapshot,
    pub(crate) blocks: Vec<Block>,
}

impl Made {
    /// Builds the blocks, with this change in the config block.
    pub(crate) fn new(change: impl Fn(&mut ConfigGroup)) -> Self {
        Self::behind(genesis(), change)
    }

    pub(crate) fn behind(genesis: Block, change: impl Fn(&mut ConfigGroup)) -> Self {
        let people = People::new();
        let snapshot = ChannelSnapshot::from_config_block(&genesis, &Arc::default()).unwrap();
        let mut blocks = Vec::new();
        let mut previous = hash_of(&genesis);
        for number in 1..=6 {
            let data = if number == 4 {
                vec![config_message(&people, &snapshot, &change)]
            } else {
                (0..3)
                    .map(|index| {
                        let data = format!("transaction {index} of block {number}");
                        transaction(&people.client, HeaderType::EndorserTransaction, &data)
                    })
                    .collect()
            };
            let mut next = block(number, &previous, data);
            sign(&mut next, last_config(number), &people.orderer);
            previous = hash_of(&next);
            blocks.push(next);
        }
        Self { people, genesis, snapshot, blocks }
    }
}

/// Returns the number of the newest config block up to this number.
pub(crate) fn last_config(number: u64) -> u64 {
    if number >= 4 { 4 } else { 0 }
}
