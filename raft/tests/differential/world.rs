//! A cluster that performs a script's steps, and reports the result of each in the script's format.

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use fabric_proto::Message as _;
use fabric_proto::raftpb::{ConfChange, ConfState, Entry, EntryType, HardState, Message, Snapshot};
use orderer_raft::{Config, Machine, Ready, ReplicationMode, RestoredLog, Role, Status};

/// The state that survives a crash.
#[derive(Default, Clone)]
struct Disk {
    hard_state: HardState,
    snapshot: Option<Snapshot>,
    /// The entries after the snapshot.
    entries: Vec<Entry>,
    applied: u64,
    conf_state: ConfState,
}

#[derive(Default)]
struct Node {
    id: u64,
    machine: Option<Machine>,
    disk: Disk,
    unsynced: VecDeque<Ready>,
    unapplied: VecDeque<Vec<Entry>>,
    starts: u64,
    /// The state that was reported last.
    state: String,
}

pub(crate) struct World {
    seed: u64,
    /// Whether a step ends only when everything is written and applied.
    sync: bool,
    /// Whether a membership change is applied after the machine got the report that its entry is applied.
    late: bool,
    config: Config,
    nodes: Vec<Node>,
    messages: Vec<Message>,
}

/// The generator (SplitMix64) that the machine and the author of the scripts use.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl World {
    /// Creates the cluster that a script's first line describes.
    pub(crate) fn new(line: &str) -> Self {
        let mut words = line.split(' ').skip(1);
        let seed = words.next().unwrap().parse().unwrap();
        let mut setting = |name: &str| words.next().unwrap().strip_prefix(name).unwrap().to_owned();
        let sync = setting("sync") == "true";
        let late = setting("late") == "true";
        let mut number = |name| setting(name).parse::<u64>().unwrap();
        let config = Config {
            id: 0,
            election_tick: usize::try_from(number("tick")).unwrap(),
            heartbeat_tick: usize::try_from(number("beat")).unwrap(),
            max_size_per_msg: number("size"),
            max_inflight_msgs: usize::try_from(number("window")).unwrap(),
            seed: 0,
        };
        let (voters, joiners) = (number("voters"), number("joiners"));
        let change = |id| ConfChange { node_id: id, ..ConfChange::default() }.encode_to_vec();
        let first = Disk {
            hard_state: HardState { term: 1, vote: 0, commit: voters },
            entries: (1..=voters)
                .map(|id| Entry {
                    r#type: EntryType::EntryConfChange as i32,
                    term: 1,
                    index: id,
                    data: Some(change(id).into()),
                })
                .collect(),
            applied: voters,
            conf_state: ConfState { voters: (1..=voters).collect(), ..ConfState::default() },
            snapshot: None,
        };
        let nodes = (1..=voters + joiners)
            .map(|id| Node { id, disk: if id <= voters { first.clone() } else { Disk::default() }, ..Node::default() })
            .collect();
        Self { seed, sync, late, config, nodes, messages: Vec::new() }
    }

    /// Performs one step of a script, and returns its result.
    pub(crate) fn step(&mut self, operation: &str) -> String {
        let mut words = operation.split(' ');
        let name = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        let mut told = Vec::new();
        let mut at = usize::try_from(numbers[0]).unwrap();
        let message = (name == "deliver").then(|| self.messages[at].clone());
        if let Some(message) = &message {
            at = usize::try_from(message.to).unwrap();
        }
        at -= 1;
        match name {
            "boot" => self.boot(at),
            "replay" => {
                // committed entries after the snapshot are applied again
                let disk = &mut self.nodes[at].disk;
                let metadata = disk.snapshot.as_ref().map(|snapshot| snapshot.metadata.clone()).unwrap_or_default();
                (disk.applied, disk.conf_state) = (metadata.index, metadata.conf_state);
                self.boot(at);
            }
            "kill" => self.nodes[at].machine = None,
            "ready" => assert!(self.take(at, &mut told), "{operation}: there is something to do"),
            "persisted" => self.persisted(at, &mut told),
            "applied" => self.applied(at),
            "compact" => self.compact(at, numbers[1], &mut told),
            _ => {
                let machine = self.nodes[at].machine.as_mut().unwrap();
                match name {
                    "tick" => machine.tick().unwrap(),
                    "deliver" => machine
                        .step(message.unwrap())
                        .unwrap_or_else(|error| panic!("world {}: {operation}: {error}", self.seed)),
                    // the state shows whether it was accepted
                    "propose" => drop(machine.propose(data(numbers[1], numbers[2]))),
                    "change" => {
                        let kind = i32::try_from(numbers[1]).unwrap();
                        let change = ConfChange { r#type: kind, node_id: numbers[2], ..ConfChange::default() };
                        drop(machine.propose_conf_change(&change));
                    }
                    "transfer" => machine.transfer_leadership(numbers[1]).unwrap(),
                    "campaign" => machine.campaign().unwrap(),
                    "unreachable" => machine.report_unreachable(numbers[1]).unwrap(),
                    "snapshot-sent" => machine.report_snapshot(numbers[1], true).unwrap(),
                    "snapshot-failed" => machine.report_snapshot(numbers[1], false).unwrap(),
                    other => panic!("a script does not say {other}"),
                }
            }
        }
        if self.sync && self.nodes[at].machine.is_some() {
            while self.take(at, &mut told) {}
        }
        let node = &mut self.nodes[at];
        let state =
            node.machine.as_mut().map_or_else(|| "down".to_owned(), |machine| state(&machine.status().unwrap()));
        if state != node.state {
            node.state.clone_from(&state);
            told.push(state);
        }
        told.join(";")
    }

    fn boot(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.starts += 1;
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(node.id * 1009 + node.starts);
        let config = Config { id: node.id, seed: mixed(seed), ..self.config.clone() };
        let disk = node.disk.clone();
        let log = RestoredLog {
            hard_state: disk.hard_state,
            conf_state: disk.conf_state,
            snapshot: disk.snapshot,
            entries: disk.entries,
            applied: disk.applied,
        };
        node.machine = Some(Machine::new(&config, log).unwrap());
        node.unsynced.clear();
        node.unapplied.clear();
    }

    fn take(&mut self, at: usize, told: &mut Vec<String>) -> bool {
        let Some(mut ready) = self.nodes[at].machine.as_mut().unwrap().ready().unwrap() else { return false };
        let mut what = Vec::new();
        if let Some(soft) = ready.soft_state {
            what.push(format!("soft {}{}", letter(soft.role), soft.leader.unwrap_or(0)));
        }
        if let Some(hard) = ready.hard_state {
            what.push(format!("hard t{} v{} c{}", hard.term, hard.vote, hard.commit));
        }
        if let Some(snapshot) = &ready.snapshot {
            what.push(format!("restore {}", snapshot_text(snapshot)));
        }
        if !ready.entries.is_empty() {
            what.push(format!("write {}", entries_text(&ready.entries)));
        }
        if !ready.committed.is_empty() {
            what.push(format!("apply {}", entries_text(&ready.committed)));
        }
        // if everything is done in one step, the number of turns is irrelevant
        told.extend(what.into_iter().filter(|text| !self.sync || text.starts_with("restore")));
        let now = std::mem::take(&mut ready.messages);
        self.send(now, told);
        self.nodes[at].unsynced.push_back(ready);
        if self.sync {
            self.persisted(at, told);
            while !self.nodes[at].unapplied.is_empty() {
                self.applied(at);
            }
        }
        true
    }

    fn send(&mut self, messages: Vec<Message>, told: &mut Vec<String>) {
        told.extend(messages.iter().map(message_text));
        self.messages.extend(messages);
    }

    fn persisted(&mut self, at: usize, told: &mut Vec<String>) {
        if self.nodes[at].unsynced[0].snapshot.is_some() {
            while !self.nodes[at].unapplied.is_empty() {
                self.applied(at);
            }
        }
        let node = &mut self.nodes[at];
        let ready = node.unsynced.pop_front().unwrap();
        let (disk, machine) = (&mut node.disk, node.machine.as_mut().unwrap());
        if let Some(snapshot) = ready.snapshot {
            disk.applied = snapshot.metadata.index;
            disk.conf_state = snapshot.metadata.conf_state.clone();
            disk.entries.clear();
            disk.snapshot = Some(snapshot);
        }
        if let Some(first) = ready.entries.first() {
            disk.entries.retain(|entry| entry.index < first.index);
            disk.entries.extend(ready.entries);
        }
        if let Some(state) = ready.hard_state {
            disk.hard_state = state;
        }
        machine.persisted(ready.number).unwrap();
        if !ready.committed.is_empty() {
            node.unapplied.push_back(ready.committed);
        }
        self.send(ready.messages_after, told);
    }

    fn applied(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let machine = node.machine.as_mut().unwrap();
        let entries = node.unapplied.pop_front().unwrap();
        let last = entries.last().unwrap().index;
        if self.late {
            machine.applied(last).unwrap();
        }
        for entry in entries {
            node.disk.applied = entry.index;
            if entry.r#type() == EntryType::EntryConfChange {
                let change = ConfChange::decode(entry.data.unwrap_or_default()).unwrap();
                node.disk.conf_state = machine.apply_conf_change(&change).unwrap();
            }
        }
        if !self.late {
            machine.applied(last).unwrap();
        }
    }

    fn compact(&mut self, at: usize, keep: u64, told: &mut Vec<String>) {
        let node = &mut self.nodes[at];
        let machine = node.machine.as_mut().unwrap();
        let index = node.disk.applied;
        let data = Bytes::from(vec![index.to_le_bytes()[0]]);
        let snapshot = machine.make_snapshot(index, data).unwrap().unwrap();
        told.push(snapshot_text(&snapshot));
        node.disk.snapshot = Some(snapshot);
        node.disk.entries.retain(|entry| entry.index > index);
        if index > keep {
            machine.compact(index - keep).unwrap();
        }
    }
}

