//! Clusters of machines under virtual time: messages are lost, delayed and doubled, nodes are cut off and die with what they
//! had not synced. After each step Raft's promises are checked. A seed repeats a run.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Message, Snapshot};
use orderer_raft::{Config, Machine, ProposeError, Ready, RestoredLog, Role};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// What survives a kill.
#[derive(Default, Clone)]
struct Disk {
    hard_state: HardState,
    snapshot: Option<Snapshot>,
    entries: Vec<Entry>,
    /// Written with the applied entries, as the ledger is.
    applied: u64,
    conf_state: ConfState,
}

struct Node {
    id: u64,
    machine: Option<Machine>,
    disk: Disk,
    /// Readies that are not synced: gone when the node dies.
    unsynced: Vec<Ready>,
    cut_off: bool,
}

struct World {
    random: StdRng,
    seed: u64,
    nodes: BTreeMap<u64, Node>,
    /// By the tick at which it arrives.
    wire: Vec<(u64, Message)>,
    now: u64,
    /// Faults happen; without them, the cluster has to order.
    faults: bool,
    leaders: BTreeMap<u64, u64>,
    committed: BTreeMap<u64, Entry>,
    proposed: u64,
    elections: u64,
    snapshots: u64,
    kills: u64,
}

impl World {
    fn new(seed: u64, size: u64) -> Self {
        let conf_state = ConfState { voters: (1..=size).collect(), ..ConfState::default() };
        // how etcdraft begins: the consenters are added by entries that count as committed
        let entries: Vec<Entry> = (1..=size)
            .map(|id| Entry {
                r#type: EntryType::EntryConfChange as i32,
                term: 1,
                index: id,
                data: Some(ConfChange { node_id: id, ..ConfChange::default() }.encode_to_vec().into()),
            })
            .collect();
        let disk = Disk {
            hard_state: HardState { term: 1, vote: 0, commit: size },
            entries: entries.clone(),
            applied: size,
            conf_state,
            snapshot: None,
        };
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            seed,
            nodes: BTreeMap::new(),
            wire: Vec::new(),
            now: 0,
            faults: true,
            leaders: BTreeMap::new(),
            committed: entries.into_iter().map(|entry| (entry.index, entry)).collect(),
            proposed: 0,
            elections: 0,
            snapshots: 0,
            kills: 0,
        };
        for id in 1..=size {
            world
                .nodes
                .insert(id, Node { id, machine: None, disk: disk.clone(), unsynced: Vec::new(), cut_off: false });
            world.start(id);
        }
        world
    }

    fn start(&mut self, id: u64) {
        let config = Config {
            id,
            election_tick: 10,
            heartbeat_tick: 1,
            max_size_per_msg: 256,
            max_inflight_msgs: 5,
            seed: self.random.random(),
        };
        let node = self.nodes.get_mut(&id).unwrap();
        let disk = node.disk.clone();
        let log = RestoredLog {
            hard_state: disk.hard_state,
            conf_state: disk.conf_state,
            snapshot: disk.snapshot,
            entries: disk.entries,
            applied: disk.applied,
        };
        node.machine = Some(Machine::new(&config, log).unwrap());
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.random_range(0..of) == 0
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let lost = self.faults && self.chance(20);
            if !lost {
                let slow = if self.faults { 4 } else { 1 };
                self.wire.push((self.now + self.random.random_range(0..slow), message.clone()));
            }
            if self.faults && self.chance(50) {
                self.wire.push((self.now + self.random.random_range(0..30), message));
            }
        }
    }

    /// Takes what a node wants done; it may stay unsynced for a while.
    fn drain(&mut self, id: u64) {
        loop {
            let node = self.nodes.get_mut(&id).unwrap();
            let Some(machine) = &mut node.machine else { return };
            let Some(mut ready) = machine.ready().unwrap() else { break };
            let at_once = std::mem::take(&mut ready.messages);
            node.unsynced.push(ready);
            for snapshot in at_once.iter().filter(|message| message.snapshot.is_some()) {
                // whether it arrives is not known, and the leader finds out by its heartbeats
                machine.report_snapshot(snapshot.to, true).unwrap();
            }
            self.send(at_once);
            if !self.faults || !self.chance(3) {
                self.sync(id);
            }
        }
        self.check_leader(id);
    }

    fn sync(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(machine) = &mut node.machine else { return };
        let mut after = Vec::new();
        for ready in std::mem::take(&mut node.unsynced) {
            let disk = &mut node.disk;
            if let Some(snapshot) = ready.snapshot {
                disk.applied = snapshot.metadata.index;
                disk.conf_state = snapshot.metadata.conf_state.clone();
                disk.entries.clear();
                disk.hard_state.commit = disk.hard_state.commit.max(snapshot.metadata.index);
                disk.snapshot = Some(snapshot);
                self.snapshots += 1;
            }
            if let Some(first) = ready.entries.first() {
                assert!(first.index > disk.applied, "seed {}: applied entries are replaced", self.seed);
                disk.entries.retain(|entry| entry.index < first.index);
                disk.entries.extend(ready.entries);
            }
            if let Some(state) = ready.hard_state {
                disk.hard_state = state;
            }
            machine.persisted(ready.number).unwrap();
            machine.applied(disk.applied).unwrap();
            for entry in ready.committed {
                // a restart may show entries again whose application was kept
                assert_eq!(entry.index, disk.applied + 1, "seed {}: entries are applied one by one", self.seed);
                let known = self.committed.entry(entry.index).or_insert_with(|| entry.clone());
                assert_eq!(*known, entry, "seed {}: one chain", self.seed);
                disk.applied = entry.index;
                disk.hard_state.commit = disk.hard_state.commit.max(entry.index);
                if entry.r#type() == EntryType::EntryConfChange {
                    let change = ConfChange::decode(entry.data.clone().unwrap_or_default()).unwrap();
                    disk.conf_state = machine.apply_conf_change(&change).unwrap();
                }
                machine.applied(entry.index).unwrap();
            }
            after.extend(ready.messages_after);
        }
        if node.disk.applied.is_multiple_of(16) && node.disk.applied > 0 {
            let index = node.disk.applied;
            if let Some(snapshot) = machine.make_snapshot(index, Bytes::from(index.to_be_bytes().to_vec())).unwrap() {
                node.disk.snapshot = Some(snapshot);
                node.disk.entries.retain(|entry| entry.index > index);
                machine.compact(index.saturating_sub(4)).unwrap();
            }
        }
        self.send(after);
    }

    fn check_leader(&mut self, id: u64) {
        let Some(machine) = &mut self.nodes.get_mut(&id).unwrap().machine else { return };
        let status = machine.status().unwrap();
        if status.role == Role::Leader {
            let known = *self.leaders.entry(status.term).or_insert_with(|| {
                self.elections += 1;
                id
            });
            assert_eq!(known, id, "seed {}: one leader a term", self.seed);
            let newest = self.committed.keys().next_back().copied().unwrap_or_default();
            let current = *self.leaders.keys().next_back().unwrap();
            assert!(
                status.term < current || status.last >= newest,
                "seed {}: a leader has all that is committed",
                self.seed
            );
        }
    }

    /// Logs that agree in an entry's term agree in it and all before it.
    fn check_logs(&self) {
        let mut seen: BTreeMap<(u64, u64), (&Entry, u64)> = BTreeMap::new();
        for node in self.nodes.values() {
            let mut before = node.disk.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.term);
            for (place, entry) in node.disk.entries.iter().enumerate() {
                let known = seen.entry((entry.index, entry.term)).or_insert((entry, before));
                assert_eq!(known.0, entry, "seed {}: logs match", self.seed);
                assert!(place == 0 || known.1 == before || known.1 == 0, "seed {}: logs match before", self.seed);
                before = entry.term;
            }
        }
    }

    fn act(&mut self) {
        let size = self.nodes.len() as u64;
        let id = self.random.random_range(1..=size);
        match self.random.random_range(0..400) {
            0 => {
                let node = self.nodes.get_mut(&id).unwrap();
                node.machine = None;
                node.unsynced.clear();
                self.kills += 1;
            }
            1 => self.nodes.get_mut(&id).unwrap().cut_off = true,
            2..=9 => self.nodes.get_mut(&id).unwrap().cut_off = false,
            10..=19 if self.nodes[&id].machine.is_none() => self.start(id),
            20 => self.with(id, |machine, other| machine.transfer_leadership(other).unwrap()),
            21 | 22 => {
                let add = self.chance(2);
                self.with(id, |machine, other| {
                    let voters = machine.status().unwrap().voters;
                    if add || voters.len() > 2 {
                        let kind =
                            if add { ConfChangeType::ConfChangeAddNode } else { ConfChangeType::ConfChangeRemoveNode };
                        let change = ConfChange { r#type: kind as i32, node_id: other, ..ConfChange::default() };
                        accepted(machine.propose_conf_change(&change));
                    }
                });
            }
            _ => {}
        }
    }

    fn with(&mut self, id: u64, act: impl FnOnce(&mut Machine, u64)) {
        let other = self.random.random_range(1..=self.nodes.len() as u64);
        if let Some(machine) = &mut self.nodes.get_mut(&id).unwrap().machine {
            act(machine, other);
        }
        self.drain(id);
    }

    /// One tick of everybody, with what arrives in it.
    fn tick(&mut self) {
        self.now += 1;
        if self.faults {
            self.act();
        }
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            if let Some(machine) = &mut self.nodes.get_mut(&id).unwrap().machine {
                machine.tick().unwrap();
                if self.now.is_multiple_of(3) {
                    let data = Bytes::from(self.proposed.to_be_bytes().to_vec());
                    if accepted(machine.propose(data)) {
                        self.proposed += 1;
                    }
                }
            }
            self.sync(id);
            self.drain(id);
        }
        for _ in 0..6 {
            let (due, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.wire).into_iter().partition(|(at, _)| *at <= self.now);
            self.wire = later;
            for (_, message) in due {
                let cut = |id: &u64| self.nodes.get(id).is_none_or(|node| node.cut_off);
                if cut(&message.to) || cut(&message.from) {
                    continue;
                }
                let to = message.to;
                if let Some(machine) = &mut self.nodes.get_mut(&to).unwrap().machine {
                    machine.step(message).unwrap();
                }
                self.drain(to);
            }
        }
        self.check_logs();
    }

    /// Ends all faults: what was promised is kept, and the cluster orders again.
    fn heal(&mut self) {
        self.faults = false;
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            self.nodes.get_mut(&id).unwrap().cut_off = false;
            if self.nodes[&id].machine.is_none() {
                self.start(id);
            }
        }
        let before = self.proposed;
        for _ in 0..300 {
            self.tick();
        }
        assert!(
            self.proposed > before + 20,
            "seed {}: the cluster orders again: {before}, {}",
            self.seed,
            self.proposed
        );
        let newest = self.committed.keys().next_back().copied().unwrap();
        let mut voters = BTreeSet::new();
        for node in self.nodes.values_mut() {
            let status = node.machine.as_mut().unwrap().status().unwrap();
            if status.role == Role::Leader {
                voters.extend(status.voters);
            }
        }
        for voter in voters {
            let applied = self.nodes[&voter].disk.applied;
            assert!(
                applied + 5 >= newest,
                "seed {}: node {} has caught up: {applied} of {newest}",
                self.seed,
                self.nodes[&voter].id
            );
        }
    }
}

