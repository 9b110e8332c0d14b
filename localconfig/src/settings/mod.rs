//! The node's settings, from a YAML file and ORDERER_* variables.
//!
//! Three steps: values as they are written, each with its source (`read`); a check of all of them that reports every
//! error at once (`check`); and [`Settings`], of which each part of the node is given its piece. `load` does all
//! three.

mod bccsp;
mod bootstrap;
mod cluster;
mod effective;
mod http;
mod kafka;
mod keys;
mod load;
mod memory;
mod metrics;
mod place;
mod secrets;
mod sources;
#[cfg(test)]
mod tests;
mod tracing;
mod validate;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use orderer_actors::Durability;
use orderer_actors::consensus::raft::RaftSettings;
use orderer_core::config::ConsensusMapping;
use orderer_core::own;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

pub use bccsp::KeyProvider;
pub use bootstrap::Bootstrap;
pub use cluster::{ClusterListener, ClusterSettings, ReplicationSettings};
pub use effective::EffectiveValue;
pub use http::{DebugEndpoint, HttpListener, HttpSettings};
pub use kafka::{KafkaSettings, kafka_settings};
pub use keys::{KEYS, Key, Kind, ReloadEffect, Unset};
pub use load::{CheckedConfig, ConfigSource, Loaded, Note, examine, load};
pub use metrics::{MetricsSettings, StatsdNetwork, StatsdSettings};
pub use sources::{ConfigError, EMBEDDED, SearchPath, Source, find_file};
pub use tracing::TracingSettings;

use crate::tls_files::TlsFiles;

/// The node's settings, checked.
#[derive(Clone)]
pub struct Settings {
    /// The source of the values, for operators.
    pub source: String,
    /// Every key with its value and source.
    pub effective: Vec<EffectiveValue>,
    /// The log spec, unless `FABRIC_LOGGING_SPEC` sets one.
    pub log_spec: Option<String>,
    /// Address of the gRPC listener.
    pub listen: SocketAddr,
    /// TLS of the gRPC listener; `None` for plaintext.
    pub tls: Option<TlsFiles>,
    /// Connections to other orderers; `None` without TLS, without which the node cannot take part in Raft.
    pub cluster: Option<ClusterSettings>,
    /// Settings of Raft beside the channels' configurations (`Consensus`).
    pub raft: RaftSettings,
    /// HTTP/2 keepalive pings.
    pub keepalive: Keepalive,
    /// Maximum size in bytes of a message from a client.
    pub max_receive_bytes: usize,
    /// Time limit of a TLS handshake.
    pub connection_timeout: Duration,
    /// The source of the first channel.
    pub bootstrap: Bootstrap,
    /// Directory with the certificates and the key that the node signs with.
    pub local_msp_dir: PathBuf,
    /// ID of that MSP.
    pub local_msp_id: String,
    /// Where the key is that the node signs with.
    pub keys: KeyProvider,
    /// Maximum distance between a Deliver request's timestamp and now.
    pub time_window: Duration,
    /// Whether messages of expired identities are rejected.
    pub expiration_checks: bool,
    /// Directory of the ledgers.
    pub ledger_location: PathBuf,
    /// Free bytes on the disk of the ledgers below which the node warns.
    pub low_disk_bytes: u64,
    /// The point at which an envelope is acknowledged.
    pub durability: Durability,
    /// Memory limits.
    pub limits: Limits,
    /// Rate limits of Broadcast.
    pub throttling: orderer_core::rate_limit::RateLimits,
    /// Consenters that are available, by which the node decides whether it can order a channel.
    pub consensus_mapping: ConsensusMapping,
    /// Access to Kafka clusters.
    pub kafka: KafkaSettings,
    /// Endpoints for operators.
    pub http: HttpSettings,
    /// The collector of spans, if there is one.
    pub tracing: Option<TracingSettings>,
    /// Address of the profiling endpoint, if enabled.
    pub profile: Option<SocketAddr>,
    /// Directory for a file of each message that Broadcast reads, if enabled.
    pub broadcast_trace_dir: Option<PathBuf>,
    /// Directory for a file of each request that Deliver reads, if enabled.
    pub deliver_trace_dir: Option<PathBuf>,
    /// The metrics provider.
    pub metrics: MetricsSettings,
}

// an operator who writes a secret under a key of another kind must not find it in a log
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("source", &self.source).field("effective", &self.effective).finish_non_exhaustive()
    }
}

impl Settings {
    /// Returns the log spec: the one `given` by other means, or that of the settings.
    pub fn logged(&self, given: Option<String>) -> String {
        let mut spec = given.or_else(|| self.log_spec.clone()).unwrap_or_else(|| "info".to_owned());
        if self.kafka.verbose {
            spec.push_str(":orderer.kafka,orderer_kafka=debug");
        }
        spec
    }

    /// Returns the public key of the certificate by which other orderers know the node, as the file is now; none
    /// without TLS.
    pub fn tls_keys(&self) -> Vec<Bytes> {
        let of_cluster = self.cluster.as_ref().and_then(|cluster| cluster.listener.as_ref());
        let files = of_cluster.map(|listener| &listener.tls).or(self.tls.as_ref());
        let certificates = files.map(|files| CertificateDer::pem_file_iter(&files.certificate));
        // the listener reports errors in the file
        let first = certificates.and_then(|certificates| certificates.ok()?.next()?.ok());
        first.and_then(|der| own::public_key_of(&der)).into_iter().collect()
    }
}

/// HTTP/2 pings on idle connections.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Time without traffic after which a ping is sent.
    pub interval: Duration,
    /// Time limit for the ping's acknowledgement.
    pub timeout: Duration,
}

/// Memory limits of the node.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory of the whole process, in bytes; the others are shares of it.
    pub memory_bytes: usize,
    /// Memory that clients make the node hold, in bytes.
    pub client_bytes: usize,
    /// Memory of outgoing blocks, in bytes.
    pub outgoing_bytes: usize,
    /// Memory of the Raft logs of all channels, in bytes.
    pub raft_log_bytes: usize,
    /// Maximum number of clients' connections.
    pub connections: usize,
    /// Maximum number of streams on all connections.
    pub streams: usize,
    /// Maximum size in bytes of one stream's in-flight envelopes.
    pub stream_bytes: usize,
    /// Maximum number of streams on one connection.
    pub streams_per_connection: u32,
    /// Maximum size in bytes of one channel's in-flight envelopes.
    pub channel_ingress_bytes: u32,
    /// Maximum size in bytes of the large messages that are being received, of all clients.
    pub large_message_bytes: u32,
    /// Size in bytes of the block cache of all channels.
    pub block_cache_bytes: usize,
}
