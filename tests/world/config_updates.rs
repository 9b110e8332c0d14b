//! Configurations: reads them from a channel, changes them by signed updates, and creates channels.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use fabric_proto::Message;
use fabric_proto::common::{
    Block, Config, ConfigEnvelope, ConfigGroup, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue,
    Envelope, Metadata, OrdererAddresses, OrdererBlockMetadata, Payload, SignatureHeader, Status,
};

use fabric_proto::etcdraft::{ConfigMetadata, Consenter, Options};
use fabric_proto::orderer::{BatchSize, ConsensusType};
use orderer_core::block::EncodedBlock;
use orderer_core::config::genesis::genesis_block_from_envelope;

use super::client::entries;
use super::messages::{CONFIG_UPDATE, envelope, nonce};
use super::node::orderer_folder;
use super::{Client, NET, Node, TestIdentity};

/// Returns an envelope of `who` for the channel `header` with an update of `channel`, signed by `signers`.
pub fn signed_update(who: &TestIdentity, signers: &[&TestIdentity], header: &str, update: &ConfigUpdate) -> Envelope {
    let config_update: Bytes = update.encode_to_vec().into();
    let sign = |signer: &&TestIdentity| {
        let header = SignatureHeader { creator: signer.creator.clone(), nonce: nonce() }.encode_to_vec();
        let signature = signer.sign(&[&header[..], &config_update].concat());
        ConfigSignature { signature_header: header.into(), signature }
    };
    let signatures = signers.iter().map(sign).collect();
    envelope(who, CONFIG_UPDATE, header, ConfigUpdateEnvelope { config_update, signatures }.encode_to_vec())
}

/// Returns the update in a fixture file that configtxgen wrote to create a channel.
pub fn creation(file: &str) -> ConfigUpdate {
    let bytes = std::fs::read(Path::new(NET).join(file)).unwrap();
    let envelope: Envelope = parse(bytes.into());
    let payload: Payload = parse(envelope.payload);
    let update: ConfigUpdateEnvelope = parse(payload.data);
    parse(update.config_update)
}

/// Creates a channel through the system channel, and waits until its chain is running.
pub async fn create_channel(node: &mut Node, client: &Client, file: &str) {
    let (admin, update) = (TestIdentity::admin(1), creation(file));
    let request = signed_update(&admin, &[&admin], &update.channel_id, &update);
    let answer = client.broadcast(request).await;
    assert_eq!(answer, (Status::Success, String::new()));
    node.wait_for_chain(&update.channel_id).await;
}

/// Returns an update of the maximum number of messages per block. An administrator of the orderer has to sign it.
pub fn batch_size_update(config: &Config, channel: &str, max_message_count: u32) -> ConfigUpdate {
    let orderer = &config.channel_group.as_ref().unwrap().groups["Orderer"];
    let old = &orderer.values["BatchSize"];
    let size = BatchSize { max_message_count, ..parse(old.value.clone()) };
    let value = ConfigValue { version: old.version + 1, value: size.encode_to_vec().into(), ..old.clone() };
    update_of(config, channel, |read, write| {
        read.groups.insert("Orderer".to_owned(), same_version(orderer));
        let changed = ConfigGroup { values: [("BatchSize".to_owned(), value)].into(), ..same_version(orderer) };
        write.groups.insert("Orderer".to_owned(), changed);
    })
}

/// Returns the current configuration of a channel.
pub async fn last_config(client: &Client, who: &TestIdentity, channel: &str) -> Config {
    let newest = client.newest_block(who, channel).await;
    let block = client.block(who, channel, last_config_number(&newest)).await;
    config_of(&block)
}

/// Returns the number of the newest config block, as the signed metadata of a block states it.
pub fn last_config_number(block: &Block) -> u64 {
    let metadata: Metadata = parse(block.metadata.as_ref().unwrap().metadata[0].clone());
    let orderer: OrdererBlockMetadata = parse(metadata.value);
    orderer.last_config.unwrap_or_default().index
}

/// Returns the configuration in a config block.
pub fn config_of(block: &Block) -> Config {
    let payload: Payload = parse(entries(block)[0].payload.clone());
    let envelope: ConfigEnvelope = parse(payload.data);
    envelope.config.unwrap()
}

