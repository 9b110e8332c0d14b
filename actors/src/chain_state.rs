//! The state that a chain is built from. All of it is read from the ledger.

use std::sync::Arc;

use orderer_core::block::{EncodedBlock, Hash};
use orderer_core::config::{ChannelSnapshot, ConfigCache, ConfigError};
use orderer_core::types::BlockNumber;
use orderer_ledger::{Ledger, PendingEnvelope, ReadError};

/// The end of the chain: what the next block links to.
#[derive(Clone, Copy, Debug)]
pub struct ResumeTip {
    /// The newest block.
    pub number: BlockNumber,
    /// Hash of its header.
    pub header_hash: Hash,
    /// The newest config block.
    pub last_config: BlockNumber,
}

/// The state that a chain is built from, as it was read from the ledger.
#[derive(Debug)]
pub struct ChainResumePoint {
    /// See [`ResumeTip`].
    pub tip: ResumeTip,
    /// The newest block; of a large one, only what is not data.
    pub last: EncodedBlock,
    /// The configuration in force.
    pub snapshot: Arc<ChannelSnapshot>,
    /// Envelopes that were acknowledged and are in no block yet.
    pub pending: Vec<PendingEnvelope>,
    /// The sequence number of the next pending envelope.
    pub next_sequence: u64,
}

/// The reason why no chain can be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainLoadError {
    /// The ledger.
    #[error("read the ledger")]
    Read(#[from] ReadError),
    /// The block that the metadata calls the last config block is not there.
    #[error("config block {0} is missing in the ledger")]
    NoConfigBlock(BlockNumber),
    /// The configuration.
    #[error("read the configuration in block {number}")]
    Config {
        /// The block.
        number: BlockNumber,
        /// The error in the configuration.
        #[source]
        cause: ConfigError,
    },
}

impl ChainResumePoint {
    /// Reads the end of the ledger; the configuration only if it is not `known` already, by the number of its block.
    /// Performs blocking I/O; no commit may be in flight.
    pub fn load(
        ledger: &Ledger,
        known: (BlockNumber, Arc<ChannelSnapshot>),
        catalog: &Arc<ConfigCache>,
    ) -> Result<Self, ChainLoadError> {
        let last = ledger.last_block();
        let tip =
            ResumeTip { number: last.number(), header_hash: *last.header_hash(), last_config: last.last_config() };
        Ok(Self {
            snapshot: if known.0 == tip.last_config { known.1 } else { Arc::new(load_snapshot(ledger, catalog)?) },
            pending: ledger.pending()?,
            next_sequence: ledger.next_pending_sequence(),
            tip,
            last,
        })
    }

    /// Reads the newest block with all of its data: a chain on a topic finds in it how the block was cut. Performs blocking I/O.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn read_whole_block(&mut self, ledger: &Ledger) -> Result<(), ChainLoadError> {
        if let Some(block) = ledger.block_uncached(self.tip.number)? {
            self.last = block;
        }
        Ok(())
    }
}

/// Reads the configuration in force, and rejects one that this node could not follow. Performs blocking I/O.
pub fn load_snapshot(ledger: &Ledger, catalog: &Arc<ConfigCache>) -> Result<ChannelSnapshot, ChainLoadError> {
    let number = ledger.last_config();
    // most channels of one network have the same configuration, and no subscriber waits for this block
    let block = ledger.block_uncached(number)?.ok_or(ChainLoadError::NoConfigBlock(number))?;
    let config = |cause| ChainLoadError::Config { number, cause };
    let snapshot = ChannelSnapshot::from_config_block(&block.decode(), catalog).map_err(config)?;
    snapshot.check_supported().map_err(config)?;
    Ok(snapshot)
}

/// An error and what caused it, on one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
