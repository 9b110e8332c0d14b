//! Replicates blocks from other orderers: those that this node lacks ([`catch_up`]), and the newest configuration
//! ([`newest_config`]).
//!
//! `orderer_core::replication` decides which orderers to ask and which blocks belong to the chain, and
//! `orderer_cluster` transfers the blocks. This module connects the two. Blocks are verified on other threads, so that
//! actors are not delayed.

mod catch_up;
mod context;
mod newest;
mod source;

pub use catch_up::{Batch, Goal, Progress, Start, Stopped, catch_up};
pub use context::Replication;
pub use newest::{Newest, NoNewest, newest_config};