/// Returns the genesis block of the fixtures' application channel with a changed Channel group. The channel's name does
/// not change.
pub fn genesis_with(change: impl FnOnce(&mut ConfigGroup)) -> Vec<u8> {
    changed_genesis("AppSolo.block", change)
}

/// Returns the genesis block in a fixture file with a changed Channel group.
fn changed_genesis(file: &str, change: impl FnOnce(&mut ConfigGroup)) -> Vec<u8> {
    let file = std::fs::read(Path::new(NET).join(file)).unwrap();
    let block = EncodedBlock::parse(&file).unwrap().decode();
    let mut envelope = entries(&block).remove(0);
    let mut payload: Payload = parse(envelope.payload);
    let mut message: ConfigEnvelope = parse(payload.data);
    change(message.config.as_mut().unwrap().channel_group.as_mut().unwrap());
    payload.data = message.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    genesis_block_from_envelope(envelope.encode_to_vec().into(), true).to_vec()
}

/// Returns the genesis block of the fixtures' application channel with another consensus type and its metadata.
pub fn genesis_of_type(consensus_type: &str, metadata: &impl Message) -> Vec<u8> {
    changed_genesis("AppSolo.block", |group| set_consensus(group, consensus_type, metadata))
}

/// Returns the genesis block in a fixture file, ordered by Raft with this metadata, by orderers at these addresses.
pub fn genesis_of_raft(file: &str, metadata: &ConfigMetadata, addresses: &[String]) -> Vec<u8> {
    let addresses = OrdererAddresses { addresses: addresses.to_vec() }.encode_to_vec();
    changed_genesis(file, |group| {
        set_consensus(group, "etcdraft", metadata);
        let orderers = group.groups.get_mut("Orderer").unwrap().groups.values_mut();
        let listed = orderers.filter_map(|organization| organization.values.get_mut("Endpoints"));
        for value in listed.chain(group.values.get_mut("OrdererAddresses")) {
            value.value = addresses.clone().into();
        }
    })
}

fn set_consensus(group: &mut ConfigGroup, consensus_type: &str, metadata: &impl Message) {
    let consensus = ConsensusType {
        r#type: consensus_type.to_owned(),
        metadata: metadata.encode_to_vec().into(),
        ..ConsensusType::default()
    };
    let orderer = group.groups.get_mut("Orderer").unwrap();
    orderer.values.get_mut("ConsensusType").unwrap().value = consensus.encode_to_vec().into();
}

/// Returns metadata of the consensus type etcdraft with these orderers of the fixtures as consenters.
pub fn consenters(orderers: &[&str]) -> ConfigMetadata {
    let consenter = |orderer: &&str| {
        let folder = orderer_folder().with_file_name(orderer);
        let certificate: Bytes = std::fs::read(folder.join("tls/server.crt")).unwrap().into();
        let (client_tls_cert, server_tls_cert) = (certificate.clone(), certificate);
        Consenter { host: (*orderer).to_owned(), port: 7050, client_tls_cert, server_tls_cert }
    };
    let options = Options {
        tick_interval: "500ms".to_owned(),
        election_tick: 10,
        heartbeat_tick: 1,
        max_inflight_blocks: 5,
        snapshot_interval_size: 16 << 20,
    };
    ConfigMetadata { consenters: orderers.iter().map(consenter).collect(), options: Some(options) }
}

/// Returns an update whose read set and write set contain only the root group at its current version, plus what
/// `change` adds.
pub fn update_of(
    config: &Config,
    channel: &str,
    change: impl FnOnce(&mut ConfigGroup, &mut ConfigGroup),
) -> ConfigUpdate {
    let root = same_version(config.channel_group.as_ref().unwrap());
    let (mut read, mut write) = (root.clone(), root);
    change(&mut read, &mut write);
    ConfigUpdate {
        channel_id: channel.to_owned(),
        read_set: Some(read),
        write_set: Some(write),
        isolated_data: BTreeMap::new(),
    }
}

/// Returns an empty group with the version of another group.
pub fn same_version(group: &ConfigGroup) -> ConfigGroup {
    ConfigGroup { version: group.version, ..ConfigGroup::default() }
}

pub fn parse<M: Message + Default>(bytes: Bytes) -> M {
    M::decode(bytes).unwrap()
}
