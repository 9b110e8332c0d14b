//! Settings for operators (`General.Cluster` of orderer.yaml), and fixed limits.

use std::time::Duration;

/// Settings of the client side.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Time limit for opening a connection: TCP, TLS and the first frame of HTTP/2 (`DialTimeout`).
    pub dial_timeout: Duration,
    /// Time limit for giving a message to the connection (`RPCTimeout`).
    pub rpc_timeout: Duration,
    /// Maximum number of messages in a queue (`SendBufferSize`).
    pub queue_messages: usize,
    /// Maximum number of bytes in a queue. One message may be larger.
    pub queue_bytes: usize,
    /// Maximum number of bytes for one destination in the queues of all channels, for each kind of request. One
    /// message may be larger.
    pub destination_bytes: usize,
    /// How much earlier than now certificates are verified (`TLSHandshakeTimeShift`).
    pub time_shift: Duration,
    /// Remaining validity of a peer's certificate from which to warn (`CertExpirationWarningThreshold`).
    pub expiration_warning: Duration,
    /// Whether to accept an expired server certificate, if its key is the one in the channel's configuration. Fabric
    /// does not.
    pub tolerate_expired: bool,
    /// The shortest and the longest pause before a connection is retried.
    pub pause: (Duration, Duration),
}

impl Default for ClientSettings {
    /// Returns Fabric's defaults, where Fabric has the setting.
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(5),
            rpc_timeout: Duration::from_secs(7),
            queue_messages: 100,
            queue_bytes: 16 << 20,
            destination_bytes: 64 << 20,
            time_shift: Duration::ZERO,
            expiration_warning: Duration::from_secs(7 * 24 * 60 * 60),
            tolerate_expired: false,
            pause: (Duration::from_millis(100), Duration::from_secs(5)),
        }
    }
}
