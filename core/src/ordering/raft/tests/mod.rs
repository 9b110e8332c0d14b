//! Runs of simulated clusters. Each run is repeatable from its seed.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fabric_proto::common::HeaderType;

use super::{AcknowledgePoint, Event};
use world::{World, config_in, envelope, rules_of, who};

/// Runs a cluster. Returns it, and the number of envelopes that are in the chain more than once.
fn run(seed: u64, names: &[&str], ticks: u64, changes: bool) -> (World, usize) {
    let mut world = World::new(seed, names);
    for _ in 0..ticks {
        world.tick();
        world.cause_trouble();
        if world.dice.one_in(3) {
            let name = world.some_node();
            let text = format!("envelope {}", world.sent);
            world.send(&name, envelope(HeaderType::Message, &text), false);
        }
        if changes && world.dice.one_in(150) {
            world.change_consenters();
        }
    }
    world.settle();
    let longest =
        world.nodes.values().map(|node| &node.ledger).max_by_key(|ledger| ledger.len()).expect("nodes").clone();
    let mut counts: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for raw in longest.iter().flat_map(|block| &block.envelopes) {
        *counts.entry(raw).or_default() += 1;
    }
    // a removed node keeps the envelopes that it had acknowledged
    let members: Vec<String> = rules_of(&longest).0.iter().map(|name| who(name)).collect();
    let gone = world.nodes.iter().filter(|(name, _)| !members.contains(name)).map(|(_, node)| node);
    let kept: BTreeSet<Bytes> = gone.flat_map(|node| node.pending.values().cloned()).collect();
    for raw in &world.acknowledged.clone() {
        let is_there = counts.contains_key(raw) || kept.contains(raw) || config_in(raw).is_some();
        assert!(is_there, "seed {seed}: an acknowledged envelope is in no block of\n{}", world.describe(raw));
    }
    let twice = counts.values().filter(|count| **count > 1).count();
    (world, twice)
}

/// Returns the seeds to run: `RAFT_FIRST` to `RAFT_SEEDS`, by default 1 to 10.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let first = std::env::var("RAFT_FIRST").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    first..=std::env::var("RAFT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10)
}

#[test]
fn nothing_acknowledged_is_lost_and_nobody_forks() {
    let (mut blocks, mut kills, mut twice, mut sent) = (0, 0, 0, 0);
    for seed in seeds() {
        let (world, repeated) = run(seed, &["a", "b", "c"], 1500, false);
        blocks += world.nodes["a"].ledger.len();
        kills += world.kills;
        sent += world.sent;
        twice += repeated;
    }
    assert!(blocks > 500 && kills > 30, "{blocks} blocks, {kills} kills");
    // an envelope that is sent again can be in the chain twice; here a node crashes or is disconnected every few
    // seconds
    assert!(twice * 25 < usize::try_from(sent).expect("a small number"), "{twice} of {sent} twice");
    eprintln!("{blocks} blocks, {kills} kills, {twice} of {sent} envelopes twice");
}

/// Loses the disk of a node in the middle of a run. Returns the number of acknowledged envelopes, and how many of them
/// are in no block of the remaining nodes after these have received all that they can.
fn lose_a_disk(acknowledge: AcknowledgePoint, seed: u64) -> (usize, usize) {
    let mut world = World::acknowledging(acknowledge, seed, &["a", "b", "c"]);
    for tick in 0..1000 {
        world.tick();
        world.cause_trouble();
        if world.dice.one_in(2) {
            let name = world.some_node();
            let text = format!("envelope {}", world.sent);
            world.send(&name, envelope(HeaderType::Message, &text), false);
        }
        if tick == 500 {
            // mostly the leader, which acknowledges all that it leads
            let name = world.leader().unwrap_or_else(|| "a".to_owned());
            world.lose(&name);
        }
    }
    world.settle();
    let ledgers = world.nodes.values().map(|node| &node.ledger);
    let there: BTreeSet<&Bytes> = ledgers.flatten().flat_map(|block| &block.envelopes).collect();
    (world.acknowledged.len(), world.acknowledged.iter().filter(|raw| !there.contains(raw)).count())
}

