//! What an operator can set (`General.Cluster` of orderer.yaml), and what is fixed.

use std::time::Duration;

/// Of the client side.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Opening a connection may take so long: TCP, TLS and the first word of HTTP/2 (`DialTimeout`).
    pub dial_timeout: Duration,
    /// A message has to be given to the connection within this time (`RPCTimeout`).
    pub rpc_timeout: Duration,
    /// Messages that may wait in a queue (`SendBufferSize`).
    pub queue_messages: usize,
    /// Bytes that may wait in a queue. One message may be larger.
    pub queue_bytes: usize,
    /// Bytes that may wait for one destination in the queues of all channels, for each kind of request. One message may be larger.
    pub destination_bytes: usize,
    /// Certificates are judged as if it were so much earlier (`TLSHandshakeTimeShift`).
    pub time_shift: Duration,
    /// Warn when a peer's certificate is valid for no longer than this (`CertExpirationWarningThreshold`).
    pub expiration_warning: Duration,
    /// Accept a server certificate that has expired, if its key is the one that the channel's configuration names. Fabric does not.
    pub tolerate_expired: bool,
    /// The shortest and the longest pause before a connection is tried again.
    pub pause: (Duration, Duration),
}

impl Default for ClientSettings {
    /// Fabric's defaults, where Fabric has the setting.
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
