//! Envelopes as clients create them.

use std::time::SystemTime;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Envelope, Header, Payload, SignatureHeader};
use fabric_proto::orderer::seek_info::SeekBehavior;
use fabric_proto::orderer::seek_position::Type;
use fabric_proto::orderer::{SeekInfo, SeekNewest, SeekNextCommit, SeekOldest, SeekPosition, SeekSpecified};
use orderer_core::crypto::sha256;

use super::TestIdentity;

/// Message types in channel headers.
pub const CONFIG: i32 = 1;
pub const CONFIG_UPDATE: i32 = 2;
pub const ENDORSER_TRANSACTION: i32 = 3;
pub const DELIVER_SEEK_INFO: i32 = 5;

pub fn nonce() -> Bytes {
    rand::random::<[u8; 24]>().to_vec().into()
}

/// Returns an envelope of `who`. `change` may change its headers before it is signed.
pub fn envelope_with(
    who: &TestIdentity,
    kind: i32,
    channel: &str,
    data: impl Into<Bytes>,
    change: impl FnOnce(&mut ChannelHeader, &mut SignatureHeader),
) -> Envelope {
    let mut channel_header = ChannelHeader {
        r#type: kind,
        channel_id: channel.to_owned(),
        timestamp: Some(SystemTime::now().into()),
        ..ChannelHeader::default()
    };
    let mut signature_header = SignatureHeader { creator: who.creator.clone(), nonce: nonce() };
    change(&mut channel_header, &mut signature_header);
    channel_header.tx_id = hex(&sha256(&[&signature_header.nonce, &signature_header.creator]));
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: data.into() }.encode_to_vec();
    Envelope { signature: who.sign(&payload), payload: payload.into() }
}

pub fn envelope(who: &TestIdentity, kind: i32, channel: &str, data: impl Into<Bytes>) -> Envelope {
    envelope_with(who, kind, channel, data, |_, _| {})
}

/// Returns an envelope with an endorser transaction, the most common message.
pub fn transaction(who: &TestIdentity, channel: &str, data: impl Into<Bytes>) -> Envelope {
    envelope(who, ENDORSER_TRANSACTION, channel, data)
}

/// Returns the transaction ID of an envelope.
pub fn tx_id(envelope: &Envelope) -> String {
    channel_header(envelope).tx_id
}

pub fn channel_header(envelope: &Envelope) -> ChannelHeader {
    let payload = Payload::decode(envelope.payload.clone()).unwrap();
    ChannelHeader::decode(payload.header.unwrap().channel_header).unwrap()
}

/// Returns the seek position of the oldest block.
#[allow(clippy::unnecessary_wraps, reason = "a seek without a position is among the cases")]
pub fn oldest() -> Option<SeekPosition> {
    Some(SeekPosition { r#type: Some(Type::Oldest(SeekOldest {})) })
}

#[allow(clippy::unnecessary_wraps, reason = "as above")]
pub fn newest() -> Option<SeekPosition> {
    Some(SeekPosition { r#type: Some(Type::Newest(SeekNewest {})) })
}

#[allow(clippy::unnecessary_wraps, reason = "as above")]
pub fn next_commit() -> Option<SeekPosition> {
    Some(SeekPosition { r#type: Some(Type::NextCommit(SeekNextCommit {})) })
}

#[allow(clippy::unnecessary_wraps, reason = "as above")]
pub fn block(number: u64) -> Option<SeekPosition> {
    Some(SeekPosition { r#type: Some(Type::Specified(SeekSpecified { number })) })
}

/// Requests the blocks from `start` to `stop`, and waits for those that do not exist yet.
pub fn seek_info(start: Option<SeekPosition>, stop: Option<SeekPosition>) -> SeekInfo {
    SeekInfo { start, stop, ..SeekInfo::default() }
}

/// Requests the blocks from `start` to `stop`, and fails at the first that does not exist yet.
pub fn seek_info_at_once(start: Option<SeekPosition>, stop: Option<SeekPosition>) -> SeekInfo {
    SeekInfo { behavior: SeekBehavior::FailIfNotReady.into(), ..seek_info(start, stop) }
}

/// Returns a Deliver request.
pub fn seek(who: &TestIdentity, channel: &str, info: &SeekInfo) -> Envelope {
    envelope(who, DELIVER_SEEK_INFO, channel, info.encode_to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
