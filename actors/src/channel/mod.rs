//! A channel, as seen by code outside the actor tree: it reads snapshots and submits messages through the gate.

mod cluster_registration;
mod consenter_status;
mod messages;
mod registry;
mod state;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use orderer_cluster::ClusterChannel;
use orderer_core::config::ChannelSnapshot;
use orderer_core::own;
use orderer_core::types::{BlockNumber, ChannelId};
use orderer_ledger::Ledger;
use tokio::sync::watch;

pub(crate) use cluster_registration::ClusterRegistration;
pub use consenter_status::TopicHealth;
#[cfg(test)]
pub(crate) use messages::KillActor;
pub use messages::{ChainSupportHandle, ChannelCreated, RestartError, Subscribe, SubscriptionGuard};
pub(crate) use messages::{RestartChain, ScanForChannels, StopChain, Unsubscribe};
pub use registry::{ChannelEntry, ChannelRegistry, UnavailableChannel};
pub use state::{ChannelState, ConsensusRelation};

use crate::mailbox::{Gate, Unavailable};
use crate::observer::{ChannelObserver, NodeObserver};
use crate::status::{ChainGauges, now_ms};

/// Time that an envelope waits for the reason why its chain has ended.
const REASON_PATIENCE: Duration = Duration::from_secs(1);

/// Fencing token of a chain: only the chain with the current token may set the channel's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateLease(u64);

/// State of one channel, shared by its actors and by all code that serves requests: its ledger, its configuration, its
/// gate and its chain's state. Reading it does not wait for an actor.
pub struct Channel {
    id: ChannelId,
    ledger: Arc<Ledger>,
    snapshot: ArcSwap<ChannelSnapshot>,
    /// Number of the block that the snapshot comes from. Both are written together, by one writer at a time.
    config_block: AtomicU64,
    gate: Arc<Gate>,
    observer: Arc<ChannelObserver>,
    state: watch::Sender<ChannelState>,
    /// Time at which the channel entered its state, in milliseconds since 1970.
    state_since_ms: AtomicU64,
    /// Time of the next attempt, in milliseconds since 1970; 0 if none is due.
    next_attempt_ms: AtomicU64,
    gauges: ChainGauges,
    /// Number of the newest lease; its holder may set the state. See [`StateLease`].
    newest_lease: AtomicU64,
    pub(crate) support: ArcSwapOption<ChainSupportHandle>,
    /// Set while a topic is consumed.
    pub(crate) kafka_health: ArcSwapOption<TopicHealth>,
    /// Set while a Raft chain runs.
    cluster: ArcSwapOption<ClusterRegistration>,
    /// Counts changes in any channel.
    changes: Arc<AtomicU64>,
}