fn accepted(result: Result<(), ProposeError>) -> bool {
    match result {
        Ok(()) => true,
        Err(ProposeError::NotLeader { .. } | ProposeError::Dropped) => false,
        Err(ProposeError::Failed(failed)) => panic!("{failed}"),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Ticks are half a second. `RAFT_SEED` and `RAFT_RUNS` choose other runs.
#[test]
fn clusters_keep_rafts_promises() {
    let (first, runs) = (number("RAFT_SEED", 1), number("RAFT_RUNS", 8));
    let (mut ticks, mut elections, mut snapshots, mut kills, mut entries) = (0, 0, 0, 0, 0);
    for seed in first..first + runs {
        let mut world = World::new(seed, 3 + 2 * (seed % 2));
        for _ in 0..2 {
            world.faults = true;
            for _ in 0..1000 {
                world.tick();
            }
            world.heal();
        }
        ticks += world.now;
        elections += world.elections;
        snapshots += world.snapshots;
        kills += world.kills;
        entries += world.committed.len();
    }
    println!(
        "{} cluster hours, {elections} leaders, {kills} kills, {snapshots} snapshots restored, {entries} entries committed",
        ticks / 7200
    );
    assert!(elections > runs && snapshots > 0 && kills > 0, "the runs are eventful");
}
