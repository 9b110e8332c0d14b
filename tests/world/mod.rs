//! What the tests of the whole program share: a node as a process of its own, in a folder of its own, on a port of its
//! own; clients of it; and the people of the fixtures' network.
//!
//! Nothing here sleeps to let something happen: a test waits for a line of the log, for a block, or for an answer.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "a test that panics has failed")]
#![allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]

pub mod browser;
pub mod client;
pub mod configuring;
pub mod ear;
pub mod hostile;
pub mod http;
pub mod many;
pub mod messages;
pub mod metrics;
pub mod node;
pub mod people;
pub mod raft;
pub mod raw;
pub mod tls;

use std::time::Duration;

pub use client::{Broadcasting, Client, Delivering, Step};
pub use node::{Node, Setup};
pub use people::Person;

/// The network that the fixtures describe.
pub const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/net");

/// Nothing that a test waits for takes so long, on however slow a machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// The seed of a test that plays dice, from the variable SEED or new; the line that repeats the test is printed.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("to repeat: SEED={seed}");
    seed
}
