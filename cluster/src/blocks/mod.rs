//! Blocks from other orderers: a client of `orderer.AtomicBroadcast/Deliver`, as Fabric's block puller is one.
//!
//! A stream of blocks has a connection of its own, over TLS with this node's cluster certificate. The server's
//! certificate is verified as Go's TLS client does, against the authorities of the endpoint alone; no key is pinned,
//! as in Fabric, since the signatures of the blocks are what is verified. Nothing is read before it is requested:
//! what a server sends unasked waits in a window of [`WINDOW_BYTES`] and in the sockets.
//!
//! This module neither verifies blocks nor chooses the next source: the module `replication` of the crate that
//! verifies blocks does both.

mod api;
mod deliver;
mod messages;
mod seek;

pub use api::{BlockEndpoint, BlockSources, BlockStream, PullError, PullSettings, RequestSigner};
pub use deliver::{DeliverClient, WINDOW_BYTES};
