//! From a sequence of messages to a sequence of batches.

pub mod cutter;
pub mod kafka;
pub mod raft;
pub mod solo;
mod timer;
