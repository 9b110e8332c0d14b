//! The consenters that a leader hears from, and the reports about them to its followers.
//!
//! Fabric rejects a config update that would leave too few active consenters, on whichever node the update comes in.
//! The leader therefore adds `etcdraft.ClusterMetadata` to one message for each follower whenever the number of active
//! consenters has been constant for some ticks (Fabric's `tracker.go` and `disseminator.go`).

use std::collections::BTreeSet;

use bytes::Bytes;
use fabric_proto::etcdraft::ClusterMetadata;
use orderer_raft::{Role, Status};
use prost::Message as _;

/// Number of further ticks with the same number of active consenters after which the set is reported.
const STABLE_TICKS: u32 = 3;

/// The active consenters, as far as this node knows.
#[derive(Clone, Debug, Default)]
pub(super) struct ActiveNodes {
    active: BTreeSet<u64>,
    stable: u32,
    /// The set that this node, as the leader, reported last.
    settled: BTreeSet<u64>,
    metadata: Bytes,
    told: BTreeSet<u64>,
}

impl ActiveNodes {
    /// Returns the active consenters, as far as this node knows: a leader learns them from responses, a follower from
    /// its leader.
    pub(super) fn get(&self) -> &BTreeSet<u64> {
        &self.active
    }

    /// Returns the set that a leader reports to its followers. Empty if this node does not lead, or has not reported
    /// yet.
    pub(super) fn settled(&self) -> &BTreeSet<u64> {
        &self.settled
    }

    /// Updates the set from the state of the Raft machine before a tick.
    pub(super) fn tick(&mut self, status: &Status) {
        if status.leader.is_none() {
            self.active.clear();
        }
        if status.leader.is_none() || status.role != Role::Leader {
            self.settled.clear();
            return;
        }
        let heard = status.peers.iter().filter(|peer| peer.active && peer.id != status.id).map(|peer| peer.id);
        let current: BTreeSet<u64> = heard.chain([status.id]).collect();
        let same = current.len() == self.active.len();
        self.active = current;
        if !same {
            self.stable = 0;
        } else if self.stable < STABLE_TICKS {
            self.stable += 1;
        } else {
            self.stable = 0;
            self.settled.clone_from(&self.active);
            let active_nodes = self.active.iter().copied().collect();
            self.metadata = ClusterMetadata { active_nodes }.encode_to_vec().into();
            self.told.clear();
        }
    }

    /// Returns the metadata for the next message to this consenter: each report is sent to each consenter once;
    /// otherwise empty.
    pub(super) fn metadata_for(&mut self, to: u64) -> Bytes {
        if !self.metadata.is_empty() && self.told.insert(to) { self.metadata.clone() } else { Bytes::new() }
    }

    /// Accepts the leader's report. Ignores one that does not parse.
    pub(super) fn told_by_leader(&mut self, metadata: Bytes) {
        if let Ok(ClusterMetadata { active_nodes }) = ClusterMetadata::decode(metadata) {
            self.active = active_nodes.into_iter().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderer_raft::{Peer, ReplicationMode};

    fn status(role: Role, leader: Option<u64>, active: &[u64]) -> Status {
        let peer = |id| Peer {
            id,
            matched: 0,
            next: 1,
            active: active.contains(&id),
            flow: ReplicationMode::Probe,
            paused: false,
            in_flight: 0,
        };
        Status {
            id: 1,
            term: 1,
            vote: 0,
            leader,
            role,
            commit: 0,
            applied: 0,
            last: 0,
            last_term: 0,
            transferee: None,
            voters: vec![1, 2, 3],
            peers: (1..=3).map(peer).collect(),
        }
    }

    #[test]
    fn a_stable_number_is_told_once_to_each() {
        let mut nodes = ActiveNodes::default();
        let leading = status(Role::Leader, Some(1), &[1, 2]);
        for _ in 0..4 {
            nodes.tick(&leading);
            assert_eq!(nodes.metadata_for(2), Bytes::new());
            assert!(nodes.settled().is_empty());
        }
        assert_eq!(nodes.get(), &BTreeSet::from([1, 2]));
        nodes.tick(&leading);
        let told = ClusterMetadata::decode(nodes.metadata_for(2)).expect("metadata");
        assert_eq!(told.active_nodes, [1, 2]);
        assert_eq!(nodes.metadata_for(2), Bytes::new());
        assert_ne!(nodes.metadata_for(3), Bytes::new());
        // the reported set stays until the next report, or until another node leads
        nodes.tick(&status(Role::Leader, Some(1), &[1]));
        assert_eq!(nodes.settled(), &BTreeSet::from([1, 2]));
        nodes.tick(&status(Role::Follower, Some(2), &[]));
        assert!(nodes.settled().is_empty());
    }

    #[test]
    fn a_follower_believes_its_leader_until_it_is_gone() {
        let mut nodes = ActiveNodes::default();
        nodes.told_by_leader(ClusterMetadata { active_nodes: vec![3, 1] }.encode_to_vec().into());
        nodes.tick(&status(Role::Follower, Some(3), &[]));
        assert_eq!(nodes.get(), &BTreeSet::from([1, 3]));
        nodes.told_by_leader(Bytes::from_static(b"\xff"));
        assert_eq!(nodes.get(), &BTreeSet::from([1, 3]));
        nodes.tick(&status(Role::Follower, None, &[]));
        assert!(nodes.get().is_empty());
    }
}
