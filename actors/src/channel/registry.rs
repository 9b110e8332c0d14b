//! All channels of the node, by their names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use orderer_core::types::ChannelId;

use super::Channel;

/// A channel whose ledger could not be opened. Nothing of it can be read.
#[derive(Clone, Debug)]
pub struct UnavailableChannel {
    /// Name of the channel.
    pub id: ChannelId,
    /// The reason why its ledger could not be opened.
    pub cause: String,
}

/// A channel of the node.
#[derive(Clone, Debug)]
pub enum ChannelEntry {
    /// The channel can be read, and accepts messages if its state permits that.
    Open(Arc<Channel>),
    /// The channel cannot be read.
    Unavailable(Arc<UnavailableChannel>),
}

type Channels = BTreeMap<ChannelId, ChannelEntry>;

/// All channels of the node. Reads take no lock; only the Registrar changes it. It outlives the Registrar.
#[derive(Debug, Default)]
pub struct ChannelRegistry {
    channels: ArcSwap<Channels>,
    changes: Arc<AtomicU64>,
}

impl ChannelRegistry {
    /// Returns the channel with this name. Any text is permitted.
    pub fn get(&self, name: &str) -> Option<ChannelEntry> {
        let id = ChannelId::parse(name).ok()?;
        self.channels.load().get(&id).cloned()
    }

    /// Returns the system channel, through which other channels are created, if there is one.
    pub fn system_channel(&self) -> Option<Arc<Channel>> {
        let channels = self.channels.load();
        channels.values().find_map(|entry| match entry {
            ChannelEntry::Open(channel) if channel.snapshot().is_system_channel() => Some(Arc::clone(channel)),
            _ => None,
        })
    }

    /// Returns a number that changes whenever a channel is added or removed, or its configuration changes.
    pub fn version(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns the counter of changes in all channels.
    pub(crate) fn version_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.changes)
    }

    /// Returns the number of the channel's blocks, if it can be read.
    pub fn height_of(&self, id: &ChannelId) -> Option<u64> {
        match self.channels.load().get(id) {
            Some(ChannelEntry::Open(channel)) => Some(channel.ledger().height()),
            _ => None,
        }
    }

    /// Returns all channels, by name.
    pub fn entries(&self) -> Arc<BTreeMap<ChannelId, ChannelEntry>> {
        self.channels.load_full()
    }

    /// Returns the channels that could be opened.
    pub fn open_channels(&self) -> Vec<Arc<Channel>> {
        let open = |entry: &ChannelEntry| match entry {
            ChannelEntry::Open(channel) => Some(Arc::clone(channel)),
            ChannelEntry::Unavailable(_) => None,
        };
        self.channels.load().values().filter_map(open).collect()
    }

    /// Removes a channel and returns it; handles to it stay valid.
    pub(crate) fn remove(&self, id: &ChannelId) -> Option<ChannelEntry> {
        let before = self.channels.rcu(|channels| {
            let mut channels = Channels::clone(channels);
            channels.remove(id);
            channels
        });
        self.changes.fetch_add(1, Ordering::Release);
        before.get(id).cloned()
    }

    pub(crate) fn insert(&self, entries: &[(ChannelId, ChannelEntry)]) {
        self.channels.rcu(|channels| {
            let mut channels = Channels::clone(channels);
            channels.extend(entries.iter().cloned());
            channels
        });
        self.changes.fetch_add(1, Ordering::Release);
    }
}
