//! One consenter of a channel ordered by etcdraft, as a state machine without I/O.
//!
//! [`Machine`] takes ticks, messages of other consenters and proposals, and says in [`Ready`] what to write, to send and to
//! apply. It speaks `raftpb` of [`fabric_proto`]; the `raft` crate that decides is not visible outside. What differs between
//! that crate and etcd's Raft is levelled here:
//!
//! - messages are rebuilt field by field, so that no field and no type that etcd does not have gets on the wire;
//! - a message that would make the crate panic is refused before; a panic that happens all the same ends this machine
//!   alone, as a [`MachineFailed`];
//! - election timeouts come from a seed, so that a run can be repeated;
//! - a leader whose removal is applied stops leading; etcd's goes on until its application stops it.
//!
//! What is left, all of it in when a leader sends, never in what a follower answers or a voter grants (crate 0.7.0 beside etcd's 3.6.0, read
//! side by side):
//!
//! - with all messages to a follower in flight, the crate takes a heartbeat's answer for room for one more; etcd sends an append without
//!   entries;
//! - etcd sends a follower the commit index again whenever an answer shows that the last one it sent was older; the crate only
//!   where sending was paused;
//! - an answer to a probe that brings nothing new ends probing in etcd; in the crate, only one that acknowledges more does;
//! - a snapshot that is followed by entries the leader still has ends being waited for in etcd; in the crate, one at or behind the
//!   snapshot's index does;
//! - sizes of entries count their zeros in etcd, so that a message may hold an entry less.

mod convert;
mod error;
mod machine;
mod store;

pub use error::{MachineFailed, ProposeError, StepError};
pub use machine::{Config, Machine, Peer, Ready, RestoredLog, Role, SoftState, Status};
