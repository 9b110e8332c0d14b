//! A channel, for those who are no actors: snapshots to read and a gate to send through.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Addr;
use arc_swap::{ArcSwap, ArcSwapOption};
use orderer_core::channel::{BlockNumber, ChannelId};
use orderer_core::config::ChannelSnapshot;
use orderer_ledger::Ledger;
use serde::Serialize;
use tokio::sync::watch;

use crate::chain_support::ChainSupport;
use crate::consensus::kafka::KafkaHealth;
use crate::mailbox::Gate;
use crate::observe::{ChannelObserved, Observed};
use crate::status::{ChainGauges, now_ms};

/// How a channel stands; also what its page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ChannelState {
    /// Its chain is being built from the ledger.
    Starting,
    /// Its Kafka cluster is being reached for the first time.
    Connecting,
    /// Records of its topic are being taken in that were there before.
    CatchingUp {
        /// The next record's.
        offset: i64,
        /// Behind the last of them.
        end: i64,
    },
    /// It takes messages.
    Running,
    /// Its Kafka cluster does not serve it, and is tried again.
    Retrying {
        /// How often in a row.
        attempt: usize,
        /// What went wrong.
        cause: String,
        /// Milliseconds until the next attempt, from when that is said.
        pause_ms: u64,
    },
    /// Its chain died and will be built again.
    Restarting {
        /// How often within the policy's window.
        attempt: usize,
        /// What it died of.
        cause: String,
        /// Milliseconds until the next attempt, from when that is said.
        pause_ms: u64,
    },
    /// It takes nothing until a person has acted. What is on its disk can be read.
    Failed {
        /// What happened.
        cause: String,
        /// What to do about it.
        action: String,
    },
    /// The node is shutting down.
    Stopped,
    /// It is no channel of this node any more.
    Removed,
}

impl fmt::Display for ChannelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("its chain is starting"),
            Self::Connecting => f.write_str("its Kafka cluster is being reached"),
            Self::CatchingUp { offset, end } => {
                write!(f, "it is catching up with its topic, at offset {offset} of {end}")
            }
            Self::Running => f.write_str("its chain is running"),
            Self::Retrying { attempt, cause, pause_ms } => {
                write!(f, "its Kafka cluster does not serve it (attempt {attempt}, again after {pause_ms} ms): {cause}")
            }
            Self::Restarting { attempt, cause, pause_ms } => {
                write!(f, "its chain restarts (attempt {attempt}, after {pause_ms} ms): {cause}")
            }
            Self::Failed { cause, action } => write!(f, "it has failed: {cause}; {action}"),
            Self::Stopped => f.write_str("the orderer is shutting down"),
            Self::Removed => f.write_str("it was removed from this orderer"),
        }
    }
}

/// A chain's right to say how its channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voice(u64);

/// See the module's description.
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
    pub(crate) support: ArcSwapOption<Addr<ChainSupport>>,
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
        directory: &Directory,
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
            changes: Arc::clone(&directory.changes),
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
    pub fn support(&self) -> Option<Addr<ChainSupport>> {
        self.support.load().as_ref().map(|addr| Addr::clone(addr))
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
        self.snapshot.store(snapshot);
        self.config_block.store(config_block.0, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
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

/// A channel whose ledger could not be opened: there is nothing to read, only a reason.
#[derive(Clone, Debug)]
pub struct BrokenChannel {
    /// Its name.
    pub id: ChannelId,
    /// What was found.
    pub cause: String,
}

/// A channel by its name.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It can be read, and written if its state says so.
    Open(Arc<Channel>),
    /// It cannot even be read.
    Broken(Arc<BrokenChannel>),
}

type Channels = BTreeMap<ChannelId, Entry>;

/// All channels of the node. Read by everyone without a lock, changed by the Registrar alone; it outlives the Registrar.
#[derive(Debug, Default)]
pub struct Directory {
    channels: ArcSwap<Channels>,
    changes: Arc<AtomicU64>,
}

impl Directory {
    /// The channel of this name; any text may be asked for.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let id = ChannelId::parse(name).ok()?;
        self.channels.load().get(&id).cloned()
    }

    /// The channel through which others are created, if there is one.
    pub fn system_channel(&self) -> Option<Arc<Channel>> {
        let channels = self.channels.load();
        channels.values().find_map(|entry| match entry {
            Entry::Open(channel) if channel.snapshot.load().is_system_channel() => Some(Arc::clone(channel)),
            _ => None,
        })
    }

    /// Another number whenever a channel is added or its configuration changes.
    pub fn generation(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// All channels, by name.
    pub fn all(&self) -> Arc<BTreeMap<ChannelId, Entry>> {
        self.channels.load_full()
    }

    /// Those that could be opened.
    pub fn open(&self) -> Vec<Arc<Channel>> {
        let open = |entry: &Entry| match entry {
            Entry::Open(channel) => Some(Arc::clone(channel)),
            Entry::Broken(_) => None,
        };
        self.channels.load().values().filter_map(open).collect()
    }

    /// Takes a channel out; who holds it keeps it.
    pub(crate) fn remove(&self, id: &ChannelId) -> Option<Entry> {
        let before = self.channels.rcu(|channels| {
            let mut channels = Channels::clone(channels);
            channels.remove(id);
            channels
        });
        self.changes.fetch_add(1, Ordering::Release);
        before.get(id).cloned()
    }

    pub(crate) fn insert(&self, entries: &[(ChannelId, Entry)]) {
        self.channels.rcu(|channels| {
            let mut channels = Channels::clone(channels);
            channels.extend(entries.iter().cloned());
            channels
        });
        self.changes.fetch_add(1, Ordering::Release);
    }
}
