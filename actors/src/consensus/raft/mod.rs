//! Orders a channel by etcdraft, as a member of a cluster that may contain Fabric's own orderers.
//!
//! ```text
//!  other orderers ── Seat ──► RaftChain ──► RaftLogWriter      entries, votes and snapshots, durable
//!                  ◄─ Peers ──┘      └────► BlockWriter        blocks that the consenters have agreed on
//! ```
//!
//! `RaftChain` feeds the state machine of `orderer_core::ordering::raft` with one event after the other, and performs
//! its effects. Validation and disk I/O run on other threads, and their outcomes return as events; so do those of both
//! writers.

mod behind;
mod block_pull;
mod chain;
mod cluster_endpoint;
mod consenter;
mod effects;
mod follower;
mod log_writer;
mod membership;
mod messages;
mod opening;
mod orders;
mod position;
mod revalidate;
mod running;
mod shared;
mod ticks;
pub mod transfer;

pub use consenter::RaftConsenter;
pub use position::ChainPositionError;
pub use shared::{LEADER_PATIENCE, RaftContext, RaftSettings};
