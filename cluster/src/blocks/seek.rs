//! The request for blocks: a signed envelope that names them, bound to the connection's client certificate.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use fabric_proto::common::{ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use fabric_proto::orderer::seek_info::{SeekBehavior, SeekErrorResponse};
use fabric_proto::orderer::{SeekInfo, SeekNewest, SeekPosition, SeekSpecified, seek_position};
use fabric_proto::{Message as _, Timestamp};

use super::api::{PullError, RequestSigner};

/// The blocks that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The newest block.
    Newest,
    /// All blocks from this number on.
    From(u64),
}

impl Wanted {
    /// Returns the request as Fabric's block puller makes it: without an end, waiting for blocks that do not exist
    /// yet, and also served by an orderer that knows no leader.
    fn seek(self) -> SeekInfo {
        let specified = |number| seek_position::Type::Specified(SeekSpecified { number });
        let start = match self {
            Self::Newest => seek_position::Type::Newest(SeekNewest {}),
            Self::From(number) => specified(number),
        };
        SeekInfo {
            start: Some(SeekPosition { r#type: Some(start) }),
            stop: Some(SeekPosition { r#type: Some(specified(u64::MAX)) }),
            behavior: SeekBehavior::BlockUntilReady as i32,
            error_response: SeekErrorResponse::BestEffort as i32,
            ..SeekInfo::default()
        }
    }
}

/// Returns the request as a serialized envelope. `certificate` is the connection's client certificate, in DER.
pub(super) fn request(
    channel: &str,
    wanted: Wanted,
    certificate: &[u8],
    signer: &dyn RequestSigner,
    now: SystemTime,
    nonce: [u8; 24],
) -> Result<Bytes, PullError> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let timestamp = Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // below 1,000,000,000
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    };
    let channel_header = ChannelHeader {
        r#type: HeaderType::DeliverSeekInfo as i32,
        timestamp: Some(timestamp),
        channel_id: channel.to_owned(),
        tls_cert_hash: Bytes::copy_from_slice(digest(&SHA256, certificate).as_ref()),
        ..ChannelHeader::default()
    };
    let signature_header = SignatureHeader { creator: signer.creator(), nonce: Bytes::copy_from_slice(&nonce) };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: wanted.seek().encode_to_vec().into() };
    let payload = Bytes::from(payload.encode_to_vec());
    let signature = signer.sign(&payload).map_err(PullError::Sign)?;
    Ok(Envelope { payload, signature }.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl RequestSigner for Fixed {
        fn creator(&self) -> Bytes {
            Bytes::from_static(b"me")
        }

        fn sign(&self, message: &[u8]) -> Result<Bytes, String> {
            if message.is_empty() { Err("nothing".to_owned()) } else { Ok(Bytes::copy_from_slice(&message[..4])) }
        }
    }

    #[test]
    fn a_request_names_channel_certificate_and_blocks() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 5);
        let request = request("ch", Wanted::From(7), b"certificate", &Fixed, now, [3; 24]).unwrap();
        let envelope = Envelope::decode(request).unwrap();
        assert_eq!(envelope.signature, envelope.payload[..4]);
        let payload = Payload::decode(envelope.payload).unwrap();
        let header = payload.header.unwrap();
        let signature_header = SignatureHeader::decode(header.signature_header).unwrap();
        assert_eq!((&signature_header.creator[..], &signature_header.nonce[..]), (&b"me"[..], &[3; 24][..]));
        let header = ChannelHeader::decode(header.channel_header).unwrap();
        assert_eq!((header.r#type, header.version, header.epoch), (HeaderType::DeliverSeekInfo as i32, 0, 0));
        assert_eq!((header.channel_id.as_str(), header.timestamp.unwrap().seconds), ("ch", 1_700_000_000));
        assert_eq!(header.tls_cert_hash[..4], [0x03, 0xd6, 0x6d, 0xd0]);
        assert_eq!(header.tls_cert_hash.len(), 32);
        let seek = SeekInfo::decode(payload.data).unwrap();
        assert_eq!(seek, Wanted::From(7).seek());
        assert_eq!(
            (seek.behavior(), seek.error_response()),
            (SeekBehavior::BlockUntilReady, SeekErrorResponse::BestEffort)
        );
        assert!(matches!(seek.start.unwrap().r#type, Some(seek_position::Type::Specified(from)) if from.number == 7));
        assert!(matches!(seek.stop.unwrap().r#type, Some(seek_position::Type::Specified(to)) if to.number == u64::MAX));
        assert!(matches!(Wanted::Newest.seek().start.unwrap().r#type, Some(seek_position::Type::Newest(_))));
    }
}
