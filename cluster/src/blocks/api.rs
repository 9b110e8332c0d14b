//! The interface for pulling blocks from other orderers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fabric_proto::common::Status;
use futures_util::future::BoxFuture;

use crate::tls::Roots;

/// Pulls blocks from other orderers.
pub trait BlockSources: Send + Sync + 'static {
    /// Returns the number of blocks of a channel that the orderer at this endpoint reports. It is asked for its
    /// newest block, of which only the number is read.
    ///
    /// Dropping the future closes the connection.
    fn height(&self, channel: &str, endpoint: &BlockEndpoint) -> BoxFuture<'static, Result<u64, PullError>>;

    /// Pulls blocks `from` up to and including `to` of a channel from the orderer at this endpoint. The connection is
    /// opened when the first block is requested.
    fn pull(&self, channel: &str, endpoint: &BlockEndpoint, from: u64, to: u64) -> Box<dyn BlockStream>;
}

/// Blocks of one source, one after the other. Dropping the stream closes the connection.
pub trait BlockStream: Send + 'static {
    /// Returns the next block as it was sent: a serialized `common.Block`, of which nothing is verified, not even its
    /// number. `None` after the last requested block. After an error there is nothing more.
    ///
    /// Dropping the future loses nothing: the next call returns the block that it waited for.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, PullError>>>;
}

/// The address of an orderer that serves blocks.
#[derive(Clone, Debug)]
pub struct BlockEndpoint {
    /// HOST:PORT.
    pub address: String,
    /// The authorities that may issue its certificate; without any, it is not trusted.
    pub roots: Roots,
}

/// Signs requests as this node.
pub trait RequestSigner: Send + Sync + 'static {
    /// Returns the serialized identity (`msp.SerializedIdentity`).
    fn creator(&self) -> Bytes;

    /// Signs a message, as the MSP does.
    ///
    /// # Errors
    /// Fails with the reason for which nothing can be signed.
    fn sign(&self, message: &[u8]) -> Result<Bytes, String>;
}

impl<S: RequestSigner> RequestSigner for Arc<S> {
    fn creator(&self) -> Bytes {
        S::creator(self)
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, String> {
        S::sign(self, message)
    }
}

/// Limits of a client that pulls blocks.
#[derive(Clone, Debug)]
pub struct PullSettings {
    /// Time limit for opening a connection (`DialTimeout`).
    pub dial_timeout: Duration,
    /// Time limit for a block, from its request to its arrival (`ReplicationPullTimeout`).
    pub pull_timeout: Duration,
    /// Maximum size of a block in bytes. Fabric accepts no message above 100 MiB.
    pub max_block_bytes: usize,
    /// How much earlier than now certificates are verified (`TLSHandshakeTimeShift`).
    pub time_shift: Duration,
}

impl Default for PullSettings {
    /// Returns Fabric's defaults.
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(5),
            pull_timeout: Duration::from_secs(5),
            max_block_bytes: 100 << 20,
            time_shift: Duration::ZERO,
        }
    }
}

/// Reason for which a source returned no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The address is no HOST:PORT.
    #[error("'{0}' is no HOST:PORT")]
    Address(String),
    /// The request for blocks could not be signed.
    #[error("error signing the request for blocks: {0}")]
    Sign(String),
    /// The connection could not be opened.
    #[error("failed connecting: {0}")]
    Connect(String),
    /// No response arrived in time.
    #[error("didn't receive a response within {0:?}")]
    Timeout(Duration),
    /// The connection or the stream broke, or ended.
    #[error("the stream of blocks ended: {0}")]
    Ended(String),
    /// The orderer denies access: this node may not read the channel.
    #[error("forbidden pulling the channel")]
    Forbidden,
    /// The orderer does not serve the channel now.
    #[error("service unavailable")]
    ServiceUnavailable,
    /// The orderer responds with another status instead of a block.
    #[error("faulty node, received status {}", name(*.0))]
    Status(i32),
    /// The block, or the message around it, is too large.
    #[error("a block of {bytes} bytes is larger than {max}")]
    TooLarge {
        /// The size in bytes.
        bytes: usize,
        /// The maximum size in bytes.
        max: usize,
    },
    /// The message is no response to a request for blocks.
    #[error("malformed response: {0}")]
    Malformed(&'static str),
}

fn name(status: i32) -> String {
    Status::try_from(status).map_or_else(|_| status.to_string(), |status| status.as_str_name().to_owned())
}

impl PullError {
    /// Returns the error for a status that came instead of a block.
    pub(super) fn of_status(status: i32) -> Self {
        match Status::try_from(status) {
            Ok(Status::Forbidden) => Self::Forbidden,
            Ok(Status::ServiceUnavailable) => Self::ServiceUnavailable,
            _ => Self::Status(status),
        }
    }
}
