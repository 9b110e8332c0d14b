//! Offsets of a topic, and the consenter metadata of a block, which consists of them.

use std::fmt;

use bytes::Bytes;
use fabric_proto::orderer;
use prost::Message as _;
use serde::Serialize;

/// Position of a record in a channel's topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KafkaOffset(pub i64);

impl KafkaOffset {
    /// Offset of a topic's first record.
    pub const FIRST: Self = Self(0);
    /// Value of "the newest processed record" when there is none yet.
    pub const BEFORE_FIRST: Self = Self(-1);

    /// Returns the offset after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the offset before this one.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for KafkaOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Consenter metadata of a block: the chain's position in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KafkaMetadata {
    /// All effects of the records up to this offset are in this block or before it.
    pub last_offset_persisted: KafkaOffset,
    /// Highest original offset of a processed message that was produced again; another copy of it, or of an older one,
    /// is dropped.
    pub last_original_offset_processed: KafkaOffset,
    /// Offset of the last config message that was produced again. Zero in a block that a TIMETOCUT ended, whatever the
    /// machine's state, as in Fabric.
    pub last_resubmitted_config_offset: KafkaOffset,
}

impl KafkaMetadata {
    /// Initial value, for a chain whose last block has no metadata.
    pub const NONE: Self = Self {
        last_offset_persisted: KafkaOffset::BEFORE_FIRST,
        last_original_offset_processed: KafkaOffset(0),
        last_resubmitted_config_offset: KafkaOffset(0),
    };

    /// Encodes the metadata as a block holds it.
    pub fn encode(&self) -> Bytes {
        let message = orderer::KafkaMetadata {
            last_offset_persisted: self.last_offset_persisted.0,
            last_original_offset_processed: self.last_original_offset_processed.0,
            last_resubmitted_config_offset: self.last_resubmitted_config_offset.0,
        };
        message.encode_to_vec().into()
    }

    /// Decodes the metadata of a block.
    pub fn decode(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        let message = orderer::KafkaMetadata::decode(bytes)?;
        Ok(Self {
            last_offset_persisted: KafkaOffset(message.last_offset_persisted),
            last_original_offset_processed: KafkaOffset(message.last_original_offset_processed),
            last_resubmitted_config_offset: KafkaOffset(message.last_resubmitted_config_offset),
        })
    }
}
