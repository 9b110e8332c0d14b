//! The node's settings, from a YAML file and ORDERER_* variables.
//!
//! Three steps: values as they are written, with the place each came from (`read`); a check of all of them that
//! reports every mistake at once (`check`); and [`Settings`], which the parts of the node get their piece of. `load` is
//! the way through all three.

mod bootstrap;
mod check;
mod effective;
mod http;
mod kafka;
mod keys;
mod load;
mod memory;
mod metrics;
mod place;
mod read;
mod secrets;
#[cfg(test)]
mod tests;
mod tracing;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use orderer_actors::Durability;
use orderer_core::config::Serving;

pub use bootstrap::Bootstrap;
pub use effective::Effective;
pub use http::{DebugEndpoint, HttpListener, HttpSettings};
pub use kafka::{KafkaSettings, kafka_settings};
pub use keys::{Effect, KEYS, Key, Kind, Unset};
pub use load::{Examined, Loaded, Note, Origin, examine, load};
pub use metrics::{MetricsSettings, StatsdNetwork, StatsdSettings};
pub use read::{EMBEDDED, Mistake, SearchPlaces, Source, find_file};
pub use tracing::TracingSettings;

use crate::tls_files::TlsFiles;

/// Everything the node is told, checked.
#[derive(Clone)]
pub struct Settings {
    /// Where the values came from, for people.
    pub source: String,
    /// Every key, and where its value came from.
    pub effective: Vec<Effective>,
    /// What is logged, unless `FABRIC_LOGGING_SPEC` says it.
    pub log_spec: Option<String>,
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// How it is secured; `None` for plaintext.
    pub tls: Option<TlsFiles>,
    /// HTTP/2 pings.
    pub keepalive: Keepalive,
    /// No larger message is read from a client.
    pub max_receive_bytes: usize,
    /// How long a TLS handshake may take.
    pub connection_timeout: Duration,
    /// What the first channel is made from.
    pub bootstrap: Bootstrap,
    /// Certificates and key the node signs with.
    pub local_msp_dir: PathBuf,
    /// Name of its MSP.
    pub local_msp_id: String,
    /// How far a Deliver request's timestamp may be from now.
    pub time_window: Duration,
    /// Whether messages of expired identities are refused.
    pub expiration_checks: bool,
    /// Folder of the ledgers.
    pub ledger_location: PathBuf,
    /// When an envelope is acknowledged.
    pub durability: Durability,
    /// Limits of ours.
    pub limits: Limits,
    /// Who may send how much.
    pub throttling: orderer_core::fairness::Limits,
    /// What orders a channel, by its configuration.
    pub serving: Serving,
    /// See [`KafkaSettings`].
    pub kafka: KafkaSettings,
    /// See [`HttpSettings`].
    pub http: HttpSettings,
    /// Where spans go, if anywhere.
    pub tracing: Option<TracingSettings>,
    /// Where profiles are served, if anywhere.
    pub profile: Option<SocketAddr>,
    /// Where a file is written for each message that Broadcast reads.
    pub broadcast_trace_dir: Option<PathBuf>,
    /// And for each request that Deliver reads.
    pub deliver_trace_dir: Option<PathBuf>,
    /// Who gets the metrics.
    pub metrics: MetricsSettings,
}

// whoever writes a secret under a key that is not for one must not find it in a log
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("source", &self.source).field("effective", &self.effective).finish_non_exhaustive()
    }
}

impl Settings {
    /// What is logged: what was `given` by other means, or what the settings say.
    pub fn logged(&self, given: Option<String>) -> String {
        let mut spec = given.or_else(|| self.log_spec.clone()).unwrap_or_else(|| "info".to_owned());
        if self.kafka.verbose {
            spec.push_str(":orderer.kafka,orderer_kafka=debug");
        }
        spec
    }
}

/// When a connection on which nothing happens is asked whether it still lives.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// After so long without traffic.
    pub interval: Duration,
    /// And how long the answer may take.
    pub timeout: Duration,
}

/// What bounds the node's memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The whole process, in bytes; the others are shares of it.
    pub memory_bytes: usize,
    /// All that clients make the node hold, in bytes.
    pub client_bytes: usize,
    /// Blocks on their way to clients, in bytes.
    pub outgoing_bytes: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Streams on all connections.
    pub streams: usize,
    /// Envelopes of one stream that are in work, in bytes.
    pub stream_bytes: usize,
    /// Streams on one connection.
    pub streams_per_connection: u32,
    /// Envelopes of one channel that are not answered yet, in bytes.
    pub channel_ingress_bytes: u32,
    /// Large messages that are being received, of all clients, in bytes.
    pub large_message_bytes: u32,
    /// Blocks of all channels that are kept in memory, in bytes.
    pub block_cache_bytes: usize,
}
