//! Tests that a machine rejects invalid input, and that a failure affects only that machine.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use fabric_proto::raftpb::{
    ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot,
    SnapshotMetadata,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::{Config, Machine, ProposeError, Ready, ReplicationMode, RestoredLog, Role, StepError};

fn config(id: u64) -> Config {
    Config { id, election_tick: 10, heartbeat_tick: 1, max_size_per_msg: 1024, max_inflight_msgs: 2, seed: 1 }
}

/// Returns a log of `last` entries of term 1, all committed and applied.
fn log_of(voters: u64, last: u64) -> RestoredLog {
    RestoredLog {
        hard_state: HardState { term: 1, vote: 0, commit: last },
        conf_state: ConfState { voters: (1..=voters).collect(), ..ConfState::default() },
        snapshot: None,
        entries: (1..=last).map(|index| entry(index, 1)).collect(),
        applied: last,
    }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { term, index, ..Entry::default() }
}

/// Creates node 1 of three, with three entries.
fn follower() -> Machine {
    Machine::new(&config(1), log_of(3, 3)).unwrap()
}

/// Performs all pending work. Returns the messages to send.
fn settle(machine: &mut Machine) -> Vec<Message> {
    let mut sent = Vec::new();
    while let Some(Ready { number, messages, messages_after, committed, .. }) = machine.ready().unwrap() {
        machine.persisted(number).unwrap();
        for last in committed {
            machine.applied(last.index).unwrap();
        }
        sent.extend(messages);
        sent.extend(messages_after);
    }
    sent
}

