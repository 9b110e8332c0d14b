//! The records of a topic, read and made. What is made here is byte for byte what the reference makes.

use bytes::Bytes;
use fabric_proto::orderer::kafka_message::Type;
use fabric_proto::orderer::kafka_message_regular::Class as WireClass;
use fabric_proto::orderer::{KafkaMessage, KafkaMessageConnect, KafkaMessageRegular, KafkaMessageTimeToCut};
use prost::Message as _;

use super::metadata::KafkaOffset;
use super::normal_form::{self, NotAnEnvelope};
use crate::channel::{BlockNumber, ConfigSequence};
use crate::envelope::SignedEnvelope;

/// Every record's key: the number of the one partition, as text.
pub const RECORD_KEY: &[u8] = b"0";

/// One record's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// CONNECT: an orderer came up; means nothing to the chain.
    Connect,
    /// TIMETOCUT: an orderer's batch timer ran out before this block was cut.
    TimeToCut(BlockNumber),
    /// REGULAR: a message.
    Regular(Regular),
    /// Nothing that an orderer writes.
    Malformed(Malformed),
}

/// A message in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regular {
    /// What the orderer that produced it found it to be.
    pub class: RecordClass,
    /// The message.
    pub envelope: SignedEnvelope,
    /// The configuration it was found valid under.
    pub config_sequence: ConfigSequence,
    /// Where it stood before it was ordered again, if it was. (On the wire "not" is zero; so a message that stood at
    /// offset 0 cannot be told from one that is new.)
    pub original_offset: Option<KafkaOffset>,
}

/// What a message was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordClass {
    /// By an orderer older than the distinction.
    Unknown,
    /// An ordinary message.
    Normal,
    /// CONFIG or ORDERER_TRANSACTION.
    Config,
    /// A number that no orderer writes.
    Other(i32),
}

/// Why a record is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It has no value.
    #[error("the record has no value")]
    NoValue,
    /// Its value is not a `KafkaMessage`.
    #[error("the value is not a KafkaMessage: {0}")]
    NotAKafkaMessage(prost::DecodeError),
    /// A `KafkaMessage` of no kind known here.
    #[error("the KafkaMessage is none of CONNECT, TIMETOCUT and REGULAR")]
    NoType,
    /// The payload of a REGULAR message is not an envelope.
    #[error("the payload of the REGULAR message is not an envelope: {0}")]
    NotAnEnvelope(#[from] NotAnEnvelope),
}

impl Record {
    /// Reads a record's value. Copies nothing, save for an envelope that is written oddly: that is brought into the form
    /// in which the reference stores it.
    pub fn decode(value: Option<Bytes>) -> Self {
        let Some(value) = value else { return Self::Malformed(Malformed::NoValue) };
        match KafkaMessage::decode(value).map(|message| message.r#type) {
            Ok(Some(Type::Connect(_))) => Self::Connect,
            Ok(Some(Type::TimeToCut(ttc))) => Self::TimeToCut(BlockNumber(ttc.block_number)),
            Ok(Some(Type::Regular(regular))) => match Regular::read(regular) {
                Ok(regular) => Self::Regular(regular),
                Err(cause) => Self::Malformed(cause.into()),
            },
            Ok(None) => Self::Malformed(Malformed::NoType),
            Err(cause) => Self::Malformed(Malformed::NotAKafkaMessage(cause)),
        }
    }
}

impl Regular {
    fn read(message: KafkaMessageRegular) -> Result<Self, NotAnEnvelope> {
        Ok(Self {
            class: match WireClass::try_from(message.class) {
                Ok(WireClass::Unknown) => RecordClass::Unknown,
                Ok(WireClass::Normal) => RecordClass::Normal,
                Ok(WireClass::Config) => RecordClass::Config,
                Err(_) => RecordClass::Other(message.class),
            },
            envelope: normal_form::parse(message.payload)?,
            config_sequence: ConfigSequence(message.config_seq),
            original_offset: Some(KafkaOffset(message.original_offset)).filter(|offset| offset.0 != 0),
        })
    }

    /// A message that Broadcast took, to be produced.
    pub fn accepted(envelope: SignedEnvelope, config_sequence: ConfigSequence, is_config: bool) -> Self {
        let class = if is_config { RecordClass::Config } else { RecordClass::Normal };
        Self { class, envelope, config_sequence, original_offset: None }
    }

    /// As a record's value.
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

/// The value of a CONNECT record.
pub fn encode_connect() -> Bytes {
    value(Type::Connect(KafkaMessageConnect::default()))
}

/// The value of a record that asks for `block` to be cut.
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
        assert_eq!(Record::decode(None), Record::Malformed(Malformed::NoValue));
        assert_eq!(decode(b""), Record::Malformed(Malformed::NoType));
        assert_eq!(decode(&[0x7a, 0]), Record::Malformed(Malformed::NoType), "a kind of later days");
        assert!(matches!(decode(b"garbage"), Record::Malformed(Malformed::NotAKafkaMessage(_))));
        let bad_payload = value(Type::Regular(KafkaMessageRegular { payload: "zz".into(), ..Default::default() }));
        assert!(matches!(Record::decode(Some(bad_payload)), Record::Malformed(Malformed::NotAnEnvelope(_))));
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
            let regular = Regular {
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
