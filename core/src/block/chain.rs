//! Verifies that blocks are a channel's chain: each block links to the one before it, is signed as the channel's policy
//! requires, and follows the configuration that its predecessors put in force.

use std::sync::Arc;

use fabric_proto::common::HeaderType;

use super::encoded::EncodedBlock;
use super::header::Hash;
use super::verify::{BlockSignatureError, verify_block_signatures};
use crate::config::{ChannelSnapshot, ConfigCache, ConfigError};
use crate::crypto::hex;
use crate::envelope::{EnvelopeError, ParsedEnvelope, SignedEnvelope};
use crate::processing::{Rejection, apply_config};
use crate::types::{BlockNumber, ChannelId};

/// A block does not continue the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainVerifyError {
    /// A block is missing or repeated.
    #[error("block {got} stands where block {expected} should be")]
    Number {
        /// The next block's number.
        expected: BlockNumber,
        /// Number of the block.
        got: BlockNumber,
    },
    /// The block links to another block.
    #[error("block {number} names previous hash {got}, the block before it has {expected}")]
    Link {
        /// Number of the block.
        number: BlockNumber,
        /// Hash of the previous block's header in lowercase hex; empty before block 0.
        expected: String,
        /// Previous hash in the block, in lowercase hex.
        got: String,
    },
    /// The signatures do not satisfy the channel's policy.
    #[error(transparent)]
    Signatures(#[from] BlockSignatureError),
    /// The block names another block than the newest config block.
    #[error("block {number} names block {got} as the last with a configuration, that is block {expected}")]
    LastConfig {
        /// Number of the block.
        number: BlockNumber,
        /// Number of the newest config block.
        expected: BlockNumber,
        /// Number in the block's metadata.
        got: BlockNumber,
    },
    /// The block's config message cannot be parsed.
    #[error("block {number}: read its config message")]
    Message {
        /// Number of the block.
        number: BlockNumber,
        /// Error of the envelope.
        #[source]
        cause: EnvelopeError,
    },
    /// The configuration in block 0 is invalid.
    #[error("block {number}: read its configuration")]
    Config {
        /// Number of the block.
        number: BlockNumber,
        /// Error of the configuration.
        #[source]
        cause: ConfigError,
    },
    /// The configuration is not the result of applying its update to the one before.
    #[error("block {number}: its configuration does not follow from the one before it")]
    Update {
        /// Number of the block.
        number: BlockNumber,
        /// Error of the update.
        #[source]
        cause: Box<Rejection>,
    },
    /// Block 0 configures another channel.
    #[error("block {number} is of channel {got}, not of {expected}")]
    OtherChannel {
        /// Number of the block.
        number: BlockNumber,
        /// Expected channel.
        expected: ChannelId,
        /// Channel in the block.
        got: ChannelId,
    },
}

impl ChainVerifyError {
    /// Returns the number of the invalid block.
    pub fn number(&self) -> BlockNumber {
        match self {
            Self::Number { got: number, .. }
            | Self::Signatures(BlockSignatureError::Denied { number, .. })
            | Self::Link { number, .. }
            | Self::LastConfig { number, .. }
            | Self::Message { number, .. }
            | Self::Config { number, .. }
            | Self::Update { number, .. }
            | Self::OtherChannel { number, .. } => *number,
            Self::Signatures(BlockSignatureError::Block(error)) => error.number().unwrap_or(BlockNumber::GENESIS),
        }
    }
}

/// Verifies a chain block by block.
#[derive(Debug)]
pub struct ChainVerifier {
    channel: Option<ChannelId>,
    catalog: Arc<ConfigCache>,
    reached: Option<ChainTip>,
    config_blocks: u64,
    /// Whether all blocks so far are config blocks.
    config_only: bool,
}

/// State of a chain after a block, which determines the block that can follow.
#[derive(Clone, Debug)]
pub struct ChainTip {
    /// Number of the newest block.
    pub number: BlockNumber,
    /// Hash of its header.
    pub header_hash: Hash,
    /// Number of the newest config block, this one included.
    pub last_config: BlockNumber,
    /// Configuration in force after the block.
    pub snapshot: ChannelSnapshot,
}

impl ChainTip {
    /// Returns the state after the block `newest`, with the configuration that is in force after it.
    pub fn of(newest: &EncodedBlock, snapshot: ChannelSnapshot) -> Self {
        let (number, last_config) = (newest.number(), newest.last_config());
        Self { number, header_hash: *newest.header_hash(), last_config, snapshot }
    }
}

impl ChainVerifier {
    /// Starts before block 0, for this channel or for the one that block 0 names.
    pub fn new(channel: Option<ChannelId>, catalog: Arc<ConfigCache>) -> Self {
        Self { channel, catalog, reached: None, config_blocks: 0, config_only: true }
    }

    /// Starts after a block that is known to belong to the channel.
    pub fn after(tip: ChainTip) -> Self {
        Self {
            channel: Some(tip.snapshot.channel().clone()),
            catalog: Arc::clone(tip.snapshot.catalog()),
            reached: Some(tip),
            config_blocks: 0,
            config_only: false,
        }
    }

    /// Returns the state of the chain; `None` before block 0.
    pub fn tip(&self) -> Option<ChainTip> {
        self.reached.clone()
    }

    /// Returns the channel, once it is known.
    pub fn channel(&self) -> Option<&ChannelId> {
        self.channel.as_ref()
    }