impl Channel {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        snapshot: Arc<ChannelSnapshot>,
        ingress_capacity_bytes: u32,
        changes: Arc<AtomicU64>,
        observer: &Arc<NodeObserver>,
    ) -> Self {
        Self {
            id: ledger.channel().clone(),
            config_block: AtomicU64::new(ledger.last_config().0),
            snapshot: ArcSwap::new(snapshot),
            gate: Arc::new(Gate::new(ingress_capacity_bytes)),
            observer: Arc::new(ChannelObserver::new(observer, ledger.channel())),
            state: watch::Sender::new(ChannelState::Starting),
            state_since_ms: AtomicU64::new(now_ms()),
            next_attempt_ms: AtomicU64::new(0),
            gauges: ChainGauges::default(),
            newest_lease: AtomicU64::new(0),
            support: ArcSwapOption::empty(),
            kafka_health: ArcSwapOption::empty(),
            cluster: ArcSwapOption::empty(),
            changes,
            ledger,
        }
    }

    /// Returns the channel's name.
    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    /// Returns the channel's blocks.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Returns the configuration in force: that of the newest durable config block.
    pub fn snapshot(&self) -> Arc<ChannelSnapshot> {
        self.snapshot.load_full()
    }

    /// Returns the gate through which messages are submitted.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Returns the recorder of the channel's metrics and events on the ordering path.
    pub fn observer(&self) -> &Arc<ChannelObserver> {
        &self.observer
    }

    /// Returns the channel's state.
    pub fn state(&self) -> ChannelState {
        self.state.borrow().clone()
    }

    /// Returns this node's relation to the channel.
    pub fn relation(&self) -> ConsensusRelation {
        if self.snapshot.load().orderer().consensus_type != "etcdraft" {
            return ConsensusRelation::Other;
        }
        match &*self.state.borrow() {
            ChannelState::Following | ChannelState::Onboarding { consents: false, .. } => ConsensusRelation::Follower,
            _ => ConsensusRelation::Consenter,
        }
    }

    /// Returns the time of the next attempt to start the chain, in milliseconds since 1970, if one is due.
    pub fn next_attempt_ms(&self) -> Option<u64> {
        Some(self.next_attempt_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Returns the time at which the channel entered its state, in milliseconds since 1970.
    pub fn state_since_ms(&self) -> u64 {
        self.state_since_ms.load(Ordering::Relaxed)
    }

    /// Returns what the chain publishes of its work.
    pub fn gauges(&self) -> &ChainGauges {
        &self.gauges
    }

    /// Subscribes to the channel's state.
    pub fn subscribe_state(&self) -> watch::Receiver<ChannelState> {
        self.state.subscribe()
    }

    /// Waits for the reason why no chain accepts or answers an envelope. The supervision sets the state a moment after a chain
    /// has ended, so this waits until the state names a reason, at most a second.
    pub async fn unavailable(&self) -> Unavailable {
        let mut states = self.subscribe_state();
        let named = tokio::time::timeout(REASON_PATIENCE, states.wait_for(ChannelState::accepts_nothing)).await;
        let reason = match named {
            Ok(Ok(state)) => state.to_string(),
            // it was started again meanwhile
            Ok(Err(_)) | Err(_) => "its chain ended before it answered (send the envelope again)".to_owned(),
        };
        Unavailable { channel: self.id.clone(), reason }
    }

    /// Returns the health of its topic, while the channel consumes one.
    pub fn topic_health(&self) -> Option<Arc<TopicHealth>> {
        self.kafka_health.load_full()
    }

    /// Returns the receiver of requests from other consenters, while a Raft chain runs.
    pub fn cluster(&self) -> Option<Arc<dyn ClusterChannel>> {
        self.cluster.load().as_ref().map(|registration| registration.channel())
    }

    /// Registers the receiver of other consenters' requests for a Raft chain, in place of that of an earlier chain.
    pub(crate) fn register_cluster(&self, channel: Arc<dyn ClusterChannel>) -> Arc<ClusterRegistration> {
        let registration = Arc::new(ClusterRegistration::new(channel));
        self.cluster.store(Some(Arc::clone(&registration)));
        registration
    }

    /// Removes the receiver of other consenters' requests when its Raft chain ends, unless another chain has
    /// registered since.
    pub(crate) fn unregister_cluster(&self, registration: &Arc<ClusterRegistration>) {
        self.cluster.compare_and_swap(&Some(Arc::clone(registration)), None);
    }

    /// Returns the handle of the actor that owns the channel's chain, if it exists.
    pub fn support(&self) -> Option<Arc<ChainSupportHandle>> {
        self.support.load_full()
    }

    /// Sets the state on behalf of ChainSupport or Registrar. Later states from an earlier chain are ignored.
    pub(crate) fn set_state(&self, state: ChannelState) {
        self.newest_lease.fetch_add(1, Ordering::Relaxed);
        self.store_state(state);
    }

    /// Creates the token of a starting chain, and revokes the previous one. All of a channel's actors are on one
    /// thread.
    pub(crate) fn acquire_state_lease(&self) -> StateLease {
        StateLease(self.newest_lease.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Sets the state on behalf of a chain. The state is ignored if another party has set it since, because a chain
    /// that was abandoned may still have messages to handle.
    pub(crate) fn set_state_with_lease(&self, lease: StateLease, state: ChannelState) {
        if self.holds_lease(lease) {
            self.store_state(state);
        }
    }

    fn store_state(&self, state: ChannelState) {
        let now = now_ms();
        let next = match state {
            ChannelState::Retrying { pause_ms, .. } | ChannelState::Restarting { pause_ms, .. } => {
                now.saturating_add(pause_ms)
            }
            _ => 0,
        };
        // the times are stored first: a reader who sees the state also sees when it began
        if std::mem::discriminant(&state) != std::mem::discriminant(&*self.state.borrow()) {
            self.state_since_ms.store(now, Ordering::Relaxed);
        }
        self.next_attempt_ms.store(next, Ordering::Relaxed);
        self.state.send_replace(state);
    }

    /// Returns whether this chain may still set the channel's state.
    pub(crate) fn holds_lease(&self, lease: StateLease) -> bool {
        self.newest_lease.load(Ordering::Relaxed) == lease.0
    }

    /// Puts the configuration of this block in force.
    pub(crate) fn apply_config(&self, config_block: BlockNumber, snapshot: Arc<ChannelSnapshot>) {
        let addresses = own::other_orderers_of_solo(&snapshot);
        self.snapshot.store(snapshot);
        self.config_block.store(config_block.0, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
        // whoever reads the log finds it so
        self.warn_of_other_orderers(addresses);
    }

    /// Warns if a solo channel names other orderers, because each of them would order a separate chain.
    fn warn_of_other_orderers(&self, addresses: Option<BTreeSet<String>>) {
        if let Some(addresses) = addresses {
            let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
            tracing::warn!(target: "orderer.chain", channel = %self.id, %addresses, "{}", own::WARNING_SOLO);
        }
    }

    /// Returns the configuration in force and the number of its block. The caller must hold the channel's commit lock.
    pub(crate) fn current_config(&self) -> (BlockNumber, Arc<ChannelSnapshot>) {
        (BlockNumber(self.config_block.load(Ordering::Acquire)), self.snapshot())
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("id", &self.id).field("state", &self.state()).finish_non_exhaustive()
    }
}
