//! One consenter of a channel ordered by etcdraft, as a state machine without I/O.
//!
//! [`Machine`] processes ticks, messages from other consenters and proposals, and returns in [`Ready`] what to write,
//! to send and to apply. Its messages are those of `raftpb` in [`fabric_proto`].
//!
//! # Why the algorithm is implemented here
//!
//! Fabric's orderers use go.etcd.io/raft, and a cluster of both kinds of orderers is safe only if both follow the same
//! algorithm. The `raft` crate, in its version 0.7, is a port of an older version of that library. Given the same
//! scripts as version 3.6.0 of go.etcd.io/raft, each of 267 simulated clusters diverged from it. Even if the comparison
//! ignored the order of messages to several nodes and a leader's mark of its own activity, 125 of 129 clusters
//! diverged, half of them within 108 steps. They diverged in more than ten kinds of a leader's decisions: whether an
//! append is sent when a response arrives; whether all entries that fit into the window are sent after a response that
//! ends probing; which entry is the next one after a snapshot; how many entries fit into a message; when a candidate's
//! own vote counts, which is before that vote is on disk. Each of these decisions changes what the leader knows, so all
//! later messages differ, and a test could not check them against a list of permitted differences. The machine
//! therefore follows etcd's algorithm step by step, and a test compares everything: `tests/differential.rs` runs
//! scripts of ticks, lost, duplicated and reordered messages, proposals, membership changes, snapshots, compactions,
//! crashes and restarts. Each message, write and state is that of go.etcd.io/raft v3.6.0 with the settings of Fabric's
//! orderers. In addition, the test `recorded_raft` of the core crate replaces each orderer of a recorded cluster by a
//! machine, which gives the same responses.
//!
//! # Differences from go.etcd.io/raft in Fabric
//!
//! - A message that would make etcd's library panic is rejected, and an error from which the machine cannot continue
//!   terminates only this machine, with a [`MachineFailed`].
//! - Learners, joint changes, read requests and forwarded proposals are not implemented, because etcdraft uses none of
//!   them.
//! - A leader whose removal is applied stops leading, as in etcd's library with `StepDownOnRemoval`. Fabric halts the
//!   chain there.
//! - A leader's messages do not wait for its own disk, and entries are applied once they are on that disk: etcd's mode
//!   of asynchronous writes, which Fabric does not use. Unlike in that mode, a request for votes waits until the term
//!   and the node's own vote are on disk. Otherwise a candidate that lost them could be elected by responses to a
//!   request that it no longer knows of.
//! - Election timeouts are derived from a seed, so that a run is repeatable.

mod admission;
mod core;
mod election_timeout;
mod error;
mod follower;
mod leader;
mod log;
mod machine;
mod progress;
#[cfg(test)]
mod tests;
mod types;

pub use error::{MachineFailed, ProposeError, StepError};
pub use machine::Machine;
pub use progress::ReplicationMode;
pub use types::{Config, Peer, Ready, RestoredLog, Role, SoftState, Status};
