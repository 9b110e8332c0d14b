//! Builds block 0 of a channel.

use bytes::Bytes;
use fabric_proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Config, ConfigEnvelope, ConfigGroup, Envelope, Header,
    HeaderType, LastConfig, Metadata, OrdererBlockMetadata, Payload, SignatureHeader,
};
use prost::Message as _;

use crate::block::{METADATA_SLOTS, data_hash};
use crate::crypto::{hex, sha256};
use crate::types::{ChannelId, UnixSeconds};

/// Returns the serialized genesis block of a channel with this configuration. `nonce` must be fresh.
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
    genesis_block_from_envelope(envelope.encode_to_vec().into(), true)
}

/// Returns the serialized block 0 around a genesis envelope. Its metadata is empty for a channel created through the
/// system channel; a block made by a tool names itself as its last config block.
pub fn genesis_block_from_envelope(envelope: Bytes, made_by_tool: bool) -> Bytes {
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
