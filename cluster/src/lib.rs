//! How the orderers of a channel reach each other: the transport of Fabric's `orderer.Cluster` service, and of the blocks that they
//! have from each other.
//!
//! ```text
//!  chain ── Network ── Connections ──► one connection a server: TLS, HTTP/2        who connects
//!   └─ Peers ── consensus(to, message)     a queue and a stream for each channel,
//!            ── submit(to, transaction)    peer and kind of request
//!
//!  who needs blocks ── BlockSources ── DeliverClient ──► one connection a stream: orderer.AtomicBroadcast/Deliver
//!
//!  listener ── StepService ── StepSession a stream ── Router ── ClusterChannel ── chain     who is connected to
//! ```
//!
//! Nothing here knows what the messages mean. A [`Membership`] says who may send them, by the public key of TLS
//! certificates. How streams get here is the listener's: [`StepSession::run`] takes a stream of messages and says with which
//! status to end it.
//!
//! What differs from Fabric, on the wire the same:
//!
//! - A consensus message for which there is no room is dropped and reported; Fabric ends the stream besides.
//! - A destination whose connection takes nothing for `rpc_timeout` is connected to anew; Fabric only opens other streams on
//!   the same connection.
//! - Queues are bounded in bytes, too, and what HTTP/2 holds counts until the socket took it.
//! - Connections belong to an endpoint *and* a key: a channel whose configuration names another endpoint for the same server is
//!   not connected by that of another channel.
//! - A renewed identity replaces connections without a gap, when told ([`Connections::renew`]).
//! - A peer's certificate that has expired can be accepted ([`ClientSettings::tolerate_expired`]), if its key is the one that is pinned.
//! - Warnings before the end of a server's certificate are of the one that it shows, not of the one in the configuration.
//! - Without any authority no server is trusted; Fabric takes those of the operating system, then.

mod blocks;
mod client;
mod expiration;
mod membership;
mod server;
mod settings;
mod tls;
mod wire;

pub use blocks::{
    BlockEndpoint, BlockSources, BlockStream, DeliverClient, PullError, PullSettings, RequestSigner, WINDOW_BYTES,
};
pub use client::{
    ClockReading, ConnectionState, Connections, DestinationStatus, LastError, Network, PeerEvents, PeerStatus, Peers,
    Probe, QueueStatus, SEND_TIME_BOUNDS, Seen, SeenServer, SendError, look,
};
pub use membership::{CertificateError, Consenter, ConsenterId, Member, Membership, PinnedKey};
pub use server::{ClusterChannel, NotTaken, Router, ServiceFigures, StepClient, StepService, StepSession};
pub use settings::ClientSettings;
pub use tls::{Identity, IdentityError, Roots, RootsError};
