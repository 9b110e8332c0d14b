//! Communication between the orderers of a channel: the transport of Fabric's `orderer.Cluster` service, and of the
//! blocks that orderers pull from each other.
//!
//! ```text
//!  chain ── Network ── Connections ──► one connection a server: TLS, HTTP/2        client side
//!   └─ Peers ── consensus(to, message)     a queue and a stream for each channel,
//!            ── submit(to, transaction)    peer and kind of request
//!
//!  block puller ── BlockSources ── DeliverClient ──► one connection a stream: orderer.AtomicBroadcast/Deliver
//!
//!  listener ── StepService ── StepSession a stream ── Router ── ClusterChannel ── chain     server side
//! ```
//!
//! This crate does not interpret the messages. A [`Membership`] lists the consenters that may send them, by the public
//! keys of their TLS certificates. The listener accepts the streams: [`StepSession::run`] processes a stream of
//! messages and returns the status with which to end it.
//!
//! Differences from Fabric, with the same bytes on the wire:
//!
//! - If there is no capacity for a consensus message, the message is dropped and reported; Fabric also ends the stream.
//! - A destination whose connection accepts nothing for `rpc_timeout` is reconnected; Fabric only opens other streams
//!   on the same connection.
//! - Queues are bounded in bytes as well, and messages in HTTP/2 buffers count until the socket has accepted them.
//! - A connection belongs to an endpoint *and* a key: if the configurations of two channels name different endpoints
//!   for the same server, each channel uses its own connection.
//! - On request ([`Connections::renew`]), connections are replaced without a gap after this node's identity was
//!   renewed.
//! - An expired certificate of a peer can be accepted ([`ClientSettings::tolerate_expired`]) if its key is the pinned
//!   one.
//! - Warnings before a server's certificate expires are about the certificate that it presents, not about the one in
//!   the configuration.
//! - Without any authority, no server is trusted; Fabric trusts those of the operating system in that case.

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
    Probe, ProbeResult, ProbedServer, QueueStatus, SEND_TIME_BOUNDS, SendError, Urgency, run_probe,
};
pub use membership::{CertificateError, Consenter, ConsenterId, Member, Membership, PinnedKey};
pub use server::{ClusterChannel, Router, ServiceFigures, StepClient, StepRejection, StepService, StepSession};
pub use settings::ClientSettings;
pub use tls::{Identity, IdentityError, Roots, RootsError};
