//! Values that the Raft chains of all channels of a node share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orderer_cluster::Network;
use orderer_core::ordering::raft::AcknowledgePoint;
use orderer_core::types::ChannelId;

use super::ticks::TickGroups;
use crate::replication::ReplicationContext;

/// Dependencies and settings of all Raft chains of a node.
pub struct RaftContext {
    /// Transport to the other consenters.
    pub network: Arc<dyn Network>,
    /// Replicates blocks from other orderers.
    pub replication: ReplicationContext,
    /// Settings of the operator.
    pub settings: RaftSettings,
    /// Memory of the Raft logs of all channels, in bytes.
    pub log_bytes: usize,
    /// Duration without a leader after which a sender that waits for one is rejected.
    pub leader_patience: Duration,
}

/// The usual [`RaftContext::leader_patience`]: longer than elections take.
pub const LEADER_PATIENCE: Duration = Duration::from_secs(30);

/// Minimum memory of a channel's log in bytes, however many channels there are.
const MIN_LOG_BYTES: usize = 64 << 10;

/// Raft settings of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftSettings {
    /// Duration without a leader after which a node asks other orderers for the newest config block
    /// (`Consensus.EvictionSuspicion`).
    pub eviction_suspicion: Duration,
    /// Interval between two ticks that overrides the channels' configurations (`Consensus.TickIntervalOverride`).
    pub tick_interval_override: Option<Duration>,
    /// Condition under which the sender of an envelope gets the response SUCCESS (`Raft.Acknowledge`).
    pub acknowledge: AcknowledgePoint,
}

/// The [`RaftContext`], and the locks of the channels' Raft logs.
pub(super) struct RaftSharedState {
    pub(super) parts: RaftContext,
    logs: Mutex<HashMap<ChannelId, Arc<tokio::sync::Mutex<()>>>>,
    /// The number of logs in memory.
    in_memory: AtomicUsize,
    /// When the chains tick.
    pub(super) ticks: Arc<TickGroups>,
}

/// Exclusive permit to use the Raft log of a channel. It moves with the log to the thread that uses it, because a thread
/// may still write after its chain has ended.
pub(super) type LogPermit = tokio::sync::OwnedMutexGuard<()>;

impl RaftSharedState {
    pub(super) fn new(parts: RaftContext) -> Self {
        Self { parts, logs: Mutex::default(), in_memory: AtomicUsize::new(0), ticks: TickGroups::new() }
    }

    /// Counts a log as in memory until the returned value is dropped.
    pub(super) fn log_in_memory(self: &Arc<Self>) -> LogInMemory {
        self.in_memory.fetch_add(1, Ordering::Relaxed);
        LogInMemory(Arc::clone(self))
    }

    /// Waits until the channel's Raft log is unused, and acquires it.
    ///
    /// # Cancel safety
    /// Cancel safe. A dropped call loses its place in the queue.
    pub(super) async fn log_permit(&self, channel: &ChannelId) -> LogPermit {
        let lock = {
            let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            // removes the locks of other channels that are not in use
            logs.retain(|known, lock| known == channel || Arc::strong_count(lock) > 1);
            Arc::clone(logs.entry(channel.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

/// A log in memory, which has an equal share of the memory for all of them.
pub(super) struct LogInMemory(Arc<RaftSharedState>);

impl LogInMemory {
    /// Returns the log's share of memory in bytes.
    pub(super) fn share(&self) -> u64 {
        let logs = self.0.in_memory.load(Ordering::Relaxed).max(1);
        (self.0.parts.log_bytes / logs).max(MIN_LOG_BYTES) as u64
    }
}

impl Drop for LogInMemory {
    fn drop(&mut self) {
        self.0.in_memory.fetch_sub(1, Ordering::Relaxed);
    }
}
