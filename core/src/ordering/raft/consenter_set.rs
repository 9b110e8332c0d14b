//! The consenters of a channel and their Raft IDs.
//!
//! The configuration lists consenters by certificate, and Raft identifies them by ID. The metadata of the newest block
//! (`etcdraft.BlockMetadata`) maps one to the other: `consenter_ids` has the order of the configuration's list. The
//! effect of a change of that list is that of Fabric's `ComputeMembershipChanges`: a consenter is identified by the
//! bytes of its client certificate.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fabric_proto::etcdraft::{BlockMetadata, Consenter};
use fabric_proto::raftpb::{ConfChange, ConfChangeType};
use prost::Message as _;

/// The consenters under one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsenterSet {
    /// Raft ID and consenter, in the order of the configuration.
    listed: Vec<(u64, Consenter)>,
    next_id: u64,
}

/// The list of consenters and the metadata of a block contradict each other, or a change of the list is not permitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsenterSetError {
    /// The metadata does not parse.
    #[error("the consenter metadata of the newest block does not parse: {0}")]
    Malformed(prost::DecodeError),
    /// The number of IDs differs from the number of consenters.
    #[error("the newest block has {ids} consenter IDs, and the configuration names {consenters} consenters")]
    Count {
        /// Number of IDs in the block.
        ids: usize,
        /// Number of consenters in the configuration.
        consenters: usize,
    },
    /// A consenter ID is zero, is listed twice, or is not below the next ID.
    #[error("consenter ID {0} in the newest block is zero, there twice, or not below the next ID")]
    Id(u64),
    /// More than one consenter is added or removed, and Raft changes its members one by one.
    #[error(
        "update of more than one consenter at a time is not supported, requested changes: add {added} node(s), remove {removed} node(s)"
    )]
    ManyChanges {
        /// Number of added consenters.
        added: usize,
        /// Number of removed consenters.
        removed: usize,
    },
}

/// The effect of a new list of consenters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsenterSetChange {
    /// The consenters from the configuration with the new list on.
    pub members: ConsenterSet,
    /// The member that Raft has to add or remove.
    pub step: MembershipStep,
}

/// The effect of a config update on the consenters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipStep {
    /// The same consenters, possibly at other addresses.
    None,
    /// Adds the consenter with this ID.
    Add(u64),
    /// Removes the consenter with this ID.
    Remove(u64),
    /// Replaces the certificate of the consenter with this ID.
    Rotate(u64),
}

impl MembershipStep {
    /// Returns the change that Raft has to agree on, if any. A consenter whose certificate is replaced keeps its ID.
    pub fn conf_change(self) -> Option<ConfChange> {
        let (kind, id) = match self {
            Self::None | Self::Rotate(_) => return None,
            Self::Add(id) => (ConfChangeType::ConfChangeAddNode, id),
            Self::Remove(id) => (ConfChangeType::ConfChangeRemoveNode, id),
        };
        Some(ConfChange { r#type: kind as i32, node_id: id, ..ConfChange::default() })
    }
}

impl ConsenterSet {
    /// Pairs the consenters of a configuration with the IDs in the metadata of the newest block. Empty metadata, as of
    /// a block from before etcdraft, has no IDs, and the consenters are numbered from 1. Returns the consenters and the
    /// Raft index in the metadata.
    ///
    /// # Errors
    /// Fails if the metadata does not parse, or the two contradict each other.
    pub fn read(metadata: &Bytes, consenters: &[Consenter]) -> Result<(Self, u64), ConsenterSetError> {
        if metadata.is_empty() {
            return Ok((Self::first(consenters), 0));
        }
        let metadata = BlockMetadata::decode(metadata.clone()).map_err(ConsenterSetError::Malformed)?;
        let BlockMetadata { consenter_ids, next_consenter_id, raft_index } = metadata;
        if consenter_ids.len() != consenters.len() {
            return Err(ConsenterSetError::Count { ids: consenter_ids.len(), consenters: consenters.len() });
        }
        let mut seen = BTreeSet::new();
        for &id in &consenter_ids {
            if id == 0 || id >= next_consenter_id || !seen.insert(id) {
                return Err(ConsenterSetError::Id(id));
            }
        }
        let listed = consenter_ids.into_iter().zip(consenters.iter().cloned()).collect();
        Ok((Self { listed, next_id: next_consenter_id }, raft_index))
    }

    /// Numbers the consenters of a new channel from 1.
    pub fn first(consenters: &[Consenter]) -> Self {
        let listed: Vec<_> = (1..).zip(consenters.iter().cloned()).collect();
        Self { next_id: listed.len() as u64 + 1, listed }
    }

    /// Returns the metadata of a block whose Raft entry has this index (`etcdraft.BlockMetadata`).
    pub fn metadata(&self, raft_index: u64) -> Bytes {
        let consenter_ids = self.listed.iter().map(|(id, _)| *id).collect();
        BlockMetadata { consenter_ids, next_consenter_id: self.next_id, raft_index }.encode_to_vec().into()
    }

    /// Returns the Raft IDs, in the order of the configuration.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.listed.iter().map(|(id, _)| *id)
    }

    /// Returns Raft ID and consenter, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Consenter)> {
        self.listed.iter().map(|(id, consenter)| (*id, consenter))
    }

