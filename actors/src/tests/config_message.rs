//! Config messages that administrators of the fixtures' network sign.

use fabric_proto::Message as _;
use fabric_proto::common::{
    ChannelHeader, ConfigGroup, ConfigSignature, ConfigUpdateEnvelope, Header, HeaderType, Payload, SignatureHeader,
};
use fabric_proto::orderer::BatchSize;
use orderer_core::config::compute_update;
use orderer_core::envelope::ParsedEnvelope;
use orderer_core::processing::{MessageOrigin, PreparedConfigMessage, ValidationContext, process_config_update};

use super::*;
use crate::node_context::{fresh_header_fields, unix_now};

/// Returns the CONFIG message that changes the group of the orderers, signed by an administrator of the orderers.
pub(super) fn config_message(
    snapshot: &ChannelSnapshot,
    change: impl FnOnce(&mut ConfigGroup),
) -> PreparedConfigMessage {
    let msp = Path::new(NET).join("crypto/ordererOrganizations/example.com/users/Admin@example.com/msp");
    let key = SigningKey::from_pem(&std::fs::read(msp.join("keystore/priv_sk")).unwrap()).unwrap();
    let certificate = std::fs::read(msp.join("signcerts/Admin@example.com-cert.pem")).unwrap();
    let admin = SigningIdentity::new("OrdererMSP", &certificate, key).unwrap();
    let old = snapshot.config();
    let mut new = old.clone();
    change(new.channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap());
    let config_update = Bytes::from(compute_update(snapshot.channel(), &old, &new).unwrap().encode_to_vec());
    let signature_header =
        |nonce: u8| SignatureHeader { creator: admin.creator().clone(), nonce: vec![nonce; 24].into() };
    let signed = Bytes::from(signature_header(1).encode_to_vec());
    let signature = admin.sign(&[&signed[..], &config_update].concat()).unwrap();
    let signatures = vec![ConfigSignature { signature_header: signed, signature }];
    let data = ConfigUpdateEnvelope { config_update, signatures }.encode_to_vec();
    let channel_header = ChannelHeader {
        r#type: HeaderType::ConfigUpdate as i32,
        channel_id: snapshot.channel().to_string(),
        ..ChannelHeader::default()
    };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header(2).encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: data.into() }.encode_to_vec();
    let message = ParsedEnvelope::parse(SignedEnvelope::sign(payload.into(), &admin).unwrap()).unwrap();
    let at = ValidationContext { now: unix_now(), expiration_checks: true, judging: MessageOrigin::Client };
    process_config_update(snapshot, &message, &TestSigner::new(), fresh_header_fields(), at).unwrap()
}

/// Returns a CONFIG message that doubles the maximum number of messages of a block.
pub(super) fn larger_batches(snapshot: &ChannelSnapshot) -> PreparedConfigMessage {
    config_message(snapshot, |orderer| {
        let value = orderer.values.get_mut("BatchSize").unwrap();
        let mut size = BatchSize::decode(value.value.clone()).unwrap();
        size.max_message_count *= 2;
        value.value = size.encode_to_vec().into();
    })
}
