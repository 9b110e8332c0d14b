//! Verifies the newest config block of another orderer, from which a node learns whether it is still a consenter.

use std::sync::Arc;

use crate::block::{BlockSignatureError, ChainTip, EncodedBlock, verify_block_signatures};
use crate::config::{ChannelSnapshot, ConfigError};
use crate::types::{BlockNumber, ChannelId};

use super::sequence::{SequenceError, SequenceVerifier};

/// A config block and its configuration.
#[derive(Clone, Debug)]
pub struct LatestConfig {
    /// The block.
    pub block: EncodedBlock,
    /// Configuration in the block.
    pub snapshot: Arc<ChannelSnapshot>,
}

/// The newest config block of an orderer is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LatestConfigError {
    /// The newest block or the config block does not have the signatures that this node's configuration requires.
    #[error(transparent)]
    Signatures(#[from] BlockSignatureError),
    /// The blocks after the config block do not continue it.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The newest block names a later block as its last config block.
    #[error("block {number} names block {named} as the last with a configuration")]
    Index {
        /// Number of the newest block.
        number: BlockNumber,
        /// Number in its metadata.
        named: BlockNumber,
    },
    /// The block is not the one that the newest block names.
    #[error("got unexpected sequence: {got} instead of {expected}")]
    Number {
        /// Requested number.
        expected: BlockNumber,
        /// Received number.
        got: BlockNumber,
    },
    /// The block has no valid configuration.
    #[error("block {number} is to hold the newest configuration: {cause}")]
    Config {
        /// Number of the block.
        number: BlockNumber,
        /// Error of the configuration.
        #[source]
        cause: ConfigError,
    },
    /// The block configures another channel.
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

/// Verifies the newest block of an orderer by this node's configuration, as Fabric does before it uses the last config block's
/// number in that block. Returns that number.
///
/// # Errors
/// The block is not signed as this node's configuration requires, or names a later block.
pub fn verify_latest_config(newest: &EncodedBlock, own: &ChannelSnapshot) -> Result<BlockNumber, LatestConfigError> {
    // the genesis block has no signature
    if newest.number() != BlockNumber::GENESIS {
        verify_block_signatures(newest, own)?;
    }
    let (number, named) = (newest.number(), newest.last_config());
    if named > number { Err(LatestConfigError::Index { number, named }) } else { Ok(named) }
}

impl LatestConfig {
    /// Verifies block `expected`, which an orderer's newest block names as the last config block, by this node's configuration.
    /// As in Fabric, the block may be any number of configurations later and does not have to follow from this node's. Blocks
    /// signed by orderers that this node's configuration does not know are therefore rejected; the node then has to replicate the
    /// chain block by block.
    ///
    /// # Errors
    /// Fails if the block is not the expected one, is not signed as required, or has no valid configuration of this channel.
    pub fn judge(block: EncodedBlock, expected: BlockNumber, own: &ChannelSnapshot) -> Result<Self, LatestConfigError> {
        let number = block.number();
        if number != expected {
            return Err(LatestConfigError::Number { expected, got: number });
        }
        if number != BlockNumber::GENESIS {
            verify_block_signatures(&block, own)?;
        }
        let snapshot = ChannelSnapshot::from_config_block(&block.decode(), own.catalog())
            .map_err(|cause| LatestConfigError::Config { number, cause })?;
        if snapshot.channel() != own.channel() {
            let (expected, got) = (own.channel().clone(), snapshot.channel().clone());
            return Err(LatestConfigError::OtherChannel { number, expected, got });
        }
        Ok(Self { block, snapshot: Arc::new(snapshot) })
    }

    /// Returns a sequence that verifies the blocks after this one.
    pub fn followers(&self) -> SequenceVerifier {
        SequenceVerifier::after(ChainTip {
            number: self.block.number(),
            header_hash: *self.block.header_hash(),
            last_config: self.block.number(),
            snapshot: ChannelSnapshot::clone(&self.snapshot),
        })
    }
}
