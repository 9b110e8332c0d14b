//! Faults at every actor and at every step: the tree heals, nothing acknowledged is lost, and the other channel feels nothing.

use super::*;

use crate::status::Activity;

/// Orders until this many more are acknowledged, however often the chain fails meanwhile; returns them.
async fn order_some(world: &World, name: &str, round: &str, count: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut tried = 0;
    while acknowledged.len() < count {
        let text = format!("{round} {tried}");
        tried += 1;
        if world.order_and_wait(name, &text).await {
            acknowledged.push(text);
        } else {
            // the gate may be an old chain's for a moment
            tokio::task::yield_now().await;
            world.until(name, |state| *state == ChannelState::Running).await;
        }
    }
    acknowledged
}

async fn until_in_chain(world: &World, name: &str, texts: &[String]) {
    let mut heights = world.channel(name).ledger().heights();
    loop {
        let chain = world.chain(name);
        if texts.iter().all(|text| chain.contains(text)) {
            for text in texts {
                assert_eq!(chain.iter().filter(|other| *other == text).count(), 1, "exactly once: {text}");
            }
            return;
        }
        heights.changed().await.unwrap();
    }
}

/// Each fault once, at each of these points; what was acknowledged before, meanwhile and afterwards is in the chain once.
async fn survives(world: &World, run: &str, points: &[(&str, &[FailAction])]) {
    let mut acknowledged = Vec::new();
    for (point, faults) in points {
        for fault in *faults {
            world.context.status_board.fail_points().set(point, fault.clone(), 1);
            let round = format!("{run} {point} {fault:?}");
            acknowledged.extend(order_some(world, "app", &round, 3).await);
            let mut more = 0;
            while world.context.status_board.fail_points().remaining(point) > 0 {
                more += 1;
                acknowledged.extend(order_some(world, "app", &format!("{round} more {more}"), 1).await);
            }
            assert!(world.order_and_wait("syschan", &round).await, "{round}: the other channel goes on");
            world.until("app", |state| *state == ChannelState::Running).await;
            acknowledged.extend(order_some(world, "app", &format!("{round} after"), 1).await);
        }
    }
    until_in_chain(world, "app", &acknowledged).await;
}

#[actix::test]
async fn a_solo_channel_heals_whatever_panics_or_fails_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppSolo.block", HEALING).await;
    let other = world.channel("syschan").subscribe_state();
    let points: [(&str, &[FailAction]); 5] = [
        ("registrar/app/solo-chain:Order", &[FailAction::Panic]),
        ("registrar/app/block-writer:Write", &[FailAction::Panic]),
        ("registrar/app/block-writer:Commit", &[FailAction::Panic, FailAction::Error]),
        ("registrar/app/block-writer:Committed", &[FailAction::Panic]),
        ("registrar/app/solo-chain:Start", &[FailAction::Panic]),
    ];
    // a start comes only after a death
    let (started, others) = points.split_last().unwrap();
    survives(&world, "first", others).await;
    world.context.status_board.fail_points().set(started.0, FailAction::Panic, 1);
    survives(&world, "second", &[others[0]]).await;
    assert_eq!(world.context.status_board.fail_points().remaining(started.0), 0);
    assert!(!other.has_changed().unwrap(), "the other channel never left its state");
    let cell = world.context.status_board.cell("registrar/app/solo-chain");
    let panic = cell.report().last_panic.expect("it is shown");
    assert!(panic.text.contains("fail point") && panic.place.contains("fail_points.rs:"), "{panic:?}");
}

#[actix::test]
async fn a_kafka_channel_heals_whatever_panics_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppKafka.block", HEALING).await;
    let other = world.channel("syschan").subscribe_state();
    survives(
        &world,
        "first",
        &[
            ("registrar/app/kafka-chain:Delivery", &[FailAction::Panic]),
            ("registrar/app/kafka-chain/kafka-producer:Order", &[FailAction::Panic]),
            ("registrar/app/kafka-chain/kafka-consumer:TakenIn", &[FailAction::Panic]),
            ("registrar/app/block-writer:Write", &[FailAction::Panic]),
        ],
    )
    .await;
    assert!(!other.has_changed().unwrap(), "the other channel never left its state");
    let panics =
        |name: &str| world.context.status_board.cell(&format!("registrar/app/kafka-chain{name}")).report().last_panic;
    for name in ["", "/kafka-producer", "/kafka-consumer"] {
        assert!(panics(name).is_some(), "{name}");
    }
}

