//! Whether blocks are a channel's chain: each built on the one before it, signed by somebody who may, and following the
//! configuration that its predecessors made.

use std::sync::Arc;

use fabric_proto::common::HeaderType;

use super::encoded::EncodedBlock;
use super::header::Hash;
use super::verify::{VerifyError, verify_signatures};
use crate::channel::{BlockNumber, ChannelId};
use crate::config::{Catalog, ChannelSnapshot, ConfigError};
use crate::crypto::hex;
use crate::envelope::{EnvelopeError, Message, SignedEnvelope};
use crate::processing::{Refusal, apply_config};

/// Why a block does not belong where it stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Blocks are missing, or one is there twice.
    #[error("block {got} stands where block {expected} should be")]
    Number {
        /// The number that is next.
        expected: BlockNumber,
        /// The block's.
        got: BlockNumber,
    },
    /// It is built on another block.
    #[error("block {number} names previous hash {got}, the block before it has {expected}")]
    Link {
        /// The block.
        number: BlockNumber,
        /// Lowercase hex: hash of the header before it; nothing before block 0.
        expected: String,
        /// Lowercase hex: what the block says.
        got: String,
    },
    /// Nobody who may has signed it.
    #[error(transparent)]
    Signatures(#[from] VerifyError),
    /// It names another block than the newest config block.
    #[error("block {number} names block {got} as the last with a configuration, that is block {expected}")]
    LastConfig {
        /// The block.
        number: BlockNumber,
        /// The newest with a configuration.
        expected: BlockNumber,
        /// What the block says.
        got: BlockNumber,
    },
    /// Its config message cannot be read.
    #[error("block {number}: read its config message")]
    Message {
        /// The block.
        number: BlockNumber,
        /// What is wrong.
        #[source]
        cause: EnvelopeError,
    },
    /// The first configuration.
    #[error("block {number}: read its configuration")]
    Config {
        /// The block.
        number: BlockNumber,
        /// What is wrong.
        #[source]
        cause: ConfigError,
    },
    /// A later configuration is not what its update makes of the one before.
    #[error("block {number}: its configuration does not follow from the one before it")]
    Update {
        /// The block.
        number: BlockNumber,
        /// What is wrong.
        #[source]
        cause: Box<Refusal>,
    },
    /// It configures another channel.
    #[error("block {number} is of channel {got}, not of {expected}")]
    OtherChannel {
        /// The block.
        number: BlockNumber,
        /// The channel.
        expected: ChannelId,
        /// The channel that the block names.
        got: ChannelId,
    },
}

impl ChainError {
    /// The block that is bad.
    pub fn number(&self) -> BlockNumber {
        match self {
            Self::Number { got: number, .. }
            | Self::Signatures(VerifyError::Denied { number, .. })
            | Self::Link { number, .. }
            | Self::LastConfig { number, .. }
            | Self::Message { number, .. }
            | Self::Config { number, .. }
            | Self::Update { number, .. }
            | Self::OtherChannel { number, .. } => *number,
            Self::Signatures(VerifyError::Block(error)) => error.number().unwrap_or(BlockNumber::GENESIS),
        }
    }
}

/// Follows a chain block by block.
#[derive(Debug)]
pub struct ChainCheck {
    channel: Option<ChannelId>,
    catalog: Arc<Catalog>,
    reached: Option<Reached>,
    config_blocks: u64,
    /// Whether all blocks so far changed the configuration.
    config_only: bool,
}

#[derive(Debug)]
struct Reached {
    number: BlockNumber,
    header_hash: Hash,
    last_config: BlockNumber,
    snapshot: ChannelSnapshot,
}

impl ChainCheck {
    /// Begins before block 0; of this channel, or of the one that block 0 names.
    pub fn new(channel: Option<ChannelId>, catalog: Arc<Catalog>) -> Self {
        Self { channel, catalog, reached: None, config_blocks: 0, config_only: true }
    }

    /// The channel, once it is known.
    pub fn channel(&self) -> Option<&ChannelId> {
        self.channel.as_ref()
    }

    /// The configuration that the blocks so far have led to.
    pub fn snapshot(&self) -> Option<&ChannelSnapshot> {
        self.reached.as_ref().map(|reached| &reached.snapshot)
    }

    /// How many blocks changed the configuration, block 0 among them.
    pub fn config_blocks(&self) -> u64 {
        self.config_blocks
    }

    /// Leaves out the blocks before `number`, whose last has this hash. For chains of which only config blocks are kept:
    /// what follows must be signed under the configuration that the blocks so far have led to.
    pub fn skip_to(&mut self, number: BlockNumber, previous_hash: Hash) {
        if let (Some(reached), Some(before)) = (&mut self.reached, number.0.checked_sub(1)) {
            reached.number = BlockNumber(before);
            reached.header_hash = previous_hash;
        }
    }

