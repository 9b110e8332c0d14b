//! A cluster, its network and its faults.

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Message};
use orderer_raft::{Config, Machine, ProposeError, Role};

use crate::chance::Chance;
use crate::node::{Disk, Node};
use crate::promises::Promises;

/// Number of ticks in an hour; a tick is half a second.
const TICKS_AN_HOUR: u64 = 7200;

/// Exclusive upper bound of a message's delay in ticks.
const FARTHEST: u64 = 64;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    ticks: u64,
    leaders: u64,
    kills: u64,
    cuts: u64,
    stalls: u64,
    lost: u64,
    doubled: u64,
    changes: u64,
    transfers: u64,
    restored: u64,
    committed: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.ticks += other.ticks;
        self.leaders += other.leaders;
        self.kills += other.kills;
        self.cuts += other.cuts;
        self.stalls += other.stalls;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.restored += other.restored;
        self.committed += other.committed;
    }

    pub(crate) fn is_eventful(&self, runs: u64) -> bool {
        let some =
            [self.kills, self.cuts, self.stalls, self.lost, self.doubled, self.changes, self.transfers, self.restored];
        self.leaders > runs && some.into_iter().all(|count| count > 0)
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} cluster hours: {} leaders, {} kills, {} nodes cut off, {} stalls, {} messages lost and {} doubled, {} changes of the \
             consenters and {} transfers proposed, {} snapshots restored, {} entries committed",
            self.ticks / TICKS_AN_HOUR,
            self.leaders,
            self.kills,
            self.cuts,
            self.stalls,
            self.lost,
            self.doubled,
            self.changes,
            self.transfers,
            self.restored,
            self.committed
        )
    }
}

