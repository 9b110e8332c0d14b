//! Shared code of the tests of the whole program: a node as a process with its own directory and port, clients of the
//! node, and the identities of the fixtures' network.
//!
//! Nothing here sleeps to wait for an event: a test waits for a log line, for a block, or for a response.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "a test that panics has failed")]
#![allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]

pub mod browser;
pub mod client;
pub mod config_updates;
pub mod hostile;
pub mod http;
pub mod identities;
pub mod many_channels;
pub mod messages;
pub mod metrics;
pub mod node;
pub mod notify_socket;
pub mod raft;
pub mod raw_grpc;
pub mod scripts;
pub mod tls;
pub mod token;

use std::time::Duration;

pub use client::{Broadcasting, Client, Delivering, Step};
pub use identities::TestIdentity;
pub use node::{Node, Setup};

/// The network of the fixtures.
pub const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/net");

/// Time limit of everything that a test waits for. It is so generous that a machine with many other programs passes: only a
/// test that fails waits so long.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits for a future for at most [`TEST_TIMEOUT`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Returns the seed of a randomized test: the variable SEED, or a random one. Prints the seed, so that the run can be
/// repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("to repeat: SEED={seed}");
    seed
}
