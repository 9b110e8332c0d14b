//! The side that opens streams.

mod api;
mod connections;
mod destination;
mod dial;
mod figures;
mod link;
mod pause;
mod queue;
mod runner;
mod standing;
mod stream;
mod tasks;
mod words;

pub use api::{
    ConnectionState, DestinationStatus, LastError, Network, PeerEvents, PeerStatus, Peers, QueueStatus,
    SEND_TIME_BOUNDS, SendError,
};
pub use connections::Connections;
