//! Blocks from other orderers: those that this node lacks ([`catch_up`]), and the newest configuration ([`newest_config`]).
//!
//! `orderer_core::replication` decides which orderers to ask and what belongs to the chain, `orderer_cluster` carries the
//! blocks. Here both meet. Blocks are verified on threads of their own, which give way to those that serve.

mod catch_up;
mod context;
mod newest;
mod source;

pub use catch_up::{Batch, Goal, Progress, Start, Stopped, catch_up};
pub use context::Replication;
pub use newest::{Newest, NoNewest, newest_config};