#[test]
fn what_is_acknowledged_when_it_is_committed_survives_the_loss_of_a_disk() {
    let all = |acknowledge| {
        let runs = seeds().map(|seed| lose_a_disk(acknowledge, seed + 2000));
        runs.fold((0, 0), |(acknowledged, lost), run| (acknowledged + run.0, lost + run.1))
    };
    let (committed, lost) = all(AcknowledgePoint::Committed);
    assert_eq!(lost, 0, "of {committed}");
    // the other modes lose what only that node had: the test would detect it
    let (durable, sent) = (all(AcknowledgePoint::Durable), all(AcknowledgePoint::Sent));
    assert!(durable.1 > 0 && sent.1 > 0, "{durable:?} {sent:?}");
    assert!(committed > 1000, "{committed}");
    eprintln!("lost with a disk: none of {committed} committed, {durable:?} durable, {sent:?} sent");
}

#[test]
fn senders_are_told_when_it_is_time() {
    let text = |text: &str| envelope(HeaderType::Message, text);
    for acknowledge in [AcknowledgePoint::Durable, AcknowledgePoint::Committed, AcknowledgePoint::Sent] {
        let mut world = World::acknowledging(acknowledge, 5, &["a", "b", "c"]);
        world.calm();
        // there is no leader yet
        world.send("a", text("first"), false);
        assert_eq!(world.acknowledged.len(), usize::from(acknowledge.keeps()));
        while world.leader().is_none() {
            world.tick();
        }
        world.settle();
        assert_eq!(world.acknowledged.len(), 1);
        // submitted to the leader and to a follower, while nothing can be committed
        let leader = world.leader().expect("a leader");
        let others: Vec<String> = world.nodes.keys().filter(|name| **name != leader).cloned().collect();
        for name in &others {
            world.stall(name);
        }
        world.send(&leader, text("second"), false);
        world.send(&others[0], text("third"), false);
        world.tick();
        let expected = if acknowledge == AcknowledgePoint::Committed { 1 } else { 3 };
        assert_eq!(world.acknowledged.len(), expected, "{acknowledge:?}");
        for name in &others {
            world.stall(name);
        }
        world.settle();
        assert_eq!(world.acknowledged.len(), 3, "{acknowledge:?}");
    }
}

#[test]
fn consenters_come_and_go() {
    let mut configs = 0;
    for seed in seeds() {
        let (world, _) = run(seed + 1000, &["a", "b", "c", "d"], 1500, true);
        configs += rules_of(&world.nodes.values().max_by_key(|n| n.ledger.len()).expect("nodes").ledger).1.sequence.0;
    }
    assert!(configs > 30, "{configs} configurations");
    eprintln!("{configs} configurations");
}

#[test]
fn a_single_consenter_orders_alone() {
    let (world, twice) = run(7, &["a"], 1500, false);
    assert!(world.nodes["a"].ledger.len() > 50);
    assert_eq!(twice, 0);
}

/// Returns three calm consenters, one of which leads.
fn three_with_a_leader() -> World {
    let mut world = World::new(3, &["a", "b", "c"]);
    world.calm();
    while world.leader().is_none() {
        world.tick();
    }
    world
}

#[test]
fn nothing_is_forwarded_to_a_leader_that_was_started_again() {
    let mut world = three_with_a_leader();
    let leader = world.leader().expect("a leader");
    let other = world.nodes.keys().find(|name| **name != leader).expect("another node").clone();
    let text = |text: &str| envelope(HeaderType::Message, text);
    world.send(&other, text("while it leads"), false);
    world.tick();
    assert_eq!(world.forwarded.remove(&leader), Some(1));

    world.kill(&leader);
    world.tick();
    world.send(&other, text("while it is down"), false);
    world.tick();
    world.start(&leader);
    // too few ticks for another election
    for _ in 0..3 {
        world.tick();
        assert_eq!(
            world.forwarded.get(&leader),
            None,
            "it would forward it to the next leader, which gets it from here, too"
        );
    }
    world.settle();
    let twice = |ledger: &[world::Stored]| {
        let envelopes: Vec<&Bytes> = ledger.iter().flat_map(|block| &block.envelopes).collect();
        envelopes.len() != envelopes.iter().collect::<BTreeSet<_>>().len()
    };
    assert!(!twice(&world.nodes[&other].ledger));
}

