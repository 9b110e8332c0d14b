//! The configuration of the channel: its consenters, its first block, and updates of its consenters.

use fabric_proto::Message as _;
use fabric_proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Config, ConfigEnvelope, ConfigValue, Envelope, Header,
    HeaderType, OrdererAddresses, Payload,
};
use fabric_proto::etcdraft::{ConfigMetadata, Consenter, Options};
use fabric_proto::orderer::ConsensusType;
use orderer_core::block::data_hash;
use orderer_core::own::public_key_of;
use orderer_core::processing::PreparedConfigMessage;
use rcgen::{CertificateParams, Issuer, KeyPair};

use super::super::*;

/// Name of the channel.
pub(super) const APP: &str = "app";

/// Creates consenters with TLS certificates of the fixtures' orderer organization. Returns them and their public keys.
pub(super) fn consenters(count: usize) -> (Vec<Consenter>, Vec<Bytes>) {
    let folder = Path::new(NET).join("crypto/ordererOrganizations/example.com/tlsca");
    let key = KeyPair::from_pem(&std::fs::read_to_string(folder.join("priv_sk")).unwrap()).unwrap();
    let authority = std::fs::read_to_string(folder.join("tlsca.example.com-cert.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority, key).unwrap();
    let made = (1..=count).map(|number| {
        let name = format!("orderer{number}.example.com");
        let mut params = CertificateParams::new(vec![name.clone()]).unwrap();
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let pem = Bytes::from(certificate.pem());
        let consenter = Consenter { host: name, port: 7050, client_tls_cert: pem.clone(), server_tls_cert: pem };
        (consenter, public_key_of(certificate.der()).unwrap())
    });
    made.unzip()
}

/// Returns the first block of the fixtures' channel, changed from solo to Raft with these consenters.
pub(super) fn genesis(consenters: &[Consenter]) -> EncodedBlock {
    let block = EncodedBlock::parse(&std::fs::read(Path::new(NET).join("AppSolo.block")).unwrap()).unwrap();
    let Block { header, data, .. } = block.decode();
    let mut envelope = Envelope::decode(data.unwrap().data.remove(0)).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let mut config = ConfigEnvelope::decode(payload.data).unwrap();
    let Config { channel_group, .. } = config.config.as_mut().unwrap();
    let orderer = channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap();
    let options = Options {
        tick_interval: "500ms".to_owned(),
        election_tick: 10,
        heartbeat_tick: 1,
        max_inflight_blocks: 5,
        snapshot_interval_size: 4 << 10,
    };
    let metadata = ConfigMetadata { consenters: consenters.to_vec(), options: Some(options) };
    let consensus = ConsensusType {
        r#type: "etcdraft".to_owned(),
        metadata: metadata.encode_to_vec().into(),
        ..ConsensusType::default()
    };
    orderer.values.get_mut("ConsensusType").unwrap().value = consensus.encode_to_vec().into();
    let addresses = consenters.iter().map(|consenter| format!("{}:{}", consenter.host, consenter.port)).collect();
    let endpoints = OrdererAddresses { addresses }.encode_to_vec();
    let endpoints = ConfigValue { value: endpoints.into(), mod_policy: "Admins".to_owned(), ..ConfigValue::default() };
    for organization in orderer.groups.values_mut() {
        organization.values.insert("Endpoints".to_owned(), endpoints.clone());
    }
    payload.data = config.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    let data = vec![Bytes::from(envelope.encode_to_vec())];
    let hash = data_hash(data.iter().map(AsRef::as_ref));
    let header = BlockHeader { data_hash: Bytes::copy_from_slice(&hash), ..header.unwrap() };
    let metadata = BlockMetadata { metadata: vec![Bytes::new(); orderer_core::block::METADATA_SLOTS] };
    let block = Block { header: Some(header), data: Some(BlockData { data }), metadata: Some(metadata) };
    EncodedBlock::parse(&block.encode_to_vec()).unwrap()
}

/// Returns the CONFIG message that makes these the channel's consenters.
pub(super) fn update(snapshot: &ChannelSnapshot, consenters: &[Consenter]) -> PreparedConfigMessage {
    config_message(snapshot, |orderer| {
        let value = orderer.values.get_mut("ConsensusType").unwrap();
        let mut consensus = ConsensusType::decode(value.value.clone()).unwrap();
        let mut metadata = ConfigMetadata::decode(consensus.metadata).unwrap();
        metadata.consenters = consenters.to_vec();
        consensus.metadata = metadata.encode_to_vec().into();
        value.value = consensus.encode_to_vec().into();
    })
}

/// Returns the payload of a normal message with this text.
pub(super) fn payload(text: &str) -> Bytes {
    let channel_header = ChannelHeader {
        r#type: HeaderType::EndorserTransaction as i32,
        channel_id: APP.to_owned(),
        ..ChannelHeader::default()
    };
    let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    Payload { header: Some(header), data: Bytes::copy_from_slice(text.as_bytes()) }.encode_to_vec().into()
}
