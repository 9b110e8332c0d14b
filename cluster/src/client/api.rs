//! What a chain asks of the network: a trait for the node, and one for a channel.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::membership::{ConsenterId, Membership};

/// The way to other orderers. One value for the whole node; all channels share its connections.
pub trait Network: Send + Sync + 'static {
    /// Enters a channel, which has no peers before it is configured. It is left when the result is dropped.
    ///
    /// A channel that is entered again before it was left is another one: each has its own queues and streams.
    fn enter(&self, channel: &str, events: Arc<dyn PeerEvents>) -> Box<dyn Peers>;
}

/// What happens to the connections of a channel's peers. Called on a thread of the network, and within
/// [`Peers::configure`]: must not block, nor call the peers.
pub trait PeerEvents: Send + Sync + 'static {
    /// The peer can be sent to from now on.
    fn connected(&self, peer: ConsenterId);

    /// Messages that were taken may not have arrived, or none can be sent from now on. May come more than once.
    fn unreachable(&self, peer: ConsenterId);
}

/// The other consenters of one channel. Dropping it closes its streams, and connections that no other channel uses.
pub trait Peers: Send + Sync + 'static {
    /// Connects to those who take part, and leaves those who do not any more (Fabric's `Configure`). Streams to consenters whose
    /// endpoint and server key stay the same are not disturbed.
    fn configure(&self, membership: &Membership);

    /// Sends a message of the consensus protocol. Never waits: what finds no room is dropped and counted.
    ///
    /// # Errors
    /// The message was not taken; Raft wants to know that the peer is unreachable.
    fn consensus(&self, to: ConsenterId, payload: Bytes, metadata: Bytes) -> Result<(), SendError>;

    /// Forwards a transaction. The future is ready when the transaction was given to the connection, which is all that Fabric
    /// waits for, or when it cannot be within `rpc_timeout`. Transactions to one peer are sent in the order in which their
    /// futures were first polled.
    ///
    /// Dropping the future drops the transaction if it still waits for room in the queue; otherwise it may be sent.
    ///
    /// # Errors
    /// It was not sent, or it is not known whether it was.
    fn submit(
        &self,
        to: ConsenterId,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), SendError>>;

    /// How each peer stands, by ID.
    fn status(&self) -> Vec<PeerStatus>;
}

/// Why something was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel has no such consenter (`node N doesn't exist in channel C's membership`).
    #[error("node {id} doesn't exist in channel {channel}'s membership")]
    NotAMember {
        /// Whom it was for.
        id: ConsenterId,
        /// The channel.
        channel: String,
    },
    /// There is no connection.
    #[error("node {id} at {endpoint} is not connected: {reason}")]
    NotConnected {
        /// Whom it was for.
        id: ConsenterId,
        /// Its HOST:PORT.
        endpoint: String,
        /// The last error, or what is being done.
        reason: String,
    },
    /// The queue is full: the peer does not keep up.
    #[error("send queue overflown")]
    Overflow,
    /// It could not be given to the connection in time.
    #[error("rpc timeout expired")]
    Timeout,
    /// The stream ended before it was sent.
    #[error("stream aborted: {0}")]
    Aborted(String),
}

/// How one peer of one channel stands.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its ID.
    pub id: ConsenterId,
    /// Its HOST:PORT.
    pub endpoint: String,
    /// Its connection, which may serve other channels, too.
    pub connection: ConnectionState,
    /// The last thing that went wrong with the connection or with a stream of this channel.
    pub last_error: Option<LastError>,
    /// Messages of the consensus protocol.
    pub consensus: QueueStatus,
    /// Forwarded transactions.
    pub submit: QueueStatus,
}

/// How a connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It is being opened.
    Connecting,
    /// It is open.
    Connected {
        /// Since when.
        since: SystemTime,
        /// The end of the validity of the certificate that the peer has shown, in seconds since 1970.
        certificate_expires: i64,
    },
    /// It could not be opened, or was lost; it will be tried again.
    Waiting {
        /// How often it failed in a row.
        failures: u32,
        /// When it is tried again.
        until: SystemTime,
    },
    /// It cannot be opened, since the consenter's server certificate in the configuration identifies nobody.
    Impossible,
    /// The node shuts down.
    Closed,
}

/// How a connection to another orderer stands, which the channels share.
#[derive(Clone, Debug)]
pub struct DestinationStatus {
    /// Its HOST:PORT.
    pub endpoint: String,
    /// The connection.
    pub connection: ConnectionState,
    /// The last thing that went wrong with it.
    pub last_error: Option<LastError>,
}

/// An error, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// What.
    pub text: String,
}

/// One queue to one peer, and what became of its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Whether a stream is open.
    pub is_open: bool,
    /// Messages that wait.
    pub length: usize,
    /// Messages that may wait.
    pub capacity: usize,
    /// Messages that were given to the connection since the peer became one.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages that were dropped since then.
    pub dropped: u64,
    /// How long those that were sent waited in the queue, all together.
    pub waited: Duration,
    /// How many of them waited no longer than each of [`SEND_TIME_BOUNDS`].
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
