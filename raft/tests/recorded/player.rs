//! A machine in the place of one of the recorded orderers.

use std::collections::{BTreeMap, VecDeque};

use fabric_proto::Message as _;
use fabric_proto::raftpb::{ConfChange, ConfState, Entry, EntryType, HardState, Message, MessageType};
use orderer_raft::{Config, Machine, RestoredLog, Role, StepError};

/// Ticks until a leader that is silent may be replaced.
const PATIENCE: usize = 1000;

#[derive(Default)]
pub(crate) struct Player {
    id: u64,
    machine: Option<Machine>,
    disk: RestoredLog,
    /// What it would have answered, by type.
    answers: BTreeMap<i32, VecDeque<Message>>,
    /// Answers that the recorded orderer sent as well, by type.
    pub(crate) same: BTreeMap<&'static str, u64>,
    /// Answers that it did not send: it had no connection, or had not begun.
    pub(crate) more: u64,
}

fn is_answer(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgAppResp
            | MessageType::MsgHeartbeatResp
            | MessageType::MsgVoteResp
            | MessageType::MsgPreVoteResp
    )
}

impl Player {
    /// As consenter `id` of those that a channel begins with; one of none joins it.
    pub(crate) fn new(id: u64, voters: u64) -> Self {
        let voters = if id <= voters { voters } else { 0 };
        let change = |id| ConfChange { node_id: id, ..ConfChange::default() }.encode_to_vec();
        let mut player = Self {
            id,
            disk: RestoredLog {
                hard_state: HardState { term: u64::from(voters > 0), vote: 0, commit: voters },
                conf_state: ConfState { voters: (1..=voters).collect(), ..ConfState::default() },
                snapshot: None,
                entries: (1..=voters)
                    .map(|index| Entry {
                        r#type: EntryType::EntryConfChange as i32,
                        term: 1,
                        index,
                        data: Some(change(index).into()),
                    })
                    .collect(),
                applied: voters,
            },
            ..Self::default()
        };
        player.start();
        player
    }

    pub(crate) fn start(&mut self) {
        let config = Config {
            id: self.id,
            // many, so that it hardly ever stands by itself when they have passed
            election_tick: PATIENCE,
            heartbeat_tick: 1,
            max_size_per_msg: 2_097_152,
            max_inflight_msgs: 5,
            seed: 1,
        };
        self.answers.clear();
        self.machine = Some(Machine::new(&config, self.disk.clone()).unwrap());
    }

    /// Takes what the recorded orderer received.
    pub(crate) fn receives(&mut self, message: Message) {
        let machine = self.machine.as_mut().unwrap();
        if matches!(message.r#type(), MessageType::MsgPreVote | MessageType::MsgVote) {
            // who asks has not heard of a leader for long, and so has this node
            for _ in 0..PATIENCE {
                if machine.status().unwrap().role == Role::Follower {
                    machine.tick().unwrap();
                }
            }
        }
        match machine.step(message) {
            Ok(()) => self.settle(),
            Err(StepError::NotForUs { to, .. }) => {
                // it was removed and added again; Fabric goes on with the log that it had
                self.id = to;
                self.start();
            }
            Err(error) => panic!("node {}: {error}", self.id),
        }
    }

    /// Checks what the recorded orderer sent.
    pub(crate) fn sends(&mut self, message: &Message) {
        let machine = self.machine.as_mut().unwrap();
        match message.r#type() {
            kind if is_answer(kind) => {
                let queue = self.answers.entry(message.r#type).or_default();
                let Some(place) = queue.iter().position(|ours| ours == message) else {
                    panic!("node {} sent {message:?}, and would have sent {queue:?}", self.id);
                };
                self.more += place as u64;
                queue.drain(..=place);
                *self.same.entry(kind.as_str_name()).or_default() += 1;
            }
            // its time was up, or it was told to
            MessageType::MsgPreVote if machine.status().unwrap().role != Role::PreCandidate => {
                machine.campaign().unwrap();
                self.settle();
            }
            MessageType::MsgApp => {
                for entry in &message.entries {
                    let machine = self.machine.as_mut().unwrap();
                    let status = machine.status().unwrap();
                    if entry.index == status.last + 1 {
                        assert_eq!((status.role, status.term), (Role::Leader, entry.term), "node {}", self.id);
                        let data = entry.data.clone().unwrap_or_default();
                        if entry.r#type() == EntryType::EntryConfChange {
                            machine.propose_conf_change(&ConfChange::decode(data).unwrap()).unwrap();
                        } else {
                            machine.propose(data).unwrap();
                        }
                        self.settle();
                    }
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self) {
        let machine = self.machine.as_mut().unwrap();
        while let Some(ready) = machine.ready().unwrap() {
            let disk = &mut self.disk;
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
            disk.hard_state = ready.hard_state.unwrap_or(disk.hard_state);
            machine.persisted(ready.number).unwrap();
            for entry in ready.committed {
                disk.applied = entry.index;
                if entry.r#type() == EntryType::EntryConfChange {
                    let change = ConfChange::decode(entry.data.unwrap_or_default()).unwrap();
                    disk.conf_state = machine.apply_conf_change(&change).unwrap();
                }
                machine.applied(disk.applied).unwrap();
            }
            for message in ready.messages.into_iter().chain(ready.messages_after) {
                if is_answer(message.r#type()) {
                    self.answers.entry(message.r#type).or_default().push_back(message);
                }
            }
        }
    }
}
