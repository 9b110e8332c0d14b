//! Creates envelopes as clients do.

use std::str::FromStr;
use std::time::SystemTime;

use bytes::Bytes;
use fabric_proto::common::{ChannelHeader, ConfigUpdateEnvelope, Header, HeaderType, Payload, SignatureHeader};
use fabric_proto::orderer::seek_info::{SeekBehavior, SeekErrorResponse};
use fabric_proto::orderer::seek_position::Type;
use fabric_proto::orderer::{SeekInfo, SeekNewest, SeekNextCommit, SeekOldest, SeekPosition, SeekSpecified};
use orderer_actors::node_context::nonce;
use orderer_core::crypto::{SignError, Signer, hex, sha256};
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use prost::Message as _;

/// A position in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPosition {
    /// Block 0, or the first that is not pruned.
    Oldest,
    /// The last block that exists.
    Newest,
    /// The block that will be cut next.
    Next,
    /// The block of this number.
    Number(u64),
}

impl FromStr for BlockPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            "next" => Ok(Self::Next),
            number => number.parse().map(Self::Number).map_err(|_| "oldest, newest, next, or a number".to_owned()),
        }
    }
}

impl BlockPosition {
    fn seek(self) -> SeekPosition {
        let position = match self {
            Self::Oldest => Type::Oldest(SeekOldest {}),
            Self::Newest => Type::Newest(SeekNewest {}),
            Self::Next => Type::NextCommit(SeekNextCommit {}),
            Self::Number(number) => Type::Specified(SeekSpecified { number }),
        };
        SeekPosition { r#type: Some(position) }
    }
}

/// Creates a Deliver request. Without `wait`, a block that does not exist yet ends the response; with `best_effort`,
/// an orderer whose chain has failed responds all the same.
pub fn seek_info(start: BlockPosition, stop: BlockPosition, wait: bool, best_effort: bool) -> SeekInfo {
    let behavior = if wait { SeekBehavior::BlockUntilReady } else { SeekBehavior::FailIfNotReady };
    let error_response = if best_effort { SeekErrorResponse::BestEffort } else { SeekErrorResponse::Strict };
    SeekInfo {
        start: Some(start.seek()),
        stop: Some(stop.seek()),
        behavior: behavior.into(),
        error_response: error_response.into(),
        ..SeekInfo::default()
    }
}

/// Signs and serializes a Deliver request. `bound_to` is the hash of the connection's client certificate.
pub fn seek(
    signer: &dyn Signer,
    channel: &str,
    info: &SeekInfo,
    bound_to: Option<[u8; 32]>,
) -> Result<Bytes, SignError> {
    let tls_cert_hash = bound_to.map(|hash| Bytes::copy_from_slice(&hash)).unwrap_or_default();
    let header = ChannelHeader { tls_cert_hash, ..channel_header(HeaderType::DeliverSeekInfo, channel) };
    let (_, envelope) = sign(signer, header, info.encode_to_vec().into())?;
    Ok(envelope.raw().clone())
}

/// Creates an envelope such as clients of endorsing peers send, with its transaction ID. The data has a meaning only
/// for its sender: an orderer does not read it, and a peer will find the transaction invalid.
pub fn transaction(signer: &dyn Signer, channel: &str, data: Bytes) -> Result<(String, SignedEnvelope), SignError> {
    sign(signer, channel_header(HeaderType::EndorserTransaction, channel), data)
}

/// Creates an envelope around a config update and its signatures, signed by the submitter.
pub fn config_update(
    signer: &dyn Signer,
    channel: &str,
    update: &ConfigUpdateEnvelope,
) -> Result<SignedEnvelope, SignError> {
    let header = channel_header(HeaderType::ConfigUpdate, channel);
    sign(signer, header, update.encode_to_vec().into()).map(|(_, envelope)| envelope)
}

/// Signs the same message as another signer: its kind, channel, time and data stay, creator and transaction ID become
/// the signer's.
pub fn re_sign(signer: &dyn Signer, message: ParsedEnvelope) -> Result<SignedEnvelope, SignError> {
    sign(signer, message.channel_header, message.data).map(|(_, envelope)| envelope)
}

fn channel_header(kind: HeaderType, channel: &str) -> ChannelHeader {
    ChannelHeader {
        r#type: kind.into(),
        channel_id: channel.to_owned(),
        timestamp: Some(SystemTime::now().into()),
        ..ChannelHeader::default()
    }
}

fn sign(
    signer: &dyn Signer,
    mut channel_header: ChannelHeader,
    data: Bytes,
) -> Result<(String, SignedEnvelope), SignError> {
    let (nonce, creator) = (nonce(), signer.creator().clone());
    channel_header.tx_id = hex(&sha256(&[&nonce, &creator]));
    let signature_header = SignatureHeader { creator, nonce: Bytes::copy_from_slice(&nonce) };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data };
    let envelope = SignedEnvelope::sign(payload.encode_to_vec().into(), signer)?;
    Ok((channel_header.tx_id, envelope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_words_or_numbers() {
        assert_eq!("newest".parse(), Ok(BlockPosition::Newest));
        assert_eq!("next".parse(), Ok(BlockPosition::Next));
        assert_eq!("7".parse(), Ok(BlockPosition::Number(7)));
        assert_eq!("-1".parse::<BlockPosition>(), Err("oldest, newest, next, or a number".to_owned()));
    }
}
