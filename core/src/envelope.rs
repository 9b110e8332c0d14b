//! Views over signed bytes. An envelope is kept as the bytes it came in; what is hashed, verified and stored are slices
//! of these, never an encoding made here of what was parsed.

use bytes::{Bytes, BytesMut};
use fabric_proto::common::{ChannelHeader, Envelope, HeaderType, Payload, SignatureHeader};
use fabric_proto::lenient::{self, Fields, Value};
use prost::Message as _;

use crate::crypto::{SignError, Signer};

/// An envelope as it was received, with its two parts found. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEnvelope {
    raw: Bytes,
    payload: Bytes,
    signature: Bytes,
}

/// The part of an envelope that could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are not an `Envelope`.
    #[error("error unmarshalling Envelope")]
    Envelope(#[source] prost::DecodeError),
    /// `Envelope.payload` is not a `Payload`.
    #[error("error unmarshalling Payload")]
    Payload(#[source] prost::DecodeError),
    /// `Payload.header` is absent, as in an empty payload.
    #[error("header not set")]
    NoHeader,
    /// `Header.channel_header` is empty.
    #[error("channel header not set")]
    NoChannelHeader,
    /// `Header.channel_header` is not a `ChannelHeader`.
    #[error("error unmarshalling ChannelHeader")]
    ChannelHeader(#[source] prost::DecodeError),
    /// `Header.signature_header` is not a `SignatureHeader`.
    #[error("error unmarshalling SignatureHeader")]
    SignatureHeader(#[source] prost::DecodeError),
}

impl SignedEnvelope {
    /// Finds the parts of an `Envelope`. Copies nothing; unknown fields stay in [`raw`](Self::raw).
    pub fn parse(raw: Bytes) -> Result<Self, EnvelopeError> {
        let Envelope { payload, signature } = lenient::decode(raw.clone()).map_err(EnvelopeError::Envelope)?;
        Ok(Self { raw, payload, signature })
    }

    /// Builds an envelope of `payload` and a signature over it.
    pub fn from_parts(payload: Bytes, signature: Bytes) -> Self {
        let envelope = Envelope { payload, signature };
        let mut raw = BytesMut::with_capacity(envelope.encoded_len());
        // a BytesMut grows as needed: encoding into it cannot fail
        let _ = envelope.encode(&mut raw);
        Self { raw: raw.freeze(), payload: envelope.payload, signature: envelope.signature }
    }

    /// Builds an envelope whose parts another parser found in `raw`.
    pub(crate) fn from_raw_parts(raw: Bytes, payload: Bytes, signature: Bytes) -> Self {
        Self { raw, payload, signature }
    }

    /// Builds an envelope of `payload`, signed by `signer`.
    pub fn sign(payload: Bytes, signer: &dyn Signer) -> Result<Self, SignError> {
        let signature = signer.sign(&payload)?;
        Ok(Self::from_parts(payload, signature))
    }

    /// Returns the envelope as it was received; these bytes go into a block.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Returns the serialized `Payload`, which the signature covers.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns the creator's signature.
    pub fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// Returns the size in bytes that counts toward a channel's batch sizes: payload plus signature.
    pub fn size_bytes(&self) -> usize {
        self.payload.len() + self.signature.len()
    }
}

/// Returns the transaction ID of an envelope's channel header, without decoding anything else; empty if there is none. Takes
/// about 50 ns.
pub fn tx_id(envelope: &SignedEnvelope) -> &[u8] {
    // Payload.header, Header.channel_header, ChannelHeader.tx_id
    let header = field(&envelope.payload, 1).and_then(|header| field(header, 1));
    header.and_then(|header| field(header, 5)).unwrap_or_default()
}

/// Returns the channel name of an envelope that may be a config update, which is expensive to validate; `None` of any other
/// envelope. Does not decode the envelope and takes about 100 ns. An envelope in an unusual encoding (a repeated field)
/// counts as a config update for a channel without a name.
pub fn config_update_channel(raw: &[u8]) -> Option<&[u8]> {
    /// Returns the only field with this number, empty if there is none; `Err` if there are several.
    fn one(message: &[u8], number: u32) -> Result<&[u8], ()> {
        let mut found = None;
        for field in Fields::new(message).flatten() {
            if let (true, Value::Bytes(bytes)) = (field.number == number, field.value)
                && found.replace(bytes).is_some()
            {
                return Err(());
            }
        }
        Ok(found.unwrap_or_default())
    }
    let channel_header = one(raw, 1).and_then(|payload| one(payload, 1)).and_then(|header| one(header, 1));
    let Ok(header) = channel_header else { return Some(&[]) };
    let update = Value::Varint(HeaderType::ConfigUpdate as u64);
    let (mut is_update, mut channel): (bool, &[u8]) = (false, &[]);
    for field in Fields::new(header).flatten() {
        match (field.number, field.value) {
            (1, value) => is_update |= value == update,
            (4, Value::Bytes(name)) => channel = name,
            _ => {}
        }
    }
    is_update.then_some(channel)
}

/// Returns the last length-delimited field with this number, as protobuf prescribes.
fn field(mut message: &[u8], number: u64) -> Option<&[u8]> {
    let mut found = None;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => drop(varint(&mut message)?),
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (content, rest) = message.split_at_checked(length)?;
                message = rest;
                if tag >> 3 == number {
                    found = Some(content);
                }
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    found
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index).min(63);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// An envelope with its payload and channel header parsed.
#[derive(Clone, Debug)]
pub struct ParsedEnvelope {
    /// The envelope that it was parsed from.
    pub envelope: SignedEnvelope,
    /// Header type, channel, time and transaction ID.
    pub channel_header: ChannelHeader,
    /// The serialized `SignatureHeader`, not parsed yet: it may be empty or malformed.
    pub signature_header: Bytes,
    /// The payload's data; the header type determines its message type.
    pub data: Bytes,
}

impl ParsedEnvelope {
    /// Parses the payload and its channel header. The signature header is left to
    /// [`read_signature_header`](Self::read_signature_header), as in Fabric: a malformed signature header is a different
    /// error than a missing channel.
    pub fn parse(envelope: SignedEnvelope) -> Result<Self, EnvelopeError> {
        let Payload { header, data } = lenient::decode(envelope.payload.clone()).map_err(EnvelopeError::Payload)?;
        let header = header.ok_or(EnvelopeError::NoHeader)?;
        if header.channel_header.is_empty() {
            return Err(EnvelopeError::NoChannelHeader);
        }
        let channel_header: ChannelHeader =
            lenient::decode(header.channel_header).map_err(EnvelopeError::ChannelHeader)?;
        Ok(Self { envelope, channel_header, signature_header: header.signature_header, data })
    }

    /// Parses the signature header; an empty one has an empty creator.
    pub fn read_signature_header(&self) -> Result<SignatureHeader, EnvelopeError> {
        lenient::decode(self.signature_header.clone()).map_err(EnvelopeError::SignatureHeader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric_proto::common::Header;
    use proptest::prelude::*;

    #[test]
    fn unknown_fields_stay_in_the_bytes_that_are_stored() {
        let mut raw = Envelope { payload: "p".into(), signature: "s".into() }.encode_to_vec();
        raw.extend([0x7a, 3, 1, 2, 3]); // field 15, not known here
        let envelope = SignedEnvelope::parse(raw.clone().into()).expect("parses");
        assert_eq!(envelope.raw(), &raw);
        assert_eq!(envelope.payload().as_ref(), b"p");
        assert_eq!(envelope.size_bytes(), 2);
    }

    #[test]
    fn the_transaction_is_found_without_decoding() {
        let of = |channel_header: Vec<u8>| {
            let header = Header { channel_header: channel_header.into(), signature_header: "s".into() };
            let payload = Payload { header: Some(header), data: "d".into() };
            let envelope = SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::new());
            String::from_utf8(tx_id(&envelope).to_vec()).expect("text")
        };
        let header =
            ChannelHeader { r#type: 3, tx_id: "abc".into(), epoch: 9, extension: "x".into(), ..Default::default() };
        assert_eq!(of(header.encode_to_vec()), "abc");
        assert_eq!(of(ChannelHeader::default().encode_to_vec()), "");
        assert_eq!(of(vec![0xff; 30]), "");
    }

    #[test]
    fn config_updates_are_found_without_decoding() {
        let payload = |header_type: HeaderType| {
            let channel_header =
                ChannelHeader { r#type: header_type as i32, channel_id: "app".to_owned(), ..Default::default() };
            let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: "s".into() };
            Payload { header: Some(header), data: "d".into() }.encode_to_vec()
        };
        let of = |payload: Vec<u8>| {
            let envelope = SignedEnvelope::from_parts(payload.into(), "s".into());
            config_update_channel(envelope.raw()).map(<[u8]>::to_vec)
        };
        assert_eq!(of(payload(HeaderType::ConfigUpdate)).as_deref(), Some(&b"app"[..]));
        assert_eq!(of(payload(HeaderType::EndorserTransaction)), None);
        // an empty header after it is merged with it
        assert_eq!(of([payload(HeaderType::ConfigUpdate), vec![0x0a, 0]].concat()).as_deref(), Some(&b""[..]));
        assert_eq!(of(vec![0xff; 30]), None);
    }

    #[test]
    fn each_missing_part_is_named() {
        let message = |payload: Payload| {
            ParsedEnvelope::parse(SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::new())).map(|_| ())
        };
        assert_eq!(message(Payload::default()), Err(EnvelopeError::NoHeader));
        let header = |channel_header: &'static [u8]| Payload {
            header: Some(Header { channel_header: channel_header.into(), signature_header: Bytes::new() }),
            data: Bytes::new(),
        };
        assert_eq!(message(header(b"")), Err(EnvelopeError::NoChannelHeader));
        assert!(matches!(message(header(b"zz")), Err(EnvelopeError::ChannelHeader(_))));
        let garbage = SignedEnvelope::from_parts("garbage".into(), Bytes::new());
        assert!(matches!(ParsedEnvelope::parse(garbage), Err(EnvelopeError::Payload(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(envelope) = SignedEnvelope::parse(bytes.clone().into()) {
                let _ = tx_id(&envelope);
                prop_assert_eq!(envelope.raw().as_ref(), &bytes[..]);
                if let Ok(message) = ParsedEnvelope::parse(envelope) {
                    let _ = message.read_signature_header();
                }
            }
        }
    }
}