    /// Returns the consenter with this Raft ID.
    pub fn get(&self, id: u64) -> Option<&Consenter> {
        self.listed.iter().find(|(listed, _)| *listed == id).map(|(_, consenter)| consenter)
    }

    /// Returns the number of consenters.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether there is no consenter.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Computes the effect of a configuration that lists these consenters.
    ///
    /// # Errors
    /// Fails if more than one consenter is added, or more than one is removed.
    pub fn change_to(&self, consenters: &[Consenter]) -> Result<ConsenterSetChange, ConsenterSetError> {
        let known: BTreeMap<&Bytes, u64> =
            self.listed.iter().map(|(id, known)| (&known.client_tls_cert, *id)).collect();
        let wanted: BTreeSet<&Bytes> = consenters.iter().map(|wanted| &wanted.client_tls_cert).collect();
        let added = consenters.iter().filter(|wanted| !known.contains_key(&wanted.client_tls_cert)).count();
        let missing = |(id, known): &(u64, Consenter)| (!wanted.contains(&known.client_tls_cert)).then_some(*id);
        let removed: Vec<u64> = self.listed.iter().filter_map(missing).collect();
        let mut next_id = self.next_id;
        let step = match (added, removed.as_slice()) {
            (0, []) => MembershipStep::None,
            (1, []) => {
                next_id += 1;
                MembershipStep::Add(self.next_id)
            }
            (0, [gone]) => MembershipStep::Remove(*gone),
            (1, [gone]) => MembershipStep::Rotate(*gone),
            (added, removed) => return Err(ConsenterSetError::ManyChanges { added, removed: removed.len() }),
        };
        let of_new = match step {
            MembershipStep::Add(id) | MembershipStep::Rotate(id) => id,
            MembershipStep::None | MembershipStep::Remove(_) => 0,
        };
        let id = |wanted: &Consenter| known.get(&wanted.client_tls_cert).copied().unwrap_or(of_new);
        let listed = consenters.iter().map(|wanted| (id(wanted), wanted.clone())).collect();
        Ok(ConsenterSetChange { members: Self { listed, next_id }, step })
    }

    /// Returns the membership change that is still to be agreed on, if Raft's voters are these: a config block that
    /// adds or removes a consenter is in the chain, and the change that it leads to is not yet applied.
    pub fn unfinished(&self, voters: &[u64]) -> Option<ConfChange> {
        let (ids, voters): (BTreeSet<u64>, BTreeSet<u64>) = (self.ids().collect(), voters.iter().copied().collect());
        if ids.len() == voters.len() {
            return None;
        }
        let added = ids.difference(&voters).next().map(|id| MembershipStep::Add(*id));
        let removed = voters.difference(&ids).next().map(|id| MembershipStep::Remove(*id));
        if ids.len() > voters.len() { added } else { removed }.and_then(MembershipStep::conf_change)
    }
}

