//! Verifies a sequence of blocks that continues this node's chain.

use std::sync::Arc;

use crate::block::{ChainTip, ChainVerifier, ChainVerifyError, EncodedBlock};
use crate::config::{ChannelSnapshot, ConfigCache};
use crate::types::{BlockNumber, ChannelId};

use super::block_format::BlockFormatError;

/// A verified block of the channel's chain.
#[derive(Clone, Debug)]
pub struct VerifiedBlock {
    /// The block.
    pub block: EncodedBlock,
    /// The new configuration, if the block is a config block of the channel.
    pub snapshot: Option<Arc<ChannelSnapshot>>,
}

/// A block does not belong to the channel's chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceError {
    /// The block does not have the form of an orderer's block.
    #[error(transparent)]
    Shape(#[from] BlockFormatError),
    /// The block does not continue the chain, is not signed as required, or has an invalid configuration.
    #[error(transparent)]
    Chain(#[from] ChainVerifyError),
    /// The block is not the requested one.
    #[error("got unexpected sequence: {got} instead of {expected}")]
    Number {
        /// Requested number.
        expected: BlockNumber,
        /// Received number.
        got: BlockNumber,
    },
    /// The block is not the one that is known to be at this number.
    #[error("block header mismatch on sequence {number}: expected hash {expected}, got {got}")]
    OtherBlock {
        /// Number of the block.
        number: BlockNumber,
        /// Expected hash of its header, lowercase hex.
        expected: String,
        /// Actual hash, lowercase hex.
        got: String,
    },
}

/// Verifies a chain from a block that this node has, or from the genesis block on.
#[derive(Debug)]
pub struct SequenceVerifier(ChainVerifier);

impl SequenceVerifier {
    /// Starts after this block.
    pub fn after(tip: ChainTip) -> Self {
        Self(ChainVerifier::after(tip))
    }

    /// Starts at block 0 of this channel. That block has no signature: the caller must know it, or a later block that it leads
    /// to, from elsewhere.
    pub fn from_genesis(channel: ChannelId, catalog: Arc<ConfigCache>) -> Self {
        Self(ChainVerifier::new(Some(channel), catalog))
    }

    /// Returns the state of the chain; `None` before block 0.
    pub fn tip(&self) -> Option<ChainTip> {
        self.0.tip()
    }

    /// Accepts the next block, as parsed by [`read_block`](super::read_block). Costs the verification of its signatures, and of a
    /// config update where it has one. A rejected block changes nothing.
    ///
    /// # Errors
    /// The block does not continue the chain.
    pub fn verify_next(&mut self, block: EncodedBlock) -> Result<VerifiedBlock, SequenceError> {
        let configs = self.0.config_blocks();
        self.0.verify_next(&block)?;
        let changed = self.0.config_blocks() > configs;
        let snapshot = self.0.snapshot().filter(|_| changed).map(|snapshot| Arc::new(snapshot.clone()));
        Ok(VerifiedBlock { block, snapshot })
    }
}
