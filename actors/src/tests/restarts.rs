//! Actors that die, and what their successors go on with.

use super::*;

#[actix::test]
async fn whichever_actor_of_a_channel_dies_the_channel_returns_and_the_others_feel_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let other_states = world.channel("syschan").subscribe_state();
    let mut acknowledged = Vec::new();
    for (round, kill) in [KillActor::Chain, KillActor::Writer, KillActor::Support].into_iter().enumerate() {
        for i in 0..7 {
            let text = format!("{round}-{i}");
            assert!(world.order_and_wait("app", &text).await);
            acknowledged.push(text);
        }
        let mut states = world.channel("app").subscribe_state();
        states.borrow_and_update();
        world.kill("app", kill).await;
        states.changed().await.unwrap();
        assert!(world.order_and_wait("syschan", "meanwhile").await, "the other channel goes on");
        world.until("app", |state| *state == ChannelState::Running).await;
    }
    assert!(!other_states.has_changed().unwrap(), "the other channel never left its state");
    // the eighth of the batch limit's ten is cut by the timer, or with what follows
    assert!(world.order_and_wait("app", "last").await);
    acknowledged.push("last".to_owned());
    let mut heights = world.channel("app").ledger().heights();
    while world.chain("app").len() < acknowledged.len() {
        heights.changed().await.unwrap();
    }
    assert_eq!(world.chain("app"), acknowledged, "each exactly once, in the order of the acknowledgements");
}

#[actix::test]
async fn a_channel_that_dies_too_often_fails_and_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    assert!(world.order_and_wait("app", "one").await);
    world.until_height("app", 2).await;
    let channel = world.channel("app");
    let mut states = channel.subscribe_state();
    for _ in 0..=POLICY.limit {
        world.until("app", |state| *state == ChannelState::Running).await;
        states.borrow_and_update();
        world.kill("app", KillActor::Chain).await;
        states.changed().await.unwrap();
    }
    let failed = world.until("app", |state| matches!(state, ChannelState::Failed { .. })).await;
    assert!(failed.to_string().contains("crashed by a test"), "{failed}");
    assert!(world.order("app", "two").await.is_none(), "the gate is closed");
    assert_eq!(world.chain("app"), ["one"]);
    assert!(world.order_and_wait("syschan", "meanwhile").await);
}

#[actix::test]
async fn a_registrar_that_dies_is_built_again_over_the_open_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    assert!(world.order_and_wait("app", "before").await);
    let mut states = world.channel("app").subscribe_state();
    states.borrow_and_update();
    let registrar: actix::Addr<Registrar> = world.tree.registrar().await.expect("a registrar");
    let _ = registrar.send(PanicNow).await;
    states.changed().await.unwrap();
    for name in ["app", "syschan"] {
        world.until(name, |state| *state == ChannelState::Running).await;
    }
    let mut ordered = world.order_and_wait("app", "after").await;
    while !ordered {
        // the gate may still be the old chain's for a moment
        world.until("app", |state| *state == ChannelState::Running).await;
        tokio::task::yield_now().await;
        ordered = world.order_and_wait("app", "after").await;
    }
    let mut heights = world.channel("app").ledger().heights();
    while world.chain("app").len() < 2 {
        heights.changed().await.unwrap();
    }
    assert_eq!(world.chain("app"), ["before", "after"]);
}

#[actix::test]
async fn what_was_acknowledged_is_ordered_first_after_a_restart_and_once() {
    let mut attempts = 0..20;
    let folder = loop {
        attempts.next().expect("a stop before the timer has cut the block");
        let folder = tempfile::tempdir().unwrap();
        let world = World::start(folder.path(), Durability::Disk).await;
        for text in ["one", "two", "three"] {
            assert!(world.order_and_wait("app", text).await);
        }
        let World { context, tree, signer, .. } = world;
        tree.stop().await;
        drop((context, signer));
        // the ledger is closed when its last user is gone
        let closed = async {
            loop {
                let ledgers = LedgerProvider::new(folder.path(), BlockCacheConfig { bytes: 1 << 20 }).unwrap();
                match ledgers.open(&ChannelId::parse("app").unwrap()) {
                    Ok(ledger) => return ledger.height(),
                    Err(orderer_ledger::OpenError::AlreadyOpen { .. }) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        // a busy machine may stop only after the timer has cut the block
        if within("the ledger is closed", closed).await == 1 {
            break folder;
        }
    };
    let world = World::start(folder.path(), Durability::Disk).await;
    assert!(world.order_and_wait("app", "four").await);
    let mut heights = world.channel("app").ledger().heights();
    while world.chain("app").len() < 4 {
        heights.changed().await.unwrap();
    }
    assert_eq!(world.chain("app"), ["one", "two", "three", "four"]);
}

/// The supervision reports the end of a chain after the chain's envelopes have lost it.
#[actix::test]
async fn an_envelope_without_a_chain_is_told_the_cause_also_if_it_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let channel = world.channel("app");
    let mut refused = std::pin::pin!(channel.unavailable());
    assert!(futures_util::poll!(refused.as_mut()).is_pending(), "its chain is running");
    channel.set_state(ChannelState::Restarting { attempt: 1, cause: "the token is away".to_owned(), pause_ms: 5 });
    assert_eq!(
        within("the cause", refused).await.to_string(),
        "channel 'app' does not accept messages now: its chain is restarting (attempt 1, after 5 ms): the token is away"
    );
    channel.set_state(ChannelState::Running);
    let restarted = within("a chain that was started again", channel.unavailable()).await.to_string();
    assert!(restarted.ends_with("its chain ended before it answered (send the envelope again)"), "{restarted}");
}
