//! The client side: connects to other orderers and opens streams.

mod api;
mod backoff;
mod connection_state;
mod connection_tasks;
mod connections;
mod destination;
mod dial;
mod error_text;
mod gathering;
mod link;
mod probe;
mod queue;
mod runner;
mod statistics;
mod stream;

pub use api::{
    ConnectionState, DestinationStatus, LastError, Network, PeerEvents, PeerStatus, Peers, QueueStatus,
    SEND_TIME_BOUNDS, SendError, Urgency,
};
pub use connections::Connections;
pub(crate) use dial::{DialedConnection, dial};
pub(crate) use error_text::describe;
pub use probe::{ClockReading, Probe, ProbeResult, ProbedServer, run_probe};