fn from(id: u64, kind: MessageType, term: u64) -> Message {
    Message { r#type: kind as i32, to: 1, from: id, term, ..Message::default() }
}

/// Creates node 1 as the leader of term 2. Its empty entry is the fourth, and no other node has it yet.
fn leader() -> Machine {
    let mut machine = follower();
    machine.campaign().unwrap();
    settle(&mut machine);
    machine.step(from(2, MessageType::MsgPreVoteResp, 2)).unwrap();
    settle(&mut machine);
    machine.step(from(2, MessageType::MsgVoteResp, 2)).unwrap();
    settle(&mut machine);
    assert_eq!(machine.status().unwrap().role, Role::Leader);
    machine
}

fn acknowledge(machine: &mut Machine, id: u64, index: u64) -> Vec<Message> {
    machine.step(Message { index, ..from(id, MessageType::MsgAppResp, 2) }).unwrap();
    settle(machine)
}

fn change(kind: ConfChangeType, node_id: u64) -> ConfChange {
    ConfChange { r#type: kind as i32, node_id, ..ConfChange::default() }
}

/// Steps a message that must be rejected without any effect.
fn refused(machine: &mut Machine, message: Message) -> StepError {
    let before = machine.status().unwrap();
    let error = machine.step(message).unwrap_err();
    assert_eq!(machine.status().unwrap(), before, "{error}");
    assert!(machine.ready().unwrap().is_none(), "{error}");
    error
}

#[test]
fn messages_that_no_consenter_sends_are_refused() {
    let mut machine = follower();
    let heartbeat = from(2, MessageType::MsgHeartbeat, 1);
    assert_eq!(refused(&mut machine, Message { to: 2, ..heartbeat.clone() }), StepError::NotForUs { to: 2, id: 1 });
    for kind in [MessageType::MsgHup, MessageType::MsgProp, MessageType::MsgUnreachable, MessageType::MsgReadIndex] {
        assert_eq!(refused(&mut machine, from(2, kind, 1)), StepError::Local(kind as i32));
    }
    let unknown = Message { r#type: 99, ..heartbeat.clone() };
    assert_eq!(refused(&mut machine, unknown), StepError::Local(99));
    let malformed = [
        Message { from: 0, ..heartbeat.clone() },
        Message { from: 1, ..heartbeat.clone() },
        Message { term: 0, ..heartbeat.clone() },
        Message { term: u64::MAX, ..heartbeat.clone() },
        Message { index: u64::MAX, ..from(2, MessageType::MsgApp, 1) },
        from(2, MessageType::MsgSnap, 1),
    ];
    for message in malformed {
        assert!(matches!(refused(&mut machine, message), StepError::Malformed(_)));
    }
    machine.step(heartbeat).unwrap();
}

#[test]
fn a_strangers_answers_count_for_nothing() {
    let mut machine = follower();
    machine.campaign().unwrap();
    settle(&mut machine);
    machine.step(from(9, MessageType::MsgPreVoteResp, 2)).unwrap();
    machine.step(Message { reject: true, ..from(9, MessageType::MsgVoteResp, 7) }).unwrap();
    assert!(settle(&mut machine).is_empty());
    let status = machine.status().unwrap();
    assert_eq!((status.role, status.term), (Role::PreCandidate, 1));

    let mut machine = leader();
    for id in [8, 9] {
        assert!(acknowledge(&mut machine, id, 4).is_empty());
    }
    assert_eq!(machine.status().unwrap().commit, 3, "two strangers are no quorum");
    acknowledge(&mut machine, 2, 4);
    assert_eq!(machine.status().unwrap().commit, 4);
}

#[test]
fn messages_of_lower_terms_are_answered_or_ignored() {
    let mut machine = leader();
    let before = machine.status().unwrap();
    for kind in [MessageType::MsgAppResp, MessageType::MsgVote, MessageType::MsgVoteResp, MessageType::MsgTimeoutNow] {
        machine.step(Message { index: 4, ..from(3, kind, 1) }).unwrap();
        assert!(settle(&mut machine).is_empty(), "{kind:?}");
    }
    for kind in [MessageType::MsgApp, MessageType::MsgHeartbeat, MessageType::MsgPreVote] {
        machine.step(from(3, kind, 1)).unwrap();
        let sent = settle(&mut machine);
        assert_eq!(sent.iter().map(|message| (message.to, message.term)).collect::<Vec<_>>(), [(3, 2)], "{kind:?}");
    }
    assert_eq!(machine.status().unwrap(), before);
}

#[test]
fn a_second_change_of_the_consenters_waits_until_the_first_is_applied() {
    let mut machine = leader();
    acknowledge(&mut machine, 2, 4);
    let kinds = |messages: &[Message]| {
        let entries = messages.iter().filter(|message| message.to == 2).flat_map(|message| message.entries.clone());
        entries.map(|entry| entry.r#type()).collect::<Vec<_>>()
    };
    machine.propose_conf_change(&change(ConfChangeType::ConfChangeAddNode, 4)).unwrap();
    machine.propose_conf_change(&change(ConfChangeType::ConfChangeRemoveNode, 3)).unwrap();
    let sent = settle(&mut machine);
    assert_eq!(
        kinds(&sent),
        [EntryType::EntryConfChange, EntryType::EntryNormal],
        "the second one became an empty entry"
    );
    // once it is committed and applied, the next change is accepted
    acknowledge(&mut machine, 2, 6);
    machine.apply_conf_change(&change(ConfChangeType::ConfChangeAddNode, 4)).unwrap();
    settle(&mut machine);
    machine.propose_conf_change(&change(ConfChangeType::ConfChangeRemoveNode, 3)).unwrap();
    assert_eq!(kinds(&settle(&mut machine)), [EntryType::EntryConfChange]);
    let learner = change(ConfChangeType::ConfChangeAddLearnerNode, 5);
    assert_eq!(machine.propose_conf_change(&learner), Err(ProposeError::Dropped));
}

#[test]
fn entries_behind_a_gap_are_not_appended() {
    let mut machine = follower();
    let append = Message { index: 5, log_term: 2, commit: 6, ..from(2, MessageType::MsgApp, 2) };
    machine.step(Message { entries: vec![entry(6, 2)], ..append.clone() }).unwrap();
    let sent = settle(&mut machine);
    let answer = sent.last().unwrap();
    assert_eq!((answer.reject, answer.index, answer.reject_hint, answer.log_term), (true, 5, 3, 1));
    assert_eq!(machine.status().unwrap().last, 3);
    for entries in [vec![entry(7, 2)], vec![entry(6, 2), entry(8, 2)], vec![entry(6, 1)], vec![entry(6, 3)]] {
        let error = refused(&mut machine, Message { entries, ..append.clone() });
        assert_eq!(error, StepError::Malformed("its entries are in no order"));
    }
}

#[test]
fn a_refusal_always_leads_further_back() {
    let mut machine = leader();
    let at = |machine: &mut Machine| machine.status().unwrap().peers[1].next;
    assert_eq!(at(&mut machine), 4);
    for next in [3, 2, 1, 1] {
        let index = at(&mut machine) - 1;
        // the hint is useless
        machine.step(Message { index, reject: true, reject_hint: 99, ..from(2, MessageType::MsgAppResp, 2) }).unwrap();
        settle(&mut machine);
        assert_eq!(at(&mut machine), next);
    }
}

#[test]
fn no_more_messages_than_the_window_go_without_answers() {
    let mut machine = leader();
    acknowledge(&mut machine, 2, 4);
    for _ in 0..4 {
        machine.propose(Bytes::from_static(b"block")).unwrap();
    }
    let to_second = |messages: Vec<Message>| {
        let mine = messages.into_iter().filter(|message| message.to == 2);
        mine.map(|message| message.entries.len()).collect::<Vec<_>>()
    };
    assert_eq!(to_second(settle(&mut machine)), [1, 1], "the window holds two");
    let status = machine.status().unwrap();
    let peer = &status.peers[1];
    assert_eq!((peer.flow, peer.in_flight, peer.paused, status.last), (ReplicationMode::Replicate, 2, true, 8));
    machine.step(from(2, MessageType::MsgHeartbeatResp, 2)).unwrap();
    assert_eq!(to_second(settle(&mut machine)), [0], "an answer to a heartbeat lets a question pass");
    assert_eq!(to_second(acknowledge(&mut machine, 2, 6)).iter().sum::<usize>(), 2, "what was held back follows");
}

#[test]
fn a_lost_log_and_a_fork_are_seen() {
    let mut machine = follower();
    let heartbeat = Message { commit: 9, ..from(2, MessageType::MsgHeartbeat, 2) };
    assert_eq!(refused(&mut machine, heartbeat), StepError::LogLost { commit: 9, last: 3 });
    let append =
        Message { index: 1, log_term: 1, entries: vec![entry(2, 1), entry(3, 2)], ..from(2, MessageType::MsgApp, 2) };
    assert_eq!(refused(&mut machine, append), StepError::Fork { index: 3, here: 1, there: 2 });
}

#[test]
fn what_a_leader_never_sent_is_not_acknowledged() {
    let mut machine = leader();
    let answer = Message { index: 5, ..from(2, MessageType::MsgAppResp, 2) };
    let error = refused(&mut machine, answer.clone());
    assert_eq!(error, StepError::Malformed("it acknowledges entries that were not sent"));
    // the node may have sent them before a restart, and lost them
    let mut machine =
        Machine::new(&config(1), RestoredLog { hard_state: HardState { term: 2, vote: 1, commit: 3 }, ..log_of(3, 3) });
    machine.as_mut().unwrap().step(answer).unwrap();
    assert_eq!(machine.unwrap().status().unwrap().last, 3);
}

#[test]
fn snapshots_that_no_leader_makes_are_refused() {
    let mut machine = follower();
    let snapshot = |index, term, conf_state| Message {
        snapshot: Some(Snapshot { data: None, metadata: SnapshotMetadata { conf_state, index, term } }),
        ..from(2, MessageType::MsgSnap, 2)
    };
    let voters = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    let malformed = [
        snapshot(0, 1, voters.clone()),
        snapshot(9, 0, voters.clone()),
        snapshot(9, 3, voters.clone()),
        snapshot(u64::MAX, 2, voters.clone()),
        snapshot(9, 2, ConfState::default()),
        snapshot(9, 2, ConfState { learners: vec![4], ..voters.clone() }),
    ];
    for message in malformed {
        assert!(matches!(refused(&mut machine, message), StepError::Malformed(_)));
    }
    machine.step(snapshot(9, 2, voters)).unwrap();
    assert_eq!(machine.ready().unwrap().unwrap().snapshot.unwrap().metadata.index, 9);
}

#[test]
fn a_snapshot_of_others_is_answered_with_what_is_committed() {
    let mut machine = follower();
    let conf_state = ConfState { voters: vec![2, 3], ..ConfState::default() };
    let snapshot = Snapshot { data: None, metadata: SnapshotMetadata { conf_state, index: 9, term: 2 } };
    machine.step(Message { snapshot: Some(snapshot), ..from(2, MessageType::MsgSnap, 2) }).unwrap();
    let sent = settle(&mut machine);
    assert_eq!(
        sent.iter().map(|message| (message.r#type(), message.index)).collect::<Vec<_>>(),
        [(MessageType::MsgAppResp, 3)]
    );
    assert_eq!(machine.status().unwrap().last, 3);
}

#[test]
fn an_answer_to_a_heartbeat_has_its_context() {
    let mut machine = follower();
    for context in [None, Some(Bytes::new()), Some(Bytes::from_static(b"context"))] {
        machine.step(Message { context: context.clone(), ..from(2, MessageType::MsgHeartbeat, 1) }).unwrap();
        assert_eq!(settle(&mut machine).pop().unwrap().context, context);
    }
}

#[test]
fn only_who_leads_proposes() {
    let mut machine = follower();
    let block = Bytes::from_static(b"block");
    assert_eq!(machine.propose(block.clone()), Err(ProposeError::NotLeader { leader: None }));
    machine.step(from(3, MessageType::MsgHeartbeat, 1)).unwrap();
    assert_eq!(machine.propose(block.clone()), Err(ProposeError::NotLeader { leader: Some(3) }));
    let mut machine = leader();
    machine.transfer_leadership(2).unwrap();
    assert_eq!(machine.propose(block), Err(ProposeError::Dropped));
}

#[test]
fn a_log_that_contradicts_itself_is_not_taken_up() {
    let log = log_of(3, 3);
    let snapshot =
        Snapshot { data: None, metadata: SnapshotMetadata { index: 2, term: 1, ..SnapshotMetadata::default() } };
    let logs = [
        RestoredLog { hard_state: HardState { commit: 4, ..log.hard_state }, ..log.clone() },
        RestoredLog { applied: 4, ..log.clone() },
        RestoredLog { snapshot: Some(snapshot), ..log.clone() },
        RestoredLog { entries: vec![entry(1, 1), entry(3, 1)], ..log.clone() },
        RestoredLog { entries: vec![entry(1, 1), entry(2, 2), entry(3, 1)], ..log.clone() },
        RestoredLog { conf_state: ConfState { learners: vec![4], ..log.conf_state.clone() }, ..log.clone() },
    ];
    for log in logs {
        Machine::new(&config(1), log).unwrap_err();
    }
    let configs = [
        Config { id: 0, ..config(1) },
        Config { heartbeat_tick: 0, ..config(1) },
        Config { heartbeat_tick: 10, ..config(1) },
        Config { max_size_per_msg: 0, ..config(1) },
        Config { max_inflight_msgs: 0, ..config(1) },
    ];
    for config in configs {
        Machine::new(&config, log.clone()).unwrap_err();
    }
    Machine::new(&config(1), log).unwrap();
}

#[test]
fn what_cannot_be_gone_on_from_ends_the_machine_alone() {
    let ends: [fn(&mut Machine); 3] = [
        |machine| drop(machine.applied(4)),
        |machine| drop(machine.apply_conf_change(&change(ConfChangeType::ConfChangeAddLearnerNode, 4))),
        |machine| {
            for id in 1..=3 {
                drop(machine.apply_conf_change(&change(ConfChangeType::ConfChangeRemoveNode, id)));
            }
        },
    ];
    for end in ends {
        let mut machine = follower();
        end(&mut machine);
        let failed = machine.tick().unwrap_err();
        assert_eq!(machine.ready().unwrap_err(), failed, "it stays failed, for the same reason");
        assert_eq!(machine.step(from(2, MessageType::MsgHeartbeat, 1)), Err(StepError::Failed(failed.clone())));
        assert_eq!(machine.propose(Bytes::new()), Err(ProposeError::Failed(failed.clone())));
        assert_eq!(machine.status().unwrap_err(), failed);
    }
}

/// Sends arbitrary messages of consenters.
#[test]
fn no_message_makes_a_machine_panic() {
    for seed in 0..300 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut machine = if seed % 2 == 0 { leader() } else { follower() };
        for _ in 0..200 {
            let number = |random: &mut StdRng| -> u64 {
                match random.random_range(0..20) {
                    0 => random.random(),
                    1 => (1 << 62) - 1,
                    _ => random.random_range(0..12),
                }
            };
            let kind = random.random_range(0..20);
            let index = number(random);
            let entries = (0..random.random_range(0..3)).map(|at| entry(index.wrapping_add(at + 1), number(random)));
            let message = Message {
                entries: entries.collect(),
                r#type: kind,
                to: 1,
                from: random.random_range(0..5),
                term: number(random),
                log_term: number(random),
                index,
                commit: number(random),
                reject: random.random(),
                reject_hint: number(random),
                snapshot: random.random::<bool>().then(|| Snapshot {
                    data: None,
                    metadata: SnapshotMetadata {
                        conf_state: ConfState { voters: vec![1, 2, number(random)], ..ConfState::default() },
                        index: number(random),
                        term: number(random),
                    },
                }),
                ..Message::default()
            };
            if let Err(StepError::Failed(failed)) = machine.step(message) {
                panic!("seed {seed}: {failed}");
            }
            machine.tick().unwrap();
            if random.random_range(0..3) == 0 {
                settle(&mut machine);
            }
        }
    }
}
