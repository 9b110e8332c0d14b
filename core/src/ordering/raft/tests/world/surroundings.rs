//! The surroundings of the machines in the simulation: the network between them, their disks, and the other nodes' ledgers.

use super::super::super::*;
use super::node::{Node, PendingWrite, Stored, config_in, rules_of, who};
use super::{Parcel, World};
use crate::block::{data_hash, header_hash};
use crate::types::BlockNumber;

impl World {
    pub(super) fn post(&mut self, from: &str, to: u64, parcel: impl Fn(u64) -> Parcel) {
        let own = self.id_of(from).unwrap_or_default();
        let Some(name) = self.name_of(from, to) else { return };
        let lost = self.faults && self.dice.one_in(25);
        if !lost {
            let mut arrives = self.now + self.dice.below(if self.faults { 4 } else { 1 });
            if let Parcel::Submit { .. } = parcel(own) {
                // one stream keeps its order
                let before = |(at, to, parcel): &(u64, String, Parcel)| {
                    (*to == name && matches!(parcel, Parcel::Submit { from, .. } if *from == own)).then_some(*at)
                };
                arrives = arrives.max(self.wire.iter().filter_map(before).max().unwrap_or_default());
            }
            self.wire.push((arrives, name.clone(), parcel(own)));
        }
        if self.faults && self.dice.one_in(60) && matches!(parcel(own), Parcel::Raft { .. }) {
            self.wire.push((self.now + self.dice.below(20), name, parcel(own)));
        }
    }

    /// Starts each added consenter with the blocks of another node.
    pub(super) fn invite(&mut self, members: &ConsenterSet) {
        for (_, consenter) in members.iter() {
            let name = who(&consenter.host);
            if self.nodes.contains_key(&name) {
                continue;
            }
            let longest = self.nodes.values().max_by_key(|node| node.ledger.len()).map(|node| node.ledger.clone());
            let ledger = longest.unwrap_or_default();
            if rules_of(&ledger).0.iter().any(|listed| who(listed) == name) {
                self.nodes.insert(name.clone(), Node { ledger, ..Node::default() });
                self.start(&name);
            }
        }
    }

    /// Whether the sender learns at once that a message cannot be delivered.
    pub(super) fn is_unreachable(&self, from: &str, to: u64) -> bool {
        let Some(name) = self.name_of(from, to) else { return true };
        let is_gone = |node: &Node| node.machine.is_none() || node.cut_off;
        self.nodes[from].cut_off || self.nodes.get(&name).is_none_or(is_gone)
    }

    /// Determines from the newest config block of the longest chain whether the node is a consenter.
    pub(super) fn suspect(&mut self, name: &str) {
        let longest = self.nodes.values().map(|node| &node.ledger).max_by_key(|ledger| ledger.len()).expect("nodes");
        let is_config = |block: &Stored| block.envelopes.first().is_some_and(|raw| config_in(raw).is_some());
        let newest = longest.iter().rposition(is_config).expect("a genesis block");
        let is_member = rules_of(longest).0.iter().any(|listed| who(listed) == name);
        let later = self.now + 1 + self.dice.below(5);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if is_member {
            node.elsewhere.push_back((later, Event::Behind(BlockNumber(newest as u64))));
        } else {
            node.removed = true;
        }
    }

    pub(super) fn catch_up(&mut self, name: &str, number: BlockNumber) {
        let longest = self.nodes.values().max_by_key(|node| node.ledger.len()).map(|node| node.ledger.clone());
        let later = self.now + 1 + self.dice.below(5);
        let Some(node) = self.nodes.get_mut(name) else { return };
        let blocks = longest.unwrap_or_default();
        let end = usize::try_from(number.0).expect("a small number") + 1;
        assert!(blocks.len() >= end, "somebody has a block that a snapshot stands for");
        // pending writes of blocks are dropped, because the pulled blocks include them
        for write in std::mem::take(&mut node.pending_writes) {
            if !matches!(write, PendingWrite::Block(_)) {
                node.pending_writes.push_back(write);
            }
        }
        node.ledger = blocks[..end].to_vec();
        let newest = node.ledger.last().expect("a block").clone();
        let (_, rules) = rules_of(&node.ledger);
        let (members, raft_index) = ConsenterSet::read(&newest.metadata, &rules.consenters).expect("they fit");
        node.elsewhere.push_back((later, Event::CaughtUp { number, hash: newest.hash, members, raft_index, rules }));
    }

    pub(super) fn one_write(&mut self, name: &str) -> bool {
        let Some(node) = self.nodes.get_mut(name).filter(|node| !node.stalled) else { return false };
        let Some(next) = node.pending_writes.pop_front() else { return false };
        let event = match next {
            PendingWrite::Log(write) => {
                node.log.write(&write);
                Event::Persisted(write.number)
            }
            PendingWrite::Snapshot(snapshot, trim) => {
                node.log.entries.retain(|entry| entry.index > trim);
                node.log.snapshot = Some(*snapshot);
                return true;
            }
            PendingWrite::Block(block) => {
                assert_eq!(block.number.0, node.ledger.len() as u64, "{name} writes block after block");
                let previous = node.ledger.last().expect("a block").hash;
                let data = data_hash(block.envelopes.iter().map(|envelope| envelope.raw().as_ref()));
                assert_eq!(header_hash(block.number.0, &previous, &data), block.header_hash);
                let envelopes = block.envelopes.iter().map(|envelope| envelope.raw().clone()).collect();
                node.ledger.push(Stored { hash: block.header_hash, envelopes, metadata: block.metadata });
                node.pending.retain(|sequence, _| *sequence >= block.pending_below);
                Event::Durable(block.number)
            }
        };
        self.step(name, event);
        true
    }
}
