//! The values that every actor of the tree shares: the node's interfaces to the outside, and nothing that changes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_rt::ArbiterHandle;
use arc_swap::ArcSwap;
use bytes::Bytes;
use orderer_core::config::{ChannelSnapshot, ConfigCache, ConsensusMapping, ConsenterKind};
use orderer_core::crypto::Signer;
use orderer_core::own::{self, ChannelNotServed, OwnSigner, SignerNotAccepted};
use orderer_core::processing::{HeaderFields, MessageOrigin, ValidationContext};
use orderer_core::rate_limit::RateLimiter;
use orderer_core::supervision::RestartPolicy;
use orderer_core::types::UnixSeconds;
use orderer_hsm::TokenPool;
use rand::RngCore as _;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::channel::ChannelRegistry;
use crate::ledger_provider::LedgerProvider;
use crate::observer::NodeObserver;
use crate::participation::ChannelParticipation;
use crate::status::StatusBoard;

/// The time at which an envelope is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An envelope is acknowledged when it is durable: no acknowledged one is lost.
    Disk,
    /// An envelope is acknowledged when its position in the order is fixed, as Fabric's solo consenter does: faster, and lost with
    /// the process.
    Memory,
}

/// The values that every actor of the tree shares.
pub struct NodeContext {
    /// Signs blocks and config messages.
    pub signer: Arc<SignerCell>,
    /// The token with the signer's key; `None` if the key is in a file.
    pub token: Option<Arc<TokenPool>>,
    /// The runtime whose blocking threads perform CPU-heavy work and blocking I/O.
    pub blocking_runtime: Handle,
    /// The channels' ledgers.
    pub ledgers: LedgerProvider,
    /// Values that channels of one network share.
    pub catalog: Arc<ConfigCache>,
    /// Permits that bound how many ledgers are opened and read at a time when the node starts.
    pub ledger_open_permits: Arc<Semaphore>,
    /// The channels of the node.
    pub directory: Arc<ChannelRegistry>,
    /// Changes to which channels there are.
    pub membership: ChannelParticipation,
    /// The actors' published states.
    pub status_board: StatusBoard,
    /// Rate limits of clients and organizations.
    pub fairness: RateLimiter,
    /// Metrics and events of the ordering path.
    pub observer: Arc<NodeObserver>,
    /// Channels are spread over these.
    pub arbiters: Vec<ArbiterHandle>,
    /// See [`Durability`].
    pub durability: Durability,
    /// Room at each channel's gate, in bytes.
    pub ingress_capacity_bytes: u32,
    /// The consenters, by a channel's configuration.
    pub consensus_mapping: ConsensusMapping,
    /// Public keys of the certificates that the node shows to other orderers which connect to it: those of the listener for them, or of
    /// the general one. A consenter is known by one of them. The key in use comes first; it is followed by that of a certificate in
    /// the files that is used when no channel names the one in use any more.
    pub tls_keys: ArcSwap<Vec<Bytes>>,
    /// Restart policy of chains and all else that belongs to one channel.
    pub channel_restarts: RestartPolicy,
    /// Whether messages of expired identities are rejected.
    pub expiration_checks: bool,
    /// Start of the node, from which [`uptime`](Self::uptime) is counted.
    pub started_at: Instant,
}

/// The identity that the node signs with. It may be replaced while the node runs, so a caller reads it once for all that
/// belongs together.
pub struct SignerCell(ArcSwap<OwnSigner>);

/// The reason why a channel with this configuration gets no block from this node.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotOrder {
    /// The channel's orderers and peers would reject its blocks.
    #[error(transparent)]
    Signer(#[from] SignerNotAccepted),
    /// Another node orders it.
    #[error(transparent)]
    Order(#[from] ChannelNotServed),
}

impl CannotOrder {
    /// Returns whether the only cause is that the signer's key cannot be used now.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Signer(SignerNotAccepted::Sign(error)) if error.is_temporary())
    }
}

impl SignerCell {
    /// Creates the cell with this signer.
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        Self(ArcSwap::from_pointee(OwnSigner::new(signer)))
    }

    /// The one to sign with now.
    pub fn get(&self) -> Arc<dyn Signer> {
        Arc::clone(self.0.load().signer())
    }

    /// Returns the current signer, with its standing in the channels.
    pub fn own(&self) -> Arc<OwnSigner> {
        self.0.load_full()
    }

    /// Replaces the signer.
    pub fn replace(&self, signer: OwnSigner) {
        self.0.store(Arc::new(signer));
    }
}

impl NodeContext {
    /// Time since the node began.
    pub fn uptime(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// The engine for a channel with this configuration.
    pub fn engine(&self, snapshot: &ChannelSnapshot) -> Result<ConsenterKind, ChannelNotServed> {
        own::engine(&self.consensus_mapping, snapshot, &self.tls_keys.load())
    }

    /// Checks that this node may write a channel's blocks under this configuration: peers accept its signatures, and no other
    /// node orders the channel alone. Verifies a signature: call it on a blocking thread.
    ///
    /// # Errors
    /// See [`CannotOrder`]. It is no error here that no engine serves the configuration; [`engine`](Self::engine) reports that.
    pub fn check_own_part(&self, signer: &OwnSigner, snapshot: &ChannelSnapshot) -> Result<(), CannotOrder> {
        signer.check(snapshot)?;
        match self.engine(snapshot) {
            Ok(_) | Err(ChannelNotServed::NotServed(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Time and switches for the filters.
    pub fn validation_context(&self, judging: MessageOrigin) -> ValidationContext {
        ValidationContext { now: unix_now(), expiration_checks: self.expiration_checks, judging }
    }
}

/// The time, in whole seconds.
pub fn unix_now() -> UnixSeconds {
    UnixSeconds(stamp_time().0)
}

/// Time and a fresh nonce for a message of the orderer's own.
pub fn fresh_header_fields() -> HeaderFields {
    let (seconds, nanos) = stamp_time();
    HeaderFields { nonce: nonce(), seconds, nanos }
}

/// Fresh and random.
pub fn nonce() -> [u8; 24] {
    let mut nonce = [0; 24];
    rand::rng().fill_bytes(&mut nonce);
    nonce
}

fn stamp_time() -> (i64, i32) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), i32::try_from(since.subsec_nanos()).unwrap_or(0))
}
