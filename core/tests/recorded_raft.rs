//! Replaces each orderer of a recorded etcdraft cluster by this crate's machine. Four orderers of Fabric 2.5 ordered
//! 277 blocks; they were elected, killed, restarted, brought up to date by snapshots, removed, and added again
//! (`tests/fixtures/raft`).
//!
//! The machine receives the messages that such an orderer received, and has to send the messages that it sent, as
//! follower, candidate and leader: all fields of each message, the entries byte for byte, the metadata, and the
//! forwarded envelopes. The blocks that it writes have to be the recorded ones.
//!
//! The test chooses the events that were not recorded so that the messages match the recording, or fails: when ticks
//! passed, when a client's envelopes arrived at the leader, which of two nodes' messages was processed first, how long
//! the disk took (a response to a heartbeat overtakes an acknowledgement that waits for the disk), and when a leader
//! had applied a config block. Apart from that, three differences are permitted:
//!
//! - The recording lacks a message for which there was no stream, or which was lost with its stream. The machine may
//!   send such a message only before the first stream to that consenter, between two streams to it, and after the last
//!   one.
//! - A leader sends the active nodes in the order of a Go map, and adds them to the message that is sent next, even if
//!   that message was created before the tick that reports them.
//! - A removed orderer of Fabric responds to the message by which it learned of its removal. Here the chain has ended
//!   by then.

#![allow(clippy::unwrap_used)]

#[path = "recorded_raft/chain.rs"]
mod chain;
#[path = "recorded_raft/comparing.rs"]
mod comparing;
#[path = "recorded_raft/performing.rs"]
mod performing;
#[path = "recorded_raft/player.rs"]
mod player;
#[allow(dead_code, reason = "other tests read more of it")]
#[path = "../../tests/recordings/etcdraft.rs"]
mod recording;
#[path = "recorded_raft/script.rs"]
mod script;
#[path = "recorded_raft/search.rs"]
mod search;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chain::Chain;
use fabric_proto::raftpb::{Message, MessageType};
use player::Player;
use script::Run;

static CHAIN: LazyLock<Chain> = LazyLock::new(Chain::read);
static TRAFFIC: LazyLock<BTreeMap<u64, Vec<recording::Record>>> = LazyLock::new(recording::traffic);

fn runs(node: u64) -> Vec<Run> {
    script::runs(&TRAFFIC[&node])
}

/// Checks that a machine does what this node did. `lost` is the expected number of messages without a stream.
fn does_the_same(node: u64, lost: u64) {
    let (chain, runs) = (&*CHAIN, runs(node));
    let begin = std::time::Instant::now();
    let played = search::play(Player::new(node, chain, &runs)).unwrap_or_else(|difference| panic!("{difference}"));
    let tally = played.tally;
    println!("node {node}, {} runs, {:?}: {tally:?}", runs.len(), begin.elapsed());
    let recorded: usize = runs.iter().flat_map(|run| run.sent.values()).map(Vec::len).sum();
    let forwarded: usize = runs.iter().map(|run| run.submits.len()).sum();
    assert_eq!(tally.messages.values().sum::<u64>(), recorded as u64);
    assert_eq!(tally.forwarded, forwarded as u64);
    assert_eq!(tally.written + tally.copied, chain.len() - 1);
    assert_eq!(tally.lost, lost);
}

#[test]
fn a_follower_that_is_stopped_and_gets_a_snapshot_and_another_id() {
    does_the_same(1, 0);
}

#[test]
fn a_leader_that_is_killed_and_leads_again() {
    does_the_same(2, 48);
}

#[test]
fn a_follower_that_is_killed_then_leads_and_is_removed() {
    does_the_same(3, 47);
}

#[test]
fn a_node_that_joins_late() {
    does_the_same(4, 0);
}

/// Changes one of the messages of this type. Changing only the commit index of an append without entries is not enough,
/// because it depends on which acknowledgement was processed first.
fn with_another(node: u64, kind: MessageType, change: impl Fn(&mut Message)) {
    let mut runs = runs(node);
    let sent = runs.iter_mut().flat_map(|run| run.sent.values_mut()).flatten();
    let mut of_kind: Vec<_> = sent.filter(|item| item.message.r#type() == kind).collect();
    of_kind.sort_by_key(|item| item.at);
    let place = of_kind.len() / 4;
    let item = &mut *of_kind[place];
    let (at, before) = (item.at, item.message.clone());
    change(&mut item.message);
    assert_ne!(item.message, before);
    let outcome = search::play(Player::new(node, &CHAIN, &runs));
    let difference = outcome.err().unwrap_or_else(|| panic!("{kind:?} of node {node}: the change is not seen"));
    assert!(difference.contains(&format!("({at}, ")), "{kind:?} of node {node}: record {at} in {difference}");
}

#[test]
fn another_message_is_not_taken_for_the_same() {
    with_another(1, MessageType::MsgAppResp, |message| message.index += 1);
    with_another(1, MessageType::MsgHeartbeatResp, |message| message.term += 1);
    with_another(1, MessageType::MsgPreVoteResp, |message| message.term += 1);
    with_another(1, MessageType::MsgVoteResp, |message| message.reject = true);
    with_another(2, MessageType::MsgPreVote, |message| message.log_term += 1);
    with_another(2, MessageType::MsgVote, |message| message.context = Some("CampaignTransfer".into()));
    with_another(2, MessageType::MsgHeartbeat, |message| message.commit += 1);
    with_another(2, MessageType::MsgApp, |message| message.index += 1);
    with_another(3, MessageType::MsgSnap, |message| message.snapshot.as_mut().unwrap().metadata.index -= 1);
    with_another(3, MessageType::MsgTimeoutNow, |message| message.to = 4);
    with_another(4, MessageType::MsgAppResp, |message| message.reject_hint += 1);
}

#[test]
fn another_block_is_not_taken_for_the_same() {
    let mut chain = Chain::read();
    chain.change(200, |block| block.metadata.as_mut().unwrap().metadata.swap(0, 1));
    let (node, runs) = (2, runs(2));
    let difference = search::play(Player::new(node, &chain, &runs)).err().expect("the change is seen");
    assert!(difference.contains("block 200 is not the recorded one"), "{difference}");
}
