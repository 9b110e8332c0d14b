//! What belongs to the node and not to one channel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orderer_cluster::Network;
use orderer_core::channel::ChannelId;
use orderer_core::ordering::raft::Acknowledge;

use crate::replication::Replication;

/// What the chains of all channels share.
pub struct RaftParts {
    /// The way to the other consenters.
    pub network: Arc<dyn Network>,
    /// Gets blocks from other orderers.
    pub replication: Replication,
    /// See [`RaftSettings`].
    pub settings: RaftSettings,
    /// Memory of the Raft logs of all channels, in bytes.
    pub log_bytes: usize,
}

/// Minimum memory of a channel's log in bytes, however many channels there are.
const LEAST_LOG_BYTES: usize = 64 << 10;

/// What an operator can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftSettings {
    /// After so long without a leader a node asks other orderers how the channel stands (`Consensus.EvictionSuspicion`).
    pub eviction_suspicion: Duration,
    /// The time between two ticks, in place of that of the channels' configurations (`Consensus.TickIntervalOverride`).
    pub tick_interval_override: Option<Duration>,
    /// When the sender of an envelope is answered SUCCESS (`Raft.Acknowledge`).
    pub acknowledge: Acknowledge,
}

/// See [`RaftParts`].
pub(super) struct RaftShared {
    pub(super) parts: RaftParts,
    logs: Mutex<HashMap<ChannelId, Arc<tokio::sync::Mutex<()>>>>,
    /// The number of logs in memory.
    in_memory: AtomicUsize,
}

/// The right to use the Raft log of a channel. It goes with the log, to wherever the log is used: the chain of before may have
/// ended while a thread still writes.
pub(super) type LogRight = tokio::sync::OwnedMutexGuard<()>;

impl RaftShared {
    pub(super) fn new(parts: RaftParts) -> Self {
        Self { parts, logs: Mutex::default(), in_memory: AtomicUsize::new(0) }
    }

    /// Counts a log as in memory until the returned value is dropped.
    pub(super) fn log_in_memory(self: &Arc<Self>) -> LogInMemory {
        self.in_memory.fetch_add(1, Ordering::Relaxed);
        LogInMemory(Arc::clone(self))
    }

    /// Waits until nobody uses the channel's log.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue; nothing else is lost.
    pub(super) async fn log_right(&self, channel: &ChannelId) -> LogRight {
        let right = {
            let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            // of channels that are gone
            logs.retain(|known, right| known == channel || Arc::strong_count(right) > 1);
            Arc::clone(logs.entry(channel.clone()).or_default())
        };
        right.lock_owned().await
    }
}

/// A log in memory, which has an equal share of the memory for all of them.
pub(super) struct LogInMemory(Arc<RaftShared>);

impl LogInMemory {
    /// Returns the log's share of memory in bytes.
    pub(super) fn share(&self) -> u64 {
        let logs = self.0.in_memory.load(Ordering::Relaxed).max(1);
        (self.0.parts.log_bytes / logs).max(LEAST_LOG_BYTES) as u64
    }
}

impl Drop for LogInMemory {
    fn drop(&mut self) {
        self.0.in_memory.fetch_sub(1, Ordering::Relaxed);
    }
}
