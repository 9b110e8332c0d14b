//! Replicates blocks from other orderers: those that this node lacks ([`catch_up`]), and the newest configuration
//! ([`fetch_latest_config`]).
//!
//! `orderer_core::replication` decides which orderers to ask and which blocks belong to the chain, and
//! `orderer_cluster` transfers the blocks. This module connects the two. Blocks are verified on other threads, so that
//! actors are not delayed.

mod catch_up;
mod context;
mod latest_config;
mod source;

pub use catch_up::{Batch, BlockRange, CatchUpProgress, ReceiverClosed, StartPoint, catch_up};
pub use context::ReplicationContext;
pub use latest_config::{FetchedConfig, NoLatestConfig, fetch_latest_config};
