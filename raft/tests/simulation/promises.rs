//! The guarantees of Raft, checked after each step.

use std::collections::{BTreeMap, HashMap};

use fabric_proto::raftpb::Entry;
use orderer_raft::Status;

#[derive(Default)]
pub(crate) struct Promises {
    seed: u64,
    /// The leader of each term.
    leaders: BTreeMap<u64, u64>,
    /// Entries that at least one node applied, from index 1 on.
    chain: Vec<Entry>,
    /// Every entry that was written by any node, with the term of the entry before it, by index and term.
    written: HashMap<(u64, u64), (Entry, Option<u64>)>,
}

impl Promises {
    pub(crate) fn new(seed: u64, chain: Vec<Entry>) -> Self {
        Self { seed, chain, ..Self::default() }
    }

    pub(crate) fn newest(&self) -> u64 {
        self.chain.len() as u64
    }

    pub(crate) fn leaders(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Checks that no term has two leaders, and that a new leader has all that is committed.
    pub(crate) fn leads(&mut self, status: &Status) {
        let known = *self.leaders.entry(status.term).or_insert(status.id);
        assert_eq!(known, status.id, "seed {}: one leader a term", self.seed);
        let current = self.leaders.keys().next_back().copied().unwrap_or_default();
        assert!(
            status.term < current || status.last >= self.newest(),
            "seed {}: a leader has all that is committed",
            self.seed
        );
    }

    /// Checks that two logs that agree in the term of an entry also agree in that entry and all entries before it.
    pub(crate) fn writes(&mut self, before: Option<u64>, entries: &[Entry]) {
        let mut before = before;
        for entry in entries {
            let known = self.written.entry((entry.index, entry.term)).or_insert_with(|| (entry.clone(), before));
            assert_eq!(known.0, *entry, "seed {}: logs match", self.seed);
            match (known.1, before) {
                (Some(there), Some(here)) => assert_eq!(there, here, "seed {}: logs match before", self.seed),
                (None, here) => known.1 = here,
                (Some(_), None) => {}
            }
            before = Some(entry.term);
        }
    }

    /// Checks that all nodes apply the same entries.
    pub(crate) fn applies(&mut self, entry: &Entry) {
        let place = usize::try_from(entry.index - 1).unwrap();
        if let Some(known) = self.chain.get(place) {
            assert_eq!(known, entry, "seed {}: one chain", self.seed);
            return;
        }
        assert_eq!(place, self.chain.len(), "seed {}: entries are committed one by one", self.seed);
        self.chain.push(entry.clone());
    }
}
