//! Figures of a channel's Raft chain.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus::Histogram;

/// Figures of one channel. A chain writes them, and the metrics of Fabric read them (`consensus_etcdraft_*`). Counters grow for
/// as long as the process lives, whichever chain of the channel counts.
#[derive(Debug, Default)]
pub struct RaftMetrics {
    runs: AtomicBool,
    cluster_size: AtomicU64,
    is_leader: AtomicBool,
    active_nodes: AtomicU64,
    committed_block: AtomicU64,
    snapshot_block: AtomicU64,
    leader_changes: AtomicU64,
    proposal_failures: AtomicU64,
    normal_proposals: AtomicU64,
    config_proposals: AtomicU64,
    pub(super) persist: OnceLock<Histogram>,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftMetricsSnapshot {
    /// Consenters of the channel.
    pub cluster_size: u64,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Consenters that respond to the leader, itself among them; 0 while there is no leader.
    pub active_nodes: u64,
    /// The newest block that was committed and written.
    pub committed_block: u64,
    /// The block of the newest snapshot.
    pub snapshot_block: u64,
    /// Number of changes to another leader, or to none.
    pub leader_changes: u64,
    /// Envelopes that could not be proposed, nor forwarded to the leader.
    pub proposal_failures: u64,
    /// Envelopes submitted for ordering.
    pub normal_proposals: u64,
    /// Config messages submitted for ordering.
    pub config_proposals: u64,
}

impl RaftMetrics {
    /// A chain begins: it does not lead, and no consenter is known to be active. Until then the channel has no series of Raft.
    pub fn begins(&self, cluster_size: usize, committed_block: u64, snapshot_block: u64) {
        self.consents(cluster_size);
        self.leads(false);
        self.active(0);
        self.committed(committed_block);
        self.snapshot(snapshot_block);
        self.runs.store(true, Ordering::Release);
    }

    /// Records that no Raft chain runs in the channel any more: it has no series of Raft.
    pub fn ends(&self) {
        self.runs.store(false, Ordering::Release);
    }

    /// The number of the channel's consenters.
    pub fn consents(&self, cluster_size: usize) {
        self.cluster_size.store(cluster_size as u64, Ordering::Relaxed);
    }

    /// Records whether this node leads.
    pub fn leads(&self, is_leader: bool) {
        self.is_leader.store(is_leader, Ordering::Relaxed);
    }

    /// The number of active consenters; 0 while there is no leader that could know.
    pub fn active(&self, nodes: usize) {
        self.active_nodes.store(nodes as u64, Ordering::Relaxed);
    }

    /// This block is committed and written.
    pub fn committed(&self, block: u64) {
        self.committed_block.store(block, Ordering::Relaxed);
    }

    /// A snapshot was taken at this block.
    pub fn snapshot(&self, block: u64) {
        self.snapshot_block.store(block, Ordering::Relaxed);
    }

    /// Another leader is known than before, or none any more.
    pub fn leader_changed(&self) {
        self.leader_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// An envelope can neither be proposed nor forwarded.
    pub fn proposal_failed(&self) {
        self.proposal_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// An envelope is to be ordered.
    pub fn normal_proposal(&self) {
        self.normal_proposals.fetch_add(1, Ordering::Relaxed);
    }

    /// A config message is to be ordered.
    pub fn config_proposal(&self) {
        self.config_proposals.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the current figures; `None` if no Raft chain runs in the channel.
    pub fn shown(&self) -> Option<RaftMetricsSnapshot> {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        self.runs.load(Ordering::Acquire).then(|| RaftMetricsSnapshot {
            cluster_size: load(&self.cluster_size),
            is_leader: self.is_leader.load(Ordering::Relaxed),
            active_nodes: load(&self.active_nodes),
            committed_block: load(&self.committed_block),
            snapshot_block: load(&self.snapshot_block),
            leader_changes: load(&self.leader_changes),
            proposal_failures: load(&self.proposal_failures),
            normal_proposals: load(&self.normal_proposals),
            config_proposals: load(&self.config_proposals),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_begins_again_keeps_what_was_counted() {
        let figures = RaftMetrics::default();
        assert_eq!(figures.shown(), None);
        figures.begins(3, 7, 5);
        figures.leads(true);
        figures.active(3);
        figures.leader_changed();
        figures.normal_proposal();
        let first = RaftMetricsSnapshot {
            cluster_size: 3,
            is_leader: true,
            active_nodes: 3,
            committed_block: 7,
            snapshot_block: 5,
            leader_changes: 1,
            normal_proposals: 1,
            ..RaftMetricsSnapshot::default()
        };
        assert_eq!(figures.shown(), Some(first));
        figures.ends();
        assert_eq!(figures.shown(), None);
        figures.begins(4, 8, 5);
        let again =
            RaftMetricsSnapshot { cluster_size: 4, is_leader: false, active_nodes: 0, committed_block: 8, ..first };
        assert_eq!(figures.shown(), Some(again));
    }
}
