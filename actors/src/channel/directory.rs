//! All channels of the node, by their names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use orderer_core::channel::ChannelId;

use super::Channel;

/// A channel whose ledger could not be opened. Nothing of it can be read.
#[derive(Clone, Debug)]
pub struct BrokenChannel {
    /// Name of the channel.
    pub id: ChannelId,
    /// The reason why its ledger could not be opened.
    pub cause: String,
}

/// A channel of the node.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The channel can be read, and accepts messages if its state permits that.
    Open(Arc<Channel>),
    /// The channel cannot be read.
    Broken(Arc<BrokenChannel>),
}

type Channels = BTreeMap<ChannelId, Entry>;

/// All channels of the node. Reads take no lock; only the Registrar changes it. It outlives the Registrar.
#[derive(Debug, Default)]
pub struct Directory {
    channels: ArcSwap<Channels>,
    changes: Arc<AtomicU64>,
}

impl Directory {
    /// Returns the channel with this name. Any text is permitted.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let id = ChannelId::parse(name).ok()?;
        self.channels.load().get(&id).cloned()
    }

    /// Returns the system channel, through which other channels are created, if there is one.
    pub fn system_channel(&self) -> Option<Arc<Channel>> {
        let channels = self.channels.load();
        channels.values().find_map(|entry| match entry {
            Entry::Open(channel) if channel.snapshot().is_system_channel() => Some(Arc::clone(channel)),
            _ => None,
        })
    }

    /// Returns a number that changes whenever a channel is added or removed, or its configuration changes.
    pub fn generation(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns the counter of changes in all channels.
    pub(crate) fn changes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.changes)
    }

    /// Returns the number of the channel's blocks, if it can be read.
    pub fn height_of(&self, id: &ChannelId) -> Option<u64> {
        match self.channels.load().get(id) {
            Some(Entry::Open(channel)) => Some(channel.ledger().height()),
            _ => None,
        }
    }

    /// Returns all channels, by name.
    pub fn all(&self) -> Arc<BTreeMap<ChannelId, Entry>> {
        self.channels.load_full()
    }

    /// Returns the channels that could be opened.
    pub fn open(&self) -> Vec<Arc<Channel>> {
        let open = |entry: &Entry| match entry {
            Entry::Open(channel) => Some(Arc::clone(channel)),
            Entry::Broken(_) => None,
        };
        self.channels.load().values().filter_map(open).collect()
    }

    /// Removes a channel and returns it; handles to it stay valid.
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
