//! The client side's interface for chains: a trait for the node, and one for a channel.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::membership::{ConsenterId, Membership};

/// Connects to other orderers. There is one value for the whole node; all channels share its connections.
pub trait Network: Send + Sync + 'static {
    /// Enters a channel, which has no peers before it is configured. Dropping the result leaves it.
    ///
    /// A channel that is entered again before it was left gets its own queues and streams.
    fn enter(&self, channel: &str, events: Arc<dyn PeerEvents>) -> Box<dyn Peers>;
}

/// Receives events of the connections to a channel's peers. Called on a thread of the network, and within
/// [`Peers::configure`]: must not block, nor call the peers.
pub trait PeerEvents: Send + Sync + 'static {
    /// Reports that messages can be sent to the peer from now on.
    fn connected(&self, peer: ConsenterId);

    /// Reports that accepted messages may not have arrived, or that none can be sent from now on. May be called more
    /// than once.
    fn unreachable(&self, peer: ConsenterId);

    /// Reports that the configurations of this node and of the peer differ: the peer does not accept this node as a
    /// consenter, or presents another key than this node's configuration names. One of the two has not seen a config update,
    /// or uses a wrong certificate.
    fn estranged(&self, peer: ConsenterId);
}

/// The other consenters of one channel. Dropping it closes its streams, and connections that no other channel uses.
pub trait Peers: Send + Sync + 'static {
    /// Connects to the peers in the membership, and disconnects from others (Fabric's `Configure`). Streams to
    /// consenters whose endpoint and server key stay the same are not disturbed.
    fn configure(&self, membership: &Membership);

    /// Sends a message of the consensus protocol. Never waits: a message that exceeds the queue is dropped and
    /// counted. Messages to one peer are sent in their order, whatever their urgency is.
    ///
    /// # Errors
    /// The message was not accepted; Raft has to learn that the peer is unreachable.
    fn consensus(&self, to: ConsenterId, payload: Bytes, metadata: Bytes, urgency: Urgency) -> Result<(), SendError>;

    /// Forwards a transaction. The future resolves when the transaction was given to the connection, which is all
    /// that Fabric waits for, or fails after `rpc_timeout`. Transactions to one peer are sent in the order in which
    /// their futures were first polled.
    ///
    /// Dropping the future drops the transaction if it still waits for capacity in the queue; otherwise it may be
    /// sent.
    ///
    /// # Errors
    /// The transaction was not sent, or it is not known whether it was.
    fn submit(
        &self,
        to: ConsenterId,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), SendError>>;

    /// Returns the state of each peer, by ID.
    fn status(&self) -> Vec<PeerStatus>;
}

/// When a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once.
    Now,
    /// Within two milliseconds, together with messages of other channels to the same orderer.
    Soon,
}

/// Reason for which a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel has no such consenter (`node N doesn't exist in channel C's membership`).
    #[error("node {id} doesn't exist in channel {channel}'s membership")]
    NotAMember {
        /// The requested consenter.
        id: ConsenterId,
        /// The channel.
        channel: String,
    },
    /// There is no connection to the consenter.
    #[error("node {id} at {endpoint} is not connected: {reason}")]
    NotConnected {
        /// The requested consenter.
        id: ConsenterId,
        /// Its HOST:PORT.
        endpoint: String,
        /// The last error, or the current state.
        reason: String,
    },
    /// The queue is full: the peer does not keep up.
    #[error("send queue overflown")]
    Overflow,
    /// The message could not be given to the connection in time.
    #[error("rpc timeout expired")]
    Timeout,
    /// The stream ended before the message was sent.
    #[error("stream aborted: {0}")]
    Aborted(String),
}

/// The state of one peer of one channel.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The peer's ID.
    pub id: ConsenterId,
    /// The peer's HOST:PORT.
    pub endpoint: String,
    /// The connection, which may serve other channels, too.
    pub connection: ConnectionState,
    /// The last error of the connection or of a stream of this channel.
    pub last_error: Option<LastError>,
    /// The queue of messages of the consensus protocol.
    pub consensus: QueueStatus,
    /// The queue of forwarded transactions.
    pub submit: QueueStatus,
}

/// The state of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// The connection is being opened.
    Connecting,
    /// The connection is open.
    Connected {
        /// When the connection was opened.
        since: SystemTime,
        /// The end of the validity of the peer's certificate, in seconds since 1970.
        certificate_expires: i64,
    },
    /// The connection could not be opened, or was lost; it will be retried.
    Waiting {
        /// Number of consecutive failures.
        failures: u32,
        /// Time of the next attempt.
        until: SystemTime,
    },
    /// The connection cannot be opened, since the consenter's server certificate in the configuration has no usable
    /// key.
    Impossible,
    /// The node is shutting down.
    Closed,
}

/// The state of a connection to another orderer, which the channels share.
#[derive(Clone, Debug)]
pub struct DestinationStatus {
    /// The orderer's HOST:PORT.
    pub endpoint: String,
    /// The state of the connection.
    pub connection: ConnectionState,
    /// The last error of the connection.
    pub last_error: Option<LastError>,
}

/// An error and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When the error occurred.
    pub at: SystemTime,
    /// The error's text.
    pub text: String,
}

/// The state of one queue to one peer, and its totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Whether a stream is open.
    pub is_open: bool,
    /// Number of queued messages.
    pub length: usize,
    /// Maximum number of queued messages.
    pub capacity: usize,
    /// Number of messages that were given to the connection since the peer was configured.
    pub sent: u64,
    /// Size of these messages in bytes.
    pub sent_bytes: u64,
    /// Number of messages that were dropped since then.
    pub dropped: u64,
    /// Total time that sent messages waited in the queue.
    pub waited: Duration,
    /// Number of sent messages that waited no longer than each of [`SEND_TIME_BOUNDS`].
    pub waited_within: [u64; SEND_TIME_BOUNDS.len()],
}

/// Bounds of the buckets of Fabric's `cluster_comm_msg_send_time`.
pub const SEND_TIME_BOUNDS: [Duration; 11] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
