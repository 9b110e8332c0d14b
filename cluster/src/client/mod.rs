//! The client side: connects to other orderers and opens streams.

mod api;
mod connections;
mod destination;
mod dial;
mod figures;
mod link;
mod pause;
mod probe;
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
pub(crate) use dial::{Dialed, dial};
pub use probe::{ClockReading, Probe, Seen, SeenServer, look};
pub(crate) use words::in_words;
