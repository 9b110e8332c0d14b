//! One consenter of a channel ordered by etcdraft, as a state machine without I/O.
//!
//! [`Machine`] takes ticks, messages of other consenters and proposals, and says in [`Ready`] what to write, to send and to
//! apply. It speaks `raftpb` of [`fabric_proto`].
//!
//! # Why the algorithm is written here
//!
//! Fabric's orderers are built with go.etcd.io/raft, and a cluster of both kinds is sound only as far as both do the same. The
//! `raft` crate, in its version 0.7, is a port of an older state of that library. Given the same scripts as etcd's 3.6.0, each of
//! 267 simulated clusters parted from it. Where the order of messages to several nodes and a leader's mark of its own activity were
//! left out of the comparison, 125 of 129 did so, half of them within 108 steps, and in more than ten kinds of a leader's decisions:
//! whether an append goes out when an answer comes in; whether all that fits into the window follows an answer that ends probing;
//! where the next entry is after a snapshot; how many entries fit into a message; when a candidate's own vote counts, which is
//! before that vote is on disk. As each of these changes what the leader knows, all later messages differ, and no list of permitted
//! differences would have been one that a test can check. So the machine follows etcd's algorithm step by step instead, and a test
//! compares everything: `tests/differential.rs` runs scripts of ticks, messages lost, doubled and reordered, proposals,
//! changes of the consenters, snapshots, compactions, kills and restarts, and each message, write and state is that of
//! go.etcd.io/raft v3.6.0 with the settings of Fabric's orderers. Also `tests/recorded.rs` puts a machine in the place of each
//! orderer of a recorded cluster, where it gives the same answers.
//!
//! # Where it differs from go.etcd.io/raft in Fabric
//!
//! - A message that would make etcd's panic is refused, and what cannot be gone on from ends this machine alone, as a
//!   [`MachineFailed`].
//! - Learners, joint changes, read requests and forwarded proposals are left out: etcdraft uses none of them.
//! - A leader whose removal is applied stops leading, as etcd's does with `StepDownOnRemoval`. Fabric halts the chain there.
//! - A leader's messages do not wait for its own disk, and entries are applied once they are on it: etcd's mode of asynchronous
//!   writes, which Fabric does not use. Unlike there, a request for votes waits until its term and the own vote are on disk: a
//!   candidate that lost them could be elected by answers to the request that it forgot.
//! - Election timeouts come from a seed, so that a run can be repeated.

mod admission;
mod core;
mod draws;
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
pub use progress::Flow;
pub use types::{Config, Peer, Ready, RestoredLog, Role, SoftState, Status};
