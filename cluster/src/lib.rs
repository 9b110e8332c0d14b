//! How the orderers of a channel reach each other: the transport of Fabric's `orderer.Cluster` service.

mod client;
mod membership;
mod server;
mod settings;

pub use client::{ConnectionState, LastError, Network, PeerEvents, PeerStatus, Peers, QueueStatus, SendError};
pub use membership::{CertificateError, Consenter, ConsenterId, Member, Membership, PinnedKey};
pub use server::{ClusterChannel, NotTaken, Router, ServiceFigures, StepClient, StepService, StepSession};
pub use settings::ClientSettings;