fn data(number: u64, size: u64) -> Bytes {
    let mut data = BytesMut::new();
    data.put_u64(number);
    data.put_bytes(b'.', usize::try_from(size).unwrap());
    data.freeze()
}

fn letter(role: Role) -> char {
    match role {
        Role::Follower => 'F',
        Role::PreCandidate => 'P',
        Role::Candidate => 'C',
        Role::Leader => 'L',
    }
}

fn ids(voters: &[u64]) -> String {
    if voters.is_empty() {
        return "-".to_owned();
    }
    voters.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn state(status: &Status) -> String {
    let mut text = format!(
        "{} t{} v{} l{} c{} e{}.{} a{} x{} m{}",
        letter(status.role),
        status.term,
        status.vote,
        status.leader.unwrap_or(0),
        status.commit,
        status.last,
        status.last_term,
        status.applied,
        status.transferee.unwrap_or(0),
        ids(&status.voters),
    );
    for peer in &status.peers {
        let (flow, pending) = match peer.flow {
            ReplicationMode::Probe => ('p', None),
            ReplicationMode::Replicate => ('r', None),
            ReplicationMode::Snapshot { index } => ('s', Some(index)),
        };
        let active = if peer.active { "a" } else { "" };
        let paused = if peer.paused { "z" } else { "" };
        let _ = write!(text, " {}{flow}{}-{}{active}{paused}i{}", peer.id, peer.matched, peer.next, peer.in_flight);
        if let Some(index) = pending {
            let _ = write!(text, "s{index}");
        }
    }
    text
}

fn entry_text(entry: &Entry) -> String {
    let place = format!("{}.{}", entry.index, entry.term);
    match &entry.data {
        Some(data) if entry.r#type() == EntryType::EntryConfChange => {
            let change = ConfChange::decode(data.clone()).unwrap();
            format!("{place}~{}:{}", change.r#type, change.node_id)
        }
        Some(data) => {
            format!("{place}={}:{}", u64::from_be_bytes(data[..8].try_into().unwrap()), data.len())
        }
        None => place,
    }
}

fn entries_text(entries: &[Entry]) -> String {
    entries.iter().map(entry_text).collect::<Vec<_>>().join(",")
}

fn snapshot_text(snapshot: &Snapshot) -> String {
    let metadata = &snapshot.metadata;
    let data = snapshot.data.as_deref().unwrap_or_default();
    let mut text = format!("{}.{}:{}:", metadata.index, metadata.term, ids(&metadata.conf_state.voters));
    for byte in data {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn message_text(message: &Message) -> String {
    let kind = message.r#type().as_str_name().trim_start_matches("Msg");
    let mut text = format!("{kind} {}>{} t{}", message.from, message.to, message.term);
    if message.index != 0 || message.log_term != 0 {
        let _ = write!(text, " i{}.{}", message.index, message.log_term);
    }
    if message.commit != 0 {
        let _ = write!(text, " c{}", message.commit);
    }
    if message.reject || message.reject_hint != 0 {
        let _ = write!(text, " reject{}", message.reject_hint);
    }
    if let Some(context) = &message.context {
        let _ = write!(text, " {:?}", String::from_utf8_lossy(context));
    }
    if !message.entries.is_empty() {
        let _ = write!(text, " [{}]", entries_text(&message.entries));
    }
    if let Some(snapshot) = &message.snapshot {
        let _ = write!(text, " {{{}}}", snapshot_text(snapshot));
    }
    text
}
