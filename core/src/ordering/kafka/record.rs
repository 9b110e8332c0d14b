//! Encodes and decodes the records of a topic. The encoded bytes are exactly those of Fabric.

use bytes::Bytes;
use fabric_proto::orderer::kafka_message::Type;
use fabric_proto::orderer::kafka_message_regular::Class as WireClass;
use fabric_proto::orderer::{KafkaMessage, KafkaMessageConnect, KafkaMessageRegular, KafkaMessageTimeToCut};
use prost::Message as _;

use super::canonical_form::{self, MalformedEnvelope};
use super::metadata::KafkaOffset;
use crate::envelope::SignedEnvelope;
use crate::types::{BlockNumber, ConfigSequence};

/// Key of every record: the number of the only partition, as text.
pub const RECORD_KEY: &[u8] = b"0";

/// Decoded value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// CONNECT: an orderer connected; has no effect on the chain.
    Connect,
    /// TIMETOCUT: an orderer's batch timer expired before this block was cut.
    TimeToCut(BlockNumber),
    /// REGULAR: a message.
    Regular(RegularMessage),
    /// A value that no orderer writes.
    Malformed(MalformedRecord),
}

/// A message in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegularMessage {
    /// Class that the producing orderer determined.
    pub class: RecordClass,
    /// The message.
    pub envelope: SignedEnvelope,
    /// Sequence of the configuration under which the message was found valid.
    pub config_sequence: ConfigSequence,
    /// Offset of the message before it was produced again, if it was. (The wire format has zero for "was not", so a
    /// message that was at offset 0 cannot be distinguished from a new one.)
    pub original_offset: Option<KafkaOffset>,
}

/// Class of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordClass {
    /// The producing orderer is older than this distinction.
    Unknown,
    /// A normal message.
    Normal,
    /// A CONFIG or ORDERER_TRANSACTION message.
    Config,
    /// A number that no orderer writes.
    Other(i32),
}

/// Reason why a record cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedRecord {
    /// The record has no value.
    #[error("the record has no value")]
    NoValue,
    /// The value is not a `KafkaMessage`.
    #[error("the value is not a KafkaMessage: {0}")]
    NotAKafkaMessage(prost::DecodeError),
    /// The `KafkaMessage` has no known type.
    #[error("the KafkaMessage is none of CONNECT, TIMETOCUT and REGULAR")]
    NoType,
    /// The payload of a REGULAR message is not an envelope.
    #[error("the payload of the REGULAR message is not an envelope: {0}")]
    NotAnEnvelope(#[from] MalformedEnvelope),
}

impl Record {
    /// Decodes a record's value. Copies nothing, except for an envelope in an unusual encoding: that is converted to the
    /// form in which Fabric stores it.
    pub fn decode(value: Option<Bytes>) -> Self {
        let Some(value) = value else { return Self::Malformed(MalformedRecord::NoValue) };
        match KafkaMessage::decode(value).map(|message| message.r#type) {
            Ok(Some(Type::Connect(_))) => Self::Connect,
            Ok(Some(Type::TimeToCut(ttc))) => Self::TimeToCut(BlockNumber(ttc.block_number)),
            Ok(Some(Type::Regular(regular))) => match RegularMessage::read(regular) {
                Ok(regular) => Self::Regular(regular),
                Err(cause) => Self::Malformed(cause.into()),
            },
            Ok(None) => Self::Malformed(MalformedRecord::NoType),
            Err(cause) => Self::Malformed(MalformedRecord::NotAKafkaMessage(cause)),
        }
    }
}

impl RegularMessage {
    fn read(message: KafkaMessageRegular) -> Result<Self, MalformedEnvelope> {
        Ok(Self {
            class: match WireClass::try_from(message.class) {
                Ok(WireClass::Unknown) => RecordClass::Unknown,
                Ok(WireClass::Normal) => RecordClass::Normal,
                Ok(WireClass::Config) => RecordClass::Config,
                Err(_) => RecordClass::Other(message.class),
            },
            envelope: canonical_form::parse(message.payload)?,
            config_sequence: ConfigSequence(message.config_seq),
            original_offset: Some(KafkaOffset(message.original_offset)).filter(|offset| offset.0 != 0),
        })
    }

    /// Creates the record of a message that Broadcast accepted.
    pub fn accepted(envelope: SignedEnvelope, config_sequence: ConfigSequence, is_config: bool) -> Self {
        let class = if is_config { RecordClass::Config } else { RecordClass::Normal };
        Self { class, envelope, config_sequence, original_offset: None }
    }

    /// Encodes a record's value.
    pub fn encode(&self) -> Bytes {
        value(Type::Regular(KafkaMessageRegular {
            payload: self.envelope.raw().clone(),
            config_seq: self.config_sequence.0,
            class: match self.class {
                RecordClass::Unknown => WireClass::Unknown as i32,
                RecordClass::Normal => WireClass::Normal as i32,
                RecordClass::Config => WireClass::Config as i32,
                RecordClass::Other(number) => number,
            },
            original_offset: self.original_offset.unwrap_or_default().0,
        }))
    }
}

/// Encodes the value of a CONNECT record.
pub fn encode_connect() -> Bytes {
    value(Type::Connect(KafkaMessageConnect::default()))
}

/// Encodes the value of a record that asks all orderers to cut `block`.
pub fn encode_time_to_cut(block: BlockNumber) -> Bytes {
    value(Type::TimeToCut(KafkaMessageTimeToCut { block_number: block.0 }))
}

fn value(r#type: Type) -> Bytes {
    KafkaMessage { r#type: Some(r#type) }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_connect_record_is_the_references_two_bytes() {
        assert_eq!(encode_connect().as_ref(), [0x1a, 0]);
        assert_eq!(Record::decode(Some(encode_connect())), Record::Connect);
    }

    #[test]
    fn what_is_no_record_is_named() {
        let decode = |value: &'static [u8]| Record::decode(Some(value.into()));
        assert_eq!(Record::decode(None), Record::Malformed(MalformedRecord::NoValue));
        assert_eq!(decode(b""), Record::Malformed(MalformedRecord::NoType));
        assert_eq!(decode(&[0x7a, 0]), Record::Malformed(MalformedRecord::NoType), "a kind of later days");
        assert!(matches!(decode(b"garbage"), Record::Malformed(MalformedRecord::NotAKafkaMessage(_))));
        let bad_payload = value(Type::Regular(KafkaMessageRegular { payload: "zz".into(), ..Default::default() }));
        assert!(matches!(Record::decode(Some(bad_payload)), Record::Malformed(MalformedRecord::NotAnEnvelope(_))));
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_back(
            payload: Vec<u8>, signature: Vec<u8>, sequence: u64, original: Option<i64>, class in 0i32..5, block: u64,
        ) {
            let class = match class {
                0 => RecordClass::Unknown,
                1 => RecordClass::Normal,
                2 => RecordClass::Config,
                other => RecordClass::Other(other),
            };
            let regular = RegularMessage {
                class,
                envelope: SignedEnvelope::from_parts(payload.into(), signature.into()),
                config_sequence: ConfigSequence(sequence),
                original_offset: original.map(KafkaOffset).filter(|o| o.0 != 0),
            };
            prop_assert_eq!(Record::decode(Some(regular.encode())), Record::Regular(regular));
            let block = BlockNumber(block);
            prop_assert_eq!(Record::decode(Some(encode_time_to_cut(block))), Record::TimeToCut(block));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::decode(Some(bytes.into()));
        }
    }
}
