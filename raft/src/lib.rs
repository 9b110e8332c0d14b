//! One consenter of a channel ordered by etcdraft, as a state machine without I/O.
//!
//! [`Machine`] takes ticks, messages of other consenters and proposals, and says in [`Ready`] what to write, to send and to
//! apply. It speaks `raftpb` of [`fabric_proto`]; the `raft` crate that decides is not visible outside. What differs between
//! that crate and etcd's Raft is levelled here:
//!
//! - messages are rebuilt field by field, so that no field and no type that etcd does not have gets on the wire;
//! - a message that would make the crate panic is refused before; a panic that happens all the same ends this machine
//!   alone, as a [`MachineFailed`];
//! - election timeouts come from a seed, so that a run can be repeated.

mod convert;
mod error;
mod machine;
mod store;

pub use error::{MachineFailed, ProposeError, StepError};
pub use machine::{Config, Machine, Peer, Ready, RestoredLog, Role, SoftState, Status};
