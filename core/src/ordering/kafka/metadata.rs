//! Offsets, and those of them that a block remembers.

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
    /// Where a topic begins.
    pub const FIRST: Self = Self(0);
    /// What stands for "no record yet" where the newest record taken is meant.
    pub const BEFORE_FIRST: Self = Self(-1);

    /// The offset behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The offset before this one.
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

/// What a block remembers of the topic, as its consenter metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KafkaMetadata {
    /// All that came of the records up to here is in this block or before it.
    pub last_offset_persisted: KafkaOffset,
    /// The highest original offset of a re-ordered message that was taken; a copy of it, or of an older one, is dropped.
    pub last_original_offset_processed: KafkaOffset,
    /// Where the last config message stood that was ordered again. Zero in a block that a TIMETOCUT ended, whatever the
    /// machine knows: the reference writes it so.
    pub last_resubmitted_config_offset: KafkaOffset,
}

impl KafkaMetadata {
    /// What a chain begins with whose last block remembers nothing.
    pub const NONE: Self = Self {
        last_offset_persisted: KafkaOffset::BEFORE_FIRST,
        last_original_offset_processed: KafkaOffset(0),
        last_resubmitted_config_offset: KafkaOffset(0),
    };

    /// As it stands in a block.
    pub fn encode(&self) -> Bytes {
        let message = orderer::KafkaMetadata {
            last_offset_persisted: self.last_offset_persisted.0,
            last_original_offset_processed: self.last_original_offset_processed.0,
            last_resubmitted_config_offset: self.last_resubmitted_config_offset.0,
        };
        message.encode_to_vec().into()
    }

    /// Reads it from a block.
    pub fn decode(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        let message = orderer::KafkaMetadata::decode(bytes)?;
        Ok(Self {
            last_offset_persisted: KafkaOffset(message.last_offset_persisted),
            last_original_offset_processed: KafkaOffset(message.last_original_offset_processed),
            last_resubmitted_config_offset: KafkaOffset(message.last_resubmitted_config_offset),
        })
    }
}