    /// Takes the next block of a chain that may have been pruned: where only config blocks were kept, any number of others is
    /// gone between two of them and before the first block that follows the last of them. Whether a config block is missing
    /// too is seen by the blocks behind it, which name the newest; what else was there is vouched for by the signature over
    /// the hash that the block behind the gap names.
    ///
    /// # Errors
    /// As [`take`](Self::take); nothing can be taken after that.
    pub fn take_kept(&mut self, block: &EncodedBlock) -> Result<(), ChainError> {
        let is_behind_gap = self.reached.as_ref().is_some_and(|reached| block.number() > reached.number.next());
        // a hash of another length than a hash's is no link
        if let (true, true, Ok(previous_hash)) = (is_behind_gap, self.config_only, block.previous_hash()[..].try_into())
        {
            self.skip_to(block.number(), previous_hash);
        }
        self.take(block)
    }

    /// Takes the next block. Costs a verified signature, and a config update's where there is one.
    ///
    /// # Errors
    /// The block does not belong here; it is not taken.
    pub fn take(&mut self, block: &EncodedBlock) -> Result<(), ChainError> {
        match &self.reached {
            None => self.take_first(block),
            Some(reached) => {
                let next = reached.take(block)?;
                let is_config = next.last_config == block.number();
                self.config_blocks += u64::from(is_config);
                self.config_only &= is_config;
                self.reached = Some(next);
                Ok(())
            }
        }
    }

    fn take_first(&mut self, block: &EncodedBlock) -> Result<(), ChainError> {
        let number = block.number();
        if number != BlockNumber::GENESIS {
            return Err(ChainError::Number { expected: BlockNumber::GENESIS, got: number });
        }
        if !block.previous_hash().is_empty() {
            let got = hex(block.previous_hash());
            return Err(ChainError::Link { number, expected: String::new(), got });
        }
        check_last_config(block, number)?;
        let snapshot = ChannelSnapshot::from_config_block(&block.decode(), &self.catalog)
            .and_then(|snapshot| snapshot.check_supported().map(|()| snapshot))
            .map_err(|cause| ChainError::Config { number, cause })?;
        let got = snapshot.channel().clone();
        match &self.channel {
            Some(expected) if *expected != got => {
                return Err(ChainError::OtherChannel { number, expected: expected.clone(), got });
            }
            _ => self.channel = Some(got),
        }
        self.config_blocks = 1;
        self.reached = Some(Reached { number, header_hash: *block.header_hash(), last_config: number, snapshot });
        Ok(())
    }
}

impl Reached {
    fn take(&self, block: &EncodedBlock) -> Result<Self, ChainError> {
        let number = block.number();
        let expected = self.number.next();
        if number != expected {
            return Err(ChainError::Number { expected, got: number });
        }
        if block.previous_hash()[..] != self.header_hash[..] {
            let (expected, got) = (hex(&self.header_hash), hex(block.previous_hash()));
            return Err(ChainError::Link { number, expected, got });
        }
        verify_signatures(block, &self.snapshot)?;
        let next = self.next_config(block)?;
        let last_config = if next.is_some() { number } else { self.last_config };
        check_last_config(block, last_config)?;
        let snapshot = next.unwrap_or_else(|| self.snapshot.clone());
        Ok(Self { number, header_hash: *block.header_hash(), last_config, snapshot })
    }

    /// The configuration that the block puts in force, if it changes it.
    fn next_config(&self, block: &EncodedBlock) -> Result<Option<ChannelSnapshot>, ChainError> {
        if !block.is_config() {
            return Ok(None);
        }
        let number = block.number();
        let entry = block.decode().data.unwrap_or_default().data.into_iter().next().unwrap_or_default();
        let message = SignedEnvelope::parse(entry).and_then(Message::parse);
        let message = message.map_err(|cause| ChainError::Message { number, cause })?;
        if message.channel_header.r#type != HeaderType::Config as i32 {
            // the system channel's, about another channel
            return Ok(None);
        }
        let next = apply_config(&self.snapshot, &message);
        next.map(Some).map_err(|cause| ChainError::Update { number, cause: Box::new(cause) })
    }
}

fn check_last_config(block: &EncodedBlock, expected: BlockNumber) -> Result<(), ChainError> {
    let (number, got) = (block.number(), block.last_config());
    if got == expected { Ok(()) } else { Err(ChainError::LastConfig { number, expected, got }) }
}
