//! The side that opens streams.

mod api;

pub use api::{ConnectionState, LastError, Network, PeerEvents, PeerStatus, Peers, QueueStatus, SendError};