/// Nobody restarts the channel.
#[actix::test]
async fn a_channel_whose_disk_was_full_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppSolo.block", HEALING).await;
    let acknowledged = order_some(&world, "app", "before", 3).await;
    let points = world.context.status_board.fail_points().clone();
    let mut states = world.channel("app").subscribe_state();
    points.set("registrar/app/block-writer:Commit", FailAction::DiskFull, 1);
    assert!(!world.order_and_wait("app", "too much").await, "nothing is acknowledged that is not on the disk");
    let failed = states.wait_for(|state| matches!(state, ChannelState::Failed { .. })).await.unwrap().clone();
    let ChannelState::Failed { cause, action } = failed else { unreachable!("waited for") };
    assert!(cause.contains("full") || cause.contains("space"), "{cause}");
    assert!(action.contains("the channel is restarted when there is space"), "{action}");
    world.until("app", |state| *state == ChannelState::Running).await;
    assert_eq!(points.remaining("registrar/app/block-writer:Commit"), 0);
    let after = order_some(&world, "app", "after", 3).await;
    until_in_chain(&world, "app", &[acknowledged, after].concat()).await;
}

#[actix::test]
async fn parents_that_panic_are_built_again_too() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppSolo.block", HEALING).await;
    let before = order_some(&world, "app", "before", 2).await;
    let points = world.context.status_board.fail_points().clone();
    // the chain dies, and its parent of hearing it; then the parent's parent, too
    for parents in [&["registrar/app:ChildGone"][..], &["registrar/app:ChildGone", "registrar:ChildGone"]] {
        for parent in parents {
            points.set(parent, FailAction::Panic, 1);
        }
        points.set("registrar/app/solo-chain:Order", FailAction::Panic, 1);
        let _ = world.order_and_wait("app", "dies").await;
        let died = async {
            while parents.iter().any(|parent| points.remaining(parent) > 0) {
                tokio::task::yield_now().await;
            }
        };
        within("the parents die", died).await;
        for name in ["app", "syschan"] {
            world.until(name, |state| *state == ChannelState::Running).await;
        }
        let after = order_some(&world, "app", &format!("after {parents:?}"), 2).await;
        until_in_chain(&world, "app", &after).await;
    }
    until_in_chain(&world, "app", &before).await;
}

#[actix::test]
async fn a_stuck_actor_is_noticed_within_seconds_and_its_full_gate_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppSolo.block", HEALING).await;
    let board = world.context.status_board.clone();
    let goes_on = folder.path().join("goes-on");
    board.fail_points().set("registrar/app/solo-chain:Order", FailAction::HeldUntil(goes_on.clone()), 1);
    let mut answers = Vec::new();
    // 1 MiB of gate, in envelopes of 64 KiB
    let text = "x".repeat(64 << 10);
    loop {
        let channel = world.channel("app");
        let envelope = SignedEnvelope::from_parts(Bytes::copy_from_slice(text.as_bytes()), Bytes::new());
        let submission = ValidatedEnvelope { envelope, validated_at: channel.snapshot().sequence(), is_config: false };
        match channel.gate().try_admit(submission) {
            Ok((order, answer)) => {
                assert!(channel.gate().send(vec![order]));
                answers.push(answer);
            }
            Err(_) => break,
        }
    }
    let cell = board.cell("registrar/app/solo-chain");
    assert!(cell.mailbox().depth >= answers.len() as u64 - 1, "{:?}", cell.mailbox());
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let noticed = async {
        while !cell.current_activity().as_ref().is_some_and(Activity::is_stuck) || board.stuck_total() < 2 {
            looks.tick().await;
            assert!(world.order_and_wait("syschan", "meanwhile").await, "the other channel goes on");
        }
    };
    within("it is noticed", noticed).await;
    assert_eq!(board.heartbeats().iter().filter(|pulse| pulse.stuck).count(), 1, "its thread, and no other");
    std::fs::write(&goes_on, "").unwrap();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    assert!(!cell.current_activity().as_ref().is_some_and(Activity::is_stuck));
    assert_eq!(cell.mailbox().depth, 0);
    assert!(cell.mailbox().high_water >= 10, "{:?}", cell.mailbox());
}
