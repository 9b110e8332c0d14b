//! Replication of blocks from other orderers: selects the sources, and verifies that the blocks belong to the channel's chain.
//!
//! ```text
//!  endpoints(configuration) ──► Sources ── which source, from which block, after which pause
//!  bytes ── read_block ──► EncodedBlock ── Sequence::take ──► VerifiedBlock, and the configuration that it leads to
//! ```
//!
//! The checks of each block, with their origin in Fabric (`orderer/common/cluster`):
//!
//! | what | Fabric v2.5 | Fabric v3.1 |
//! |---|---|---|
//! | header, data and metadata are there | each block | each block |
//! | transactions are well-formed (they decode, have payload and signature, and nothing else is among their bytes) | each block, without a lone config transaction | the same; ORDERER_TRANSACTION is not exempt |
//! | the data hash is the header's | each block | each block |
//! | number and previous hash follow | within a batch; the follower chain besides from batch to batch | the same |
//! | signatures satisfy BlockValidation of the configuration before it | config blocks, and the last of a batch | each block |
//! | its configuration follows from its update | when it is written | when it is written |
//!
//! This module makes all of these checks for each block, and these in addition:
//!
//! - The index of the last config block, which the orderer signs, must be right, because a node finds its configuration by
//!   it.
//! - A CONFIG transaction must be alone in its block. If it is not, Fabric verifies later blocks under its configuration, but
//!   does not put it in force when it writes the block. No orderer makes such a block.
//! - A block has at most [`MAX_SIGNATURES`] signatures and [`MAX_METADATA_SLOTS`] metadata slots, so that a source cannot make this
//!   node use much more memory than the size of the block.

mod block_format;
mod endpoints;
mod latest_config;
mod sequence;
mod sources;
mod throughput;

pub use block_format::{BlockFormatError, MAX_METADATA_SLOTS, MAX_SIGNATURES, read_block};
pub use endpoints::{OrdererEndpoint, endpoints};
pub use latest_config::{LatestConfig, LatestConfigError, verify_latest_config};
pub use sequence::{SequenceError, SequenceVerifier, VerifiedBlock};
pub use sources::{Action, Event, PullOutcome, RetryDelays, Sources};
pub use throughput::SourceThroughput;