pub(crate) struct World {
    random: Chance,
    seed: u64,
    config: Config,
    /// Nodes, by ID minus one.
    nodes: Vec<Node>,
    /// Messages in flight, by the tick of their arrival modulo `FARTHEST`.
    wire: Vec<Vec<Message>>,
    now: u64,
    /// Whether faults are injected. Without them, the cluster has to order.
    faults: bool,
    /// Factor by which faults are rarer than in the worst clusters.
    calm: u32,
    promises: Promises,
    proposed: u64,
    counts: Counts,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Chance::new(seed);
        let size = [3, 3, 4, 5, 5, 7][random.place(6)];
        let config = Config {
            id: 0,
            election_tick: 10,
            heartbeat_tick: 1,
            max_size_per_msg: [60, 256, 2_097_152][random.place(3)],
            max_inflight_msgs: [1, 2, 5][random.place(3)],
            seed: 0,
        };
        let calm = [1, 1, 10, 100][random.place(4)];
        let conf_state = ConfState { voters: (1..=size).collect(), ..ConfState::default() };
        // as in etcdraft, the consenters of a new channel are added by entries that count as committed
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
        let nodes = (1..=size).map(|_| Node { disk: disk.clone(), ..Node::default() }).collect();
        let mut world = Self {
            random,
            seed,
            config,
            nodes,
            wire: vec![Vec::new(); place(FARTHEST + 1)],
            now: 0,
            faults: true,
            calm,
            promises: Promises::new(seed, entries),
            proposed: 0,
            counts: Counts::default(),
        };
        for at in 0..world.nodes.len() {
            world.start(at);
        }
        world
    }

    pub(crate) fn counts(self) -> Counts {
        Counts {
            ticks: self.now,
            leaders: self.promises.leaders(),
            committed: self.promises.newest(),
            restored: self.nodes.iter().map(|node| node.restored).sum(),
            ..self.counts
        }
    }

    fn start(&mut self, at: usize) {
        let config = Config { id: at as u64 + 1, seed: self.random.next(), ..self.config.clone() };
        self.nodes[at].start(&config);
    }

    /// Returns true once in `of` calls on average, and less often in a calm cluster; never if no faults are injected.
    fn fault(&mut self, of: u32) -> bool {
        self.faults && self.random.one_in(of * self.calm)
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            if self.fault(50) {
                self.counts.doubled += 1;
                let at = self.now + self.random.below(30);
                self.put(at, message.clone());
            }
            if self.fault(20) {
                self.counts.lost += 1;
                continue;
            }
            let slow = if self.faults { 4 } else { 1 };
            let at = self.now + self.random.below(slow);
            self.put(at, message);
        }
    }

    fn put(&mut self, at: u64, message: Message) {
        self.wire[place(at % FARTHEST + 1)].push(message);
    }

    /// Processes the Readies of a node. They may stay unsynced for a while.
    fn drain(&mut self, at: usize) {
        loop {
            let Some(machine) = &mut self.nodes[at].machine else { return };
            let Some(mut ready) = machine.ready().unwrap() else { return };
            if ready.soft_state.is_some_and(|state| state.role == Role::Leader) {
                self.promises.leads(&machine.status().unwrap());
            }
            let at_once = std::mem::take(&mut ready.messages);
            for snapshot in at_once.iter().filter(|message| message.snapshot.is_some()) {
                // reported as sent even if it is lost later: the leader learns that from its heartbeats
                machine.report_snapshot(snapshot.to, true).unwrap();
            }
            self.nodes[at].unsynced.push_back(ready);
            self.send(at_once);
            if !self.faults || !self.random.one_in(3) {
                self.sync(at);
            }
        }
    }

    fn sync(&mut self, at: usize) {
        while let Some(after) = self.nodes[at].sync(&mut self.promises) {
            self.send(after);
        }
    }

    fn act(&mut self) {
        let at = self.random.place(self.nodes.len());
        let calm = self.calm;
        match self.random.below(400) {
            0 if self.random.one_in(calm) => {
                let node = &mut self.nodes[at];
                let written = self.random.place(node.unsynced.len() + 1);
                node.kill(written, &mut self.promises);
                self.counts.kills += 1;
            }
            1 if self.random.one_in(calm) => {
                self.nodes[at].cut_off = true;
                self.counts.cuts += 1;
            }
            2..=9 => self.nodes[at].cut_off = false,
            10..=19 if self.nodes[at].machine.is_none() => self.start(at),
            20 if self.random.one_in(calm) => {
                self.counts.transfers += 1;
                self.with(at, |machine, other| machine.transfer_leadership(other).unwrap());
            }
            21 | 22 if self.random.one_in(calm) => self.change(at),
            23 if self.random.one_in(calm) => {
                self.nodes[at].stalled_until = self.now + 1 + self.random.below(FARTHEST - 2);
                self.counts.stalls += 1;
            }
            24 => self.nodes[at].slow = self.random.below(6),
            _ => {}
        }
    }

    fn change(&mut self, at: usize) {
        let add = self.random.one_in(2);
        let mut proposed = false;
        self.with(at, |machine, other| {
            let voters = machine.status().unwrap().voters;
            if add || voters.len() > 2 {
                let kind = if add { ConfChangeType::ConfChangeAddNode } else { ConfChangeType::ConfChangeRemoveNode };
                let change = ConfChange { r#type: kind as i32, node_id: other, ..ConfChange::default() };
                proposed = accepted(machine.propose_conf_change(&change));
            }
        });
        self.counts.changes += u64::from(proposed);
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut Machine, u64)) {
        let other = 1 + self.random.below(self.nodes.len() as u64);
        if let Some(machine) = &mut self.nodes[at].machine {
            act(machine, other);
        }
        self.drain(at);
    }

    /// Performs one tick of all nodes, and delivers the messages that arrive in it.
    fn tick(&mut self) {
        self.now += 1;
        if self.faults {
            self.act();
        }
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if node.stalled_until > self.now {
                continue;
            }
            if let Some(machine) = &mut node.machine {
                if node.slow == 0 || !self.faults || self.random.below(node.slow) > 0 {
                    machine.tick().unwrap();
                }
                let busy = !self.faults || self.calm == 1;
                if self.now.is_multiple_of(if busy { 3 } else { 20 }) {
                    let data = Bytes::from(self.proposed.to_be_bytes().to_vec());
                    self.proposed += u64::from(accepted(machine.propose(data)));
                }
            }
            self.sync(at);
            self.drain(at);
        }
        let slot = place(self.now % FARTHEST + 1);
        for _ in 0..6 {
            for message in std::mem::take(&mut self.wire[slot]) {
                self.deliver(message);
            }
        }
        // further responses to responses wait for the next tick
        for message in std::mem::take(&mut self.wire[slot]) {
            self.put(self.now + 1, message);
        }
    }

    fn deliver(&mut self, message: Message) {
        let (to, from) = (place(message.to), place(message.from));
        if self.nodes[to].cut_off || self.nodes[from].cut_off {
            return;
        }
        if self.nodes[to].stalled_until > self.now {
            self.put(self.nodes[to].stalled_until, message);
            return;
        }
        if let Some(machine) = &mut self.nodes[to].machine {
            machine.step(message).unwrap();
        }
        self.drain(to);
    }

    /// Injects faults for a while.
    pub(crate) fn suffer(&mut self) {
        self.faults = true;
        for _ in 0..1000 * u64::from(self.calm.min(20)) {
            self.tick();
        }
    }

    /// Stops all faults, and checks that the guarantees hold and the cluster orders again.
    pub(crate) fn heal(&mut self) {
        self.faults = false;
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            (node.cut_off, node.stalled_until) = (false, 0);
            if node.machine.is_none() {
                self.start(at);
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
        let newest = self.promises.newest();
        let leader = self.nodes.iter_mut().map(|node| node.machine.as_mut().unwrap().status().unwrap());
        let leader = leader.filter(|status| status.role == Role::Leader).max_by_key(|status| status.term).unwrap();
        for voter in leader.voters {
            let applied = self.nodes[place(voter)].disk.applied;
            assert!(applied + 5 >= newest, "seed {}: node {voter} has caught up: {applied} of {newest}", self.seed);
        }
    }
}

fn place(id: u64) -> usize {
    usize::try_from(id - 1).unwrap()
}

fn accepted(result: Result<(), ProposeError>) -> bool {
    match result {
        Ok(()) => true,
        Err(ProposeError::NotLeader { .. } | ProposeError::Dropped) => false,
        Err(ProposeError::Failed(failed)) => panic!("{failed}"),
    }
}
