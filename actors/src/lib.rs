//! The actor tree of the ordering node.
//!
//! ```text
//! Supervisor ── Registrar ── ChainSupport (one a channel) ──┬─ a consenter's chain
//!                                                           └─ BlockWriter
//! ```
//!
//! Each actor is a thin shell: it owns one state, receives typed messages, lets the logic of `orderer-core` decide and
//! performs the effects. A parent is told of each child's end, builds a new child from durable state, and gives up when it
//! fails too often; no other actor is disturbed. What is CPU-heavy or touches a disk runs on the blocking threads of the
//! I/O runtime, or on a thread of its own, never on an arbiter.
//!
//! Other crates talk to the tree through [`ChannelRegistry`] and [`Channel`]: snapshots to read, a [`mailbox::Gate`] to send
//! through, cells that publish the status of actors and chains.

mod advice;
pub mod block_writer;
pub mod chain_state;
pub mod chain_support;
pub mod channel;
pub mod config_processor;
pub mod consensus;
mod disk_space;
#[cfg(any(test, feature = "fail-points"))]
pub mod fail_points;
mod join_block;
pub mod ledger_provider;
pub mod mailbox;
pub mod node_context;
pub mod observer;
pub mod participation;
pub mod registrar;
pub mod replication;
pub mod status;
pub mod supervision;
pub mod supervisor;
pub mod system;
pub mod trace;
pub mod validation_queue;

pub use channel::{Channel, ChannelRegistry, ChannelState};
pub use consensus::kafka;
pub use node_context::{Durability, NodeContext};

#[cfg(test)]
mod tests;
