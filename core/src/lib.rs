//! Decision logic of an ordering node, without I/O.
//!
//! Everything here is plain Rust: state and input in, new state and effects out. There is no clock, socket, file or
//! randomness below this crate's root: the time is an argument, a signature comes from a [`crypto::Signer`], bytes come
//! from the caller. That is what lets a recorded chain be replayed, a property be tested on a thousand random inputs and
//! a crash be simulated in microseconds.

pub mod block;
pub mod config;
pub mod counted;
pub mod crypto;
pub mod envelope;
pub mod identity;
pub mod ordering;
pub mod own;
pub mod policy;
pub mod processing;
pub mod rate_limit;
pub mod replication;
pub mod supervision;
pub mod text;
pub mod types;
