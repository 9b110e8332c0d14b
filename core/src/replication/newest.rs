//! Verifies the newest config block of another orderer, from which a node learns whether it is still a consenter.

use std::sync::Arc;

use crate::block::{ChainTip, EncodedBlock, VerifyError, verify_signatures};
use crate::channel::{BlockNumber, ChannelId};
use crate::config::{ChannelSnapshot, ConfigError};

use super::sequence::{Sequence, SequenceError};

/// A config block and its configuration.
#[derive(Clone, Debug)]
pub struct NewestConfig {
    /// The block.
    pub block: EncodedBlock,
    /// Configuration in the block.
    pub snapshot: Arc<ChannelSnapshot>,
}

/// The newest config block of an orderer is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewestConfigError {
    /// The newest block or the config block does not have the signatures that this node's configuration requires.
    #[error(transparent)]
    Signatures(#[from] VerifyError),
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
pub fn check_newest(newest: &EncodedBlock, own: &ChannelSnapshot) -> Result<BlockNumber, NewestConfigError> {
    // the genesis block has no signature
    if newest.number() != BlockNumber::GENESIS {
        verify_signatures(newest, own)?;
    }
    let (number, named) = (newest.number(), newest.last_config());
    if named > number { Err(NewestConfigError::Index { number, named }) } else { Ok(named) }
}

impl NewestConfig {
    /// Verifies block `expected`, which an orderer's newest block names as the last config block, by this node's configuration.
    /// As in Fabric, the block may be any number of configurations later and does not have to follow from this node's. Blocks
    /// signed by orderers that this node's configuration does not know are therefore rejected; the node then has to replicate the
    /// chain block by block.
    ///
    /// # Errors
    /// Fails if the block is not the expected one, is not signed as required, or has no valid configuration of this channel.
    pub fn judge(block: EncodedBlock, expected: BlockNumber, own: &ChannelSnapshot) -> Result<Self, NewestConfigError> {
        let number = block.number();
        if number != expected {
            return Err(NewestConfigError::Number { expected, got: number });
        }
        if number != BlockNumber::GENESIS {
            verify_signatures(&block, own)?;
        }
        let snapshot = ChannelSnapshot::from_config_block(&block.decode(), own.catalog())
            .map_err(|cause| NewestConfigError::Config { number, cause })?;
        if snapshot.channel() != own.channel() {
            let (expected, got) = (own.channel().clone(), snapshot.channel().clone());
            return Err(NewestConfigError::OtherChannel { number, expected, got });
        }
        Ok(Self { block, snapshot: Arc::new(snapshot) })
    }

    /// Returns a sequence that verifies the blocks after this one.
    pub fn followers(&self) -> Sequence {
        Sequence::after(ChainTip {
            number: self.block.number(),
            header_hash: *self.block.header_hash(),
            last_config: self.block.number(),
            snapshot: ChannelSnapshot::clone(&self.snapshot),
        })
    }
}