    /// Returns the configuration that the blocks so far put in force.
    pub fn snapshot(&self) -> Option<&ChannelSnapshot> {
        self.reached.as_ref().map(|reached| &reached.snapshot)
    }

    /// Returns the number of blocks that changed the configuration, block 0 included.
    pub fn config_blocks(&self) -> u64 {
        self.config_blocks
    }

    /// Skips the blocks before `number`, the last of which has this header hash. For chains of which only config blocks were
    /// kept: the next block must be signed under the configuration that the blocks so far put in force.
    pub fn skip_to(&mut self, number: BlockNumber, previous_hash: Hash) {
        if let (Some(reached), Some(before)) = (&mut self.reached, number.0.checked_sub(1)) {
            reached.number = BlockNumber(before);
            reached.header_hash = previous_hash;
        }
    }

    /// Accepts the next block of a chain that may have been pruned. As long as only config blocks were kept, any number of
    /// other blocks may be missing between two of them, and before the first block that follows the last of them. A missing
    /// config block is detected at the next block, which names the newest config block. The other missing blocks are covered
    /// by the signature of the block after the gap, which names the hash of its predecessor.
    ///
    /// # Errors
    /// Fails as [`verify_next`](Self::verify_next); no block can be accepted after a failure.
    pub fn verify_next_pruned(&mut self, block: &EncodedBlock) -> Result<(), ChainVerifyError> {
        let is_behind_gap = self.reached.as_ref().is_some_and(|reached| block.number() > reached.number.next());
        // a hash of another length than a hash's is no link
        if let (true, true, Ok(previous_hash)) = (is_behind_gap, self.config_only, block.previous_hash()[..].try_into())
        {
            self.skip_to(block.number(), previous_hash);
        }
        self.verify_next(block)
    }

    /// Accepts the next block. Costs the verification of its signatures, and of a config update where it has one.
    ///
    /// # Errors
    /// The block does not continue the chain; it is not accepted.
    pub fn verify_next(&mut self, block: &EncodedBlock) -> Result<(), ChainVerifyError> {
        match &self.reached {
            None => self.verify_first(block),
            Some(reached) => {
                let next = reached.verify_next(block)?;
                let is_config = next.last_config == block.number();
                self.config_blocks += u64::from(is_config);
                self.config_only &= is_config;
                self.reached = Some(next);
                Ok(())
            }
        }
    }

    fn verify_first(&mut self, block: &EncodedBlock) -> Result<(), ChainVerifyError> {
        let number = block.number();
        if number != BlockNumber::GENESIS {
            return Err(ChainVerifyError::Number { expected: BlockNumber::GENESIS, got: number });
        }
        if !block.previous_hash().is_empty() {
            let got = hex(block.previous_hash());
            return Err(ChainVerifyError::Link { number, expected: String::new(), got });
        }
        check_last_config(block, number)?;
        let snapshot = ChannelSnapshot::from_config_block(&block.decode(), &self.catalog)
            .and_then(|snapshot| snapshot.check_supported().map(|()| snapshot))
            .map_err(|cause| ChainVerifyError::Config { number, cause })?;
        let got = snapshot.channel().clone();
        match &self.channel {
            Some(expected) if *expected != got => {
                return Err(ChainVerifyError::OtherChannel { number, expected: expected.clone(), got });
            }
            _ => self.channel = Some(got),
        }
        self.config_blocks = 1;
        self.reached = Some(ChainTip { number, header_hash: *block.header_hash(), last_config: number, snapshot });
        Ok(())
    }
}

impl ChainTip {
    fn verify_next(&self, block: &EncodedBlock) -> Result<Self, ChainVerifyError> {
        let number = block.number();
        let expected = self.number.next();
        if number != expected {
            return Err(ChainVerifyError::Number { expected, got: number });
        }
        if block.previous_hash()[..] != self.header_hash[..] {
            let (expected, got) = (hex(&self.header_hash), hex(block.previous_hash()));
            return Err(ChainVerifyError::Link { number, expected, got });
        }
        verify_block_signatures(block, &self.snapshot)?;
        let next = self.next_config(block)?;
        let last_config = if next.is_some() { number } else { self.last_config };
        check_last_config(block, last_config)?;
        let snapshot = next.unwrap_or_else(|| self.snapshot.clone());
        Ok(Self { number, header_hash: *block.header_hash(), last_config, snapshot })
    }

    /// Returns the configuration that the block puts in force; `None` if it does not change the channel's configuration.
    fn next_config(&self, block: &EncodedBlock) -> Result<Option<ChannelSnapshot>, ChainVerifyError> {
        if !block.is_config() {
            return Ok(None);
        }
        let number = block.number();
        let entry = block.decode().data.unwrap_or_default().data.into_iter().next().unwrap_or_default();
        let message = SignedEnvelope::parse(entry).and_then(ParsedEnvelope::parse);
        let message = message.map_err(|cause| ChainVerifyError::Message { number, cause })?;
        if message.channel_header.r#type != HeaderType::Config as i32 {
            // a message of the system channel that creates another channel
            return Ok(None);
        }
        let next = apply_config(&self.snapshot, &message);
        next.map(Some).map_err(|cause| ChainVerifyError::Update { number, cause: Box::new(cause) })
    }
}

fn check_last_config(block: &EncodedBlock, expected: BlockNumber) -> Result<(), ChainVerifyError> {
    let (number, got) = (block.number(), block.last_config());
    if got == expected { Ok(()) } else { Err(ChainVerifyError::LastConfig { number, expected, got }) }
}
