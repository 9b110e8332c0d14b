//! A channel, for those who are no actors: snapshots to read and a gate to send through.

mod consenter_status;
mod directory;
mod messages;
mod state;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use orderer_core::channel::{BlockNumber, ChannelId};
use orderer_core::config::ChannelSnapshot;
use orderer_core::own;
use orderer_ledger::Ledger;
use tokio::sync::watch;

pub use consenter_status::KafkaHealth;
pub use directory::{BrokenChannel, Directory, Entry};
#[cfg(test)]
pub(crate) use messages::Kill;
pub use messages::{Follow, Following, NewChannel, RestartError, SupportHandle};
pub(crate) use messages::{LookForChannels, StopChain, TryAgain, Unfollow};
pub use state::ChannelState;

use crate::mailbox::Gate;
use crate::observe::{ChannelObserved, Observed};
use crate::status::{ChainGauges, now_ms};

/// A chain's right to say how its channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voice(u64);

/// One channel's state, shared by its actors and by everybody who serves requests: its ledger, its configuration, its gate and how
/// its chain stands. Reading it waits for no actor.
pub struct Channel {
    id: ChannelId,
    ledger: Arc<Ledger>,
    snapshot: ArcSwap<ChannelSnapshot>,
    /// Number of the block that the snapshot came from. Written with it, by one at a time.
    config_block: AtomicU64,
    gate: Gate,
    observed: Arc<ChannelObserved>,
    state: watch::Sender<ChannelState>,
    /// When it entered that state, in milliseconds since 1970.
    state_since_ms: AtomicU64,
    /// When it is tried again, in milliseconds since 1970; 0: there is nothing to try.
    next_attempt_ms: AtomicU64,
    gauges: ChainGauges,
    /// Which chain's word counts; see [`Voice`].
    voice: AtomicU64,
    pub(crate) support: ArcSwapOption<SupportHandle>,
    /// While a topic is followed.
    pub(crate) kafka_health: ArcSwapOption<KafkaHealth>,
    /// Counts what changes in any channel.
    changes: Arc<AtomicU64>,
}

impl Channel {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        snapshot: Arc<ChannelSnapshot>,
        gate_bytes: u32,
        changes: Arc<AtomicU64>,
        observed: &Arc<Observed>,
    ) -> Self {
        Self {
            id: ledger.channel().clone(),
            config_block: AtomicU64::new(ledger.last_config().0),
            snapshot: ArcSwap::new(snapshot),
            gate: Gate::new(gate_bytes),
            observed: Arc::new(ChannelObserved::new(observed, ledger.channel())),
            state: watch::Sender::new(ChannelState::Starting),
            state_since_ms: AtomicU64::new(now_ms()),
            next_attempt_ms: AtomicU64::new(0),
            gauges: ChainGauges::default(),
            voice: AtomicU64::new(0),
            support: ArcSwapOption::empty(),
            kafka_health: ArcSwapOption::empty(),
            changes,
            ledger,
        }
    }

    /// Its name.
    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    /// Its blocks.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The configuration in force: that of the newest config block on the disk.
    pub fn snapshot(&self) -> Arc<ChannelSnapshot> {
        self.snapshot.load_full()
    }

    /// The way in for messages.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Where the ordering path tells what happens in it.
    pub fn observed(&self) -> &Arc<ChannelObserved> {
        &self.observed
    }

    /// How it stands.
    pub fn state(&self) -> ChannelState {
        self.state.borrow().clone()
    }

    /// When the next attempt is made to have it run, in milliseconds since 1970, if it waits for one.
    pub fn next_attempt_ms(&self) -> Option<u64> {
        Some(self.next_attempt_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Since when it stands so, in milliseconds since 1970.
    pub fn state_since_ms(&self) -> u64 {
        self.state_since_ms.load(Ordering::Relaxed)
    }

    /// What its chain publishes of its work.
    pub fn gauges(&self) -> &ChainGauges {
        &self.gauges
    }

    /// Follows how it stands.
    pub fn states(&self) -> watch::Receiver<ChannelState> {
        self.state.subscribe()
    }

    /// How its topic fares, while it follows one.
    pub fn kafka_health(&self) -> Option<Arc<KafkaHealth>> {
        self.kafka_health.load_full()
    }

    /// The actor that owns the channel's chain, while there is one.
    pub fn support(&self) -> Option<Arc<SupportHandle>> {
        self.support.load_full()
    }

    /// From ChainSupport and Registrar, whose word is the last: a chain that spoke before is not heard any more.
    pub(crate) fn enter(&self, state: ChannelState) {
        self.voice.fetch_add(1, Ordering::Relaxed);
        self.replace_state(state);
    }

    /// For a chain that begins; all of a channel's actors are on one thread.
    pub(crate) fn new_voice(&self) -> Voice {
        Voice(self.voice.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// From a chain: heard until somebody else has spoken. One that was abandoned may still have messages to handle.
    pub(crate) fn enter_as(&self, voice: Voice, state: ChannelState) {
        if self.hears(voice) {
            self.replace_state(state);
        }
    }

    fn replace_state(&self, state: ChannelState) {
        let next = match state {
            ChannelState::Retrying { pause_ms, .. } | ChannelState::Restarting { pause_ms, .. } => {
                now_ms().saturating_add(pause_ms)
            }
            _ => 0,
        };
        self.next_attempt_ms.store(next, Ordering::Relaxed);
        let before = self.state.send_replace(state);
        if std::mem::discriminant(&before) != std::mem::discriminant(&*self.state.borrow()) {
            self.state_since_ms.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Whether a chain still speaks for its channel.
    pub(crate) fn hears(&self, voice: Voice) -> bool {
        self.voice.load(Ordering::Relaxed) == voice.0
    }

    /// Puts the configuration of this block in force.
    pub(crate) fn configure(&self, config_block: BlockNumber, snapshot: Arc<ChannelSnapshot>) {
        self.warn_of_other_orderers(&snapshot);
        self.snapshot.store(snapshot);
        self.config_block.store(config_block.0, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Nobody knows which of the orderers that a solo channel names serve it: each would make a chain of its own.
    fn warn_of_other_orderers(&self, snapshot: &ChannelSnapshot) {
        if let Some(addresses) = own::others_of_solo(snapshot) {
            let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
            tracing::warn!(target: "orderer.chain", channel = %self.id, %addresses, "{}", own::WARNING_SOLO);
        }
    }

    /// The configuration in force and the number of its block, for one who lets nobody commit meanwhile.
    pub(crate) fn configured(&self) -> (BlockNumber, Arc<ChannelSnapshot>) {
        (BlockNumber(self.config_block.load(Ordering::Acquire)), self.snapshot())
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("id", &self.id).field("state", &self.state()).finish_non_exhaustive()
    }
}
