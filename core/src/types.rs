//! Names and numbers of a channel, each a type of its own: a mix-up between them would fork a chain.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The longest channel id the protocol allows, in bytes.
pub const MAX_CHANNEL_ID_BYTES: usize = 249;

/// Name of a channel: 1 to 249 characters of `[a-z][a-z0-9.-]*`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(Arc<str>);

/// A text is not a valid channel ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelIdError {
    /// The text is empty.
    #[error("channel ID illegal, cannot be empty")]
    Empty,
    /// The text has more than [`MAX_CHANNEL_ID_BYTES`] bytes.
    #[error("channel ID illegal, cannot be longer than {MAX_CHANNEL_ID_BYTES}, has {0}")]
    TooLong(usize),
    /// A character is not allowed, or not allowed in front.
    #[error("'{0}' contains illegal characters: a channel ID begins with a-z, followed by a-z, 0-9, '.' and '-'")]
    Illegal(String),
}

impl ChannelId {
    /// Validates `text` and makes it a channel ID.
    pub fn parse(text: &str) -> Result<Self, ChannelIdError> {
        if text.is_empty() {
            return Err(ChannelIdError::Empty);
        }
        if text.len() > MAX_CHANNEL_ID_BYTES {
            return Err(ChannelIdError::TooLong(text.len()));
        }
        let first_is_letter = text.as_bytes()[0].is_ascii_lowercase();
        let rest_is_allowed =
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        if first_is_letter && rest_is_allowed {
            Ok(Self(text.into()))
        } else {
            Err(ChannelIdError::Illegal(text.into()))
        }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for ChannelId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Position of a block in its channel; the genesis block is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BlockNumber(pub u64);

impl BlockNumber {
    /// The genesis block.
    pub const GENESIS: Self = Self(0);

    /// Returns the number of the block after this one. The highest number is its own successor; no
    /// block has it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for BlockNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of configuration updates that a channel has had; 0 in its genesis block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConfigSequence(pub u64);

impl ConfigSequence {
    /// Returns the sequence after the next update. The last number is followed by 0, as in Fabric.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for ConfigSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Point in time in seconds since 1970, given by the caller: nothing in this crate reads a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_id_follows_the_protocol() {
        for good in ["a", "mychan", "a.b-c9", &"x".repeat(MAX_CHANNEL_ID_BYTES)] {
            assert_eq!(ChannelId::parse(good).map(|c| c.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(ChannelId::parse(""), Err(ChannelIdError::Empty));
        assert_eq!(ChannelId::parse(&"x".repeat(250)), Err(ChannelIdError::TooLong(250)));
        for bad in [".", "..", "A", "Upper", "1abc", "-abc", "a_b", "a b", "ch/an", "é", "a\n"] {
            assert_eq!(ChannelId::parse(bad), Err(ChannelIdError::Illegal(bad.into())), "{bad:?}");
        }
    }
}