/// Raft accepts no proposal during a leadership transfer. Envelopes that come in then wait, in their order, whether or
/// not the other consenter ever takes over.
#[test]
fn what_comes_in_while_leadership_is_handed_over_is_ordered_later() {
    let text = |number: usize| envelope(HeaderType::Message, &format!("envelope {number}"));
    let mut world = three_with_a_leader();
    world.settle();
    let leader = world.leader().expect("a leader");
    let others: Vec<String> = world.nodes.keys().filter(|name| **name != leader).cloned().collect();
    world.hand_over(&leader);
    for name in &others {
        world.cut_off(name, true);
    }
    // several batches
    for number in 0..20 {
        world.send(&leader, text(number), false);
    }
    for name in &others {
        world.cut_off(name, false);
    }
    world.settle();
    let chain: Vec<&Bytes> = world.nodes[&leader].ledger.iter().flat_map(|block| &block.envelopes).skip(1).collect();
    let expected: Vec<Bytes> = (0..20).map(|number| text(number).raw().clone()).collect();
    assert!(chain.iter().copied().eq(&expected), "{} of 20 are in the chain", chain.len());
}

/// Right after an election timeout, too, at which Raft forgets who is active.
#[test]
fn a_leader_can_hand_over_at_any_tick() {
    let mut world = three_with_a_leader();
    world.settle();
    for tick in 0..40 {
        world.tick();
        let leader = world.leader().expect("a leader");
        // a copy, which gets no responses after its next tick
        let mut machine = world.nodes[&leader].machine.clone().expect("it is at work");
        machine.step(Event::Tick).expect("a tick");
        let (to, _) = machine.hand_over().expect("the machine goes on");
        assert!(to.is_some(), "nobody to hand over to after tick {tick}");
    }
}

#[test]
fn a_log_is_cut_short_where_memory_is() {
    let log_bytes = |limit: u64| {
        let mut world = World::new(5, &["a"]);
        world.calm();
        let mut most = 0;
        for number in 0..300 {
            // enough for an election before the first envelope
            world.tick();
            world.send("a", envelope(HeaderType::Message, &format!("envelope {number}")), false);
            most = most.max(world.limit_log("a", limit));
        }
        world.settle();
        assert_eq!(world.nodes["a"].ledger.iter().map(|block| block.envelopes.len()).sum::<usize>(), 301);
        most
    };
    let (as_configured, limited) = (log_bytes(u64::MAX), log_bytes(100));
    assert!(limited * 2 < as_configured, "{limited} of {as_configured} bytes");
}

/// A removed consenter knows it from the config block, before Raft has agreed on its removal, of which it may never hear.
#[test]
fn a_removed_consenter_is_leaving_as_soon_as_the_configuration_says_so() {
    let mut world = World::new(11, &["a", "b", "c", "d"]);
    world.calm();
    while world.leader().is_none() {
        world.tick();
    }
    world.settle();
    let leader = world.leader().expect("a leader");
    assert!(world.nodes.keys().all(|name| world.is_leaving(name) == Some(false)));
    world.remove_consenter(&leader, &leader);
    let mut ticks = 0;
    while world.is_leaving(&leader) == Some(false) {
        world.tick();
        ticks += 1;
        assert!(ticks < 100, "the update is applied");
    }
    assert_eq!(world.is_leaving(&leader), Some(true));
    let others: Vec<String> = world.nodes.keys().filter(|name| **name != leader).cloned().collect();
    world.cut_off(&leader, true);
    for _ in 0..100 {
        world.tick();
    }
    assert_eq!(world.is_leaving(&leader), Some(true), "it is not told that it was removed");
    assert!(others.iter().all(|name| world.is_leaving(name) == Some(false)));
}
