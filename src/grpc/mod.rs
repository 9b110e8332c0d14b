//! The gRPC side: connections, the `AtomicBroadcast` service, health.
//!
//! The service is not generated. A generated one would parse each envelope into a message and encode each block again
//! for each subscriber; here envelopes stay the bytes they came in, and blocks leave as the bytes they are stored in.

mod broadcast;
mod connection;
mod deliver;
mod frames;
mod judge;
mod service;

pub use connection::{ConnectInfo, Connection, accept};
pub use frames::IngressBudget;
pub use service::{AtomicBroadcast, Shared};
