//! Consenters as state machines: each turns a sequence of messages into a sequence of batches.

pub mod block_cutter;
pub mod kafka;
pub mod raft;
pub mod solo;
mod timer;