impl ConsenterSetChange {
    /// Whether the change would cost the channel its quorum, if `active` are the consenters that the leader hears from.
    /// False for additions and replacements where the result has at most two consenters, because such a channel
    /// tolerates no failure anyway.
    pub fn loses_quorum(&self, active: &BTreeSet<u64>) -> bool {
        let consenters = self.members.len();
        let tolerates_faults = consenters > 2;
        let quorum = consenters / 2 + 1;
        let without = |id: u64| active.iter().filter(|active| **active != id).count();
        match self.step {
            MembershipStep::None => false,
            MembershipStep::Add(_) => tolerates_faults && active.len() < quorum,
            MembershipStep::Rotate(id) => tolerates_faults && without(id) < quorum,
            MembershipStep::Remove(id) => without(id) < quorum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn consenter(name: &str) -> Consenter {
        let certificate = |side: &str| Bytes::from(format!("{side} of {name}"));
        Consenter {
            host: name.to_owned(),
            port: 7050,
            client_tls_cert: certificate("client"),
            server_tls_cert: certificate("server"),
        }
    }

    fn consenters(names: &str) -> Vec<Consenter> {
        names.chars().map(|name| consenter(&name.to_string())).collect()
    }

    fn shown(members: &ConsenterSet) -> String {
        let listed: Vec<_> = members.iter().map(|(id, consenter)| format!("{}{id}", consenter.host)).collect();
        format!("{} next {}", listed.join(" "), members.next_id)
    }

    fn changed(from: &ConsenterSet, names: &str) -> (String, MembershipStep) {
        let change = from.change_to(&consenters(names)).expect("a change of at most one");
        (shown(&change.members), change.step)
    }

    #[test]
    fn ids_are_given_once_and_kept() {
        let first = ConsenterSet::first(&consenters("abc"));
        assert_eq!(shown(&first), "a1 b2 c3 next 4");
        assert_eq!(changed(&first, "cab"), ("c3 a1 b2 next 4".to_owned(), MembershipStep::None));
        assert_eq!(changed(&first, "abcd"), ("a1 b2 c3 d4 next 5".to_owned(), MembershipStep::Add(4)));
        assert_eq!(changed(&first, "ac"), ("a1 c3 next 4".to_owned(), MembershipStep::Remove(2)));
        assert_eq!(changed(&first, "axc"), ("a1 x2 c3 next 4".to_owned(), MembershipStep::Rotate(2)));
        assert_eq!(first.change_to(&consenters("axy")), Err(ConsenterSetError::ManyChanges { added: 2, removed: 2 }));
        // a consenter that is added again gets another ID
        let without = first.change_to(&consenters("ac")).expect("one less").members;
        let again = without.change_to(&consenters("acb")).expect("one more");
        assert_eq!(again.step, MembershipStep::Add(4));
    }

    #[test]
    fn a_block_and_a_configuration_have_to_fit() {
        let listed = consenters("abc");
        let metadata = |ids: &[u64], next| {
            let consenter_ids = ids.to_vec();
            Bytes::from(BlockMetadata { consenter_ids, next_consenter_id: next, raft_index: 7 }.encode_to_vec())
        };
        let (members, index) = ConsenterSet::read(&metadata(&[4, 2, 3], 5), &listed).expect("they fit");
        assert_eq!((shown(&members).as_str(), index), ("a4 b2 c3 next 5", 7));
        assert_eq!(members.metadata(7), metadata(&[4, 2, 3], 5));
        assert_eq!(
            ConsenterSet::read(&metadata(&[1, 2], 3), &listed),
            Err(ConsenterSetError::Count { ids: 2, consenters: 3 })
        );
        assert_eq!(ConsenterSet::read(&metadata(&[1, 2, 2], 3), &listed), Err(ConsenterSetError::Id(2)));
        assert_eq!(ConsenterSet::read(&metadata(&[1, 2, 3], 3), &listed), Err(ConsenterSetError::Id(3)));
        assert_eq!(ConsenterSet::read(&metadata(&[0, 2, 1], 3), &listed), Err(ConsenterSetError::Id(0)));
        assert!(matches!(
            ConsenterSet::read(&Bytes::from_static(b"\xff"), &listed),
            Err(ConsenterSetError::Malformed(_))
        ));
        let (members, index) = ConsenterSet::read(&Bytes::new(), &listed).expect("none are the first");
        assert_eq!((shown(&members).as_str(), index), ("a1 b2 c3 next 4", 0));
    }

    #[test]
    fn a_new_leader_takes_up_an_unfinished_change() {
        let members = ConsenterSet::first(&consenters("abc"));
        let change = |voters: &[u64]| members.unfinished(voters).map(|change| (change.r#type, change.node_id));
        assert_eq!(change(&[1, 2, 3]), None);
        assert_eq!(change(&[1, 2]), Some((ConfChangeType::ConfChangeAddNode as i32, 3)));
        assert_eq!(change(&[1, 2, 3, 4]), Some((ConfChangeType::ConfChangeRemoveNode as i32, 4)));
    }

    /// The cases of the table in Fabric's own test.
    #[test]
    fn quorum_is_not_given_away() {
        let members = |names: &str| ConsenterSet::first(&consenters(names));
        let loses = |from: &str, to: &str, active: &[u64]| {
            let change = members(from).change_to(&consenters(to)).expect("a change of at most one");
            change.loses_quorum(&active.iter().copied().collect())
        };
        // adding a consenter: from one to two is always permitted
        assert!(!loses("a", "ab", &[1]));
        assert!(!loses("ab", "abc", &[1, 2]));
        assert!(loses("ab", "abc", &[1]));
        assert!(!loses("abc", "abcd", &[1, 2, 3]));
        assert!(loses("abc", "abcd", &[1, 2]));
        // replacing a certificate
        assert!(!loses("abc", "abx", &[1, 2]));
        assert!(loses("abc", "abx", &[1, 3]));
        assert!(!loses("ab", "ax", &[1]));
        // removing a consenter
        assert!(!loses("abc", "ab", &[1, 2]));
        assert!(loses("abc", "ab", &[1, 3]));
        assert!(loses("ab", "a", &[2]));
        // the same consenters
        assert!(!loses("abc", "cba", &[]));
    }

    proptest! {
        /// IDs stay unique, below the next ID, and with their consenter, whichever consenters are added and removed one
        /// by one.
        #[test]
        fn ids_stay_with_their_consenters(steps in proptest::collection::vec((0_u8..3, 0_usize..8), 0..40)) {
            let mut members = ConsenterSet::first(&consenters("abc"));
            let mut fresh = 0;
            for (kind, place) in steps {
                let mut list: Vec<Consenter> = members.iter().map(|(_, consenter)| consenter.clone()).collect();
                let place = place % list.len();
                fresh += 1;
                match kind {
                    0 => list.insert(place, consenter(&format!("n{fresh}"))),
                    1 if list.len() > 1 => { list.remove(place); }
                    _ => list[place] = consenter(&format!("n{fresh}")),
                }
                let change = members.change_to(&list).expect("a change of one");
                for (id, consenter) in members.iter() {
                    if let Some((kept, _)) = change.members.iter().find(|(_, c)| c.client_tls_cert == consenter.client_tls_cert) {
                        prop_assert_eq!(kept, id);
                    }
                }
                let metadata = change.members.metadata(1);
                let (read, _) = ConsenterSet::read(&metadata, &list).expect("what is written can be read");
                prop_assert_eq!(&read, &change.members);
                members = read;
            }
        }
    }
}
