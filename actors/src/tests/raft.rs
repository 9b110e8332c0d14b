//! Clusters of nodes in one process. Each node has its own ledgers, Raft logs and actors; only the network between them
//! is simulated.

mod acknowledging;
mod channel_config;
mod cluster;
mod key_away;
mod network;
mod returning;

use fabric_proto::etcdraft::Consenter;

use super::*;
use crate::channel::ConsensusRelation;
use channel_config::APP;
use cluster::Cluster;

/// An election takes ten to twenty ticks: longer than a busy machine usually keeps a thread waiting.
const TICK: Duration = Duration::from_millis(50);

fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number}")).collect()
}

#[actix::test]
async fn one_consenter_orders_alone_and_goes_on_after_a_restart() {
    let mut cluster = Cluster::start(1).await;
    cluster.led().await;
    let all = texts("a", 25);
    for text in &all {
        assert!(cluster.order(0, text).await);
    }
    assert_eq!(cluster.ordered(0, &all).await, all);
    cluster.stop_node(0).await;
    cluster.start_node(0).await;
    cluster.led().await;
    assert!(cluster.order(0, "after").await);
    let chain = cluster.ordered(0, &["after".to_owned()]).await;
    assert_eq!(chain, [&all[..], &["after".to_owned()]].concat(), "nothing is ordered twice");
}

#[actix::test]
async fn three_consenters_make_one_chain_whichever_of_them_takes_the_envelopes() {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let before = cluster.leader_changes();
    let mut all = Vec::new();
    for place in 0..3 {
        for text in texts(&format!("node{place}"), 15) {
            assert!(cluster.order(place, &text).await);
            all.push(text);
        }
    }
    cluster.agree(&all).await;
    let chain = cluster.chain(0);
    // what was forwarded to a leader that is lost, as on a very busy machine, is sent again and may be ordered twice
    if cluster.leader_changes() == before {
        assert_eq!(chain.len(), all.len(), "none is ordered twice");
    }
}

#[actix::test]
async fn what_a_node_has_acknowledged_is_ordered_after_its_leader_was_cut_off() {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let before = cluster.leader().await;
    cluster.network.disconnect(before as u64 + 1);
    let other = (before + 1) % 3;
    let mut all = texts("at-the-lost-leader", 12);
    for text in &all {
        assert!(cluster.order(before, text).await, "it does not know yet");
    }
    let others = texts("elsewhere", 12);
    for text in &others {
        assert!(cluster.order(other, text).await);
    }
    cluster.ordered(other, &others).await;
    // another leads
    cluster.leader_among(|place| place != before).await;
    cluster.network.reconnect_all();
    all.extend(others);
    cluster.agree(&all).await;
}

#[actix::test]
async fn a_node_that_missed_more_than_the_leaders_log_contains_gets_the_blocks_from_others() {
    let mut cluster = Cluster::start(3).await;
    cluster.led().await;
    let away = (cluster.leader().await + 1) % 3;
    cluster.stop_node(away).await;
    let place = cluster.running().next().unwrap();
    // a snapshot is taken every 4 KiB of blocks, and 16 entries are kept before it
    let mut missed = texts("missed", 600);
    for text in &missed {
        assert!(cluster.order(place, text).await);
    }
    cluster.ordered(place, &missed).await;
    let has_snapshot = |place: usize| {
        let channel = cluster.channel(place);
        channel.observer().raft().shown().is_some_and(|shown| shown.snapshot_block > 20)
    };
    let taken = async {
        while !cluster.running().all(has_snapshot) {
            tokio::time::sleep(TICK).await;
        }
    };
    within("snapshots are taken, whoever leads", taken).await;
    cluster.start_node(away).await;
    cluster.agree(&missed).await;
    // it has been catching up, and its state shows that no longer
    cluster.led().await;
    assert!(cluster.order(away, "afterwards").await);
    missed.push("afterwards".to_owned());
    cluster.agree(&missed).await;
}

#[actix::test]
async fn a_node_that_was_away_for_long_gets_what_it_missed() {
    let mut cluster = Cluster::start(3).await;
    cluster.led().await;
    let away = (cluster.leader().await + 1) % 3;
    let first = texts("before", 5);
    for text in &first {
        assert!(cluster.order(away, text).await);
    }
    cluster.agree(&first).await;
    cluster.stop_node(away).await;
    let place = cluster.running().next().unwrap();
    let missed = texts("missed", 20);
    for text in &missed {
        assert!(cluster.order(place, text).await);
    }
    cluster.ordered(place, &missed).await;
    cluster.start_node(away).await;
    cluster.led().await;
    cluster.agree(&[first, missed].concat()).await;
}

#[actix::test]
async fn a_node_joins_late_follows_becomes_a_consenter_and_is_removed_again() {
    let cluster = Cluster::among(3, 4).await;
    let late = 3;
    let led = (0..3).map(|place| cluster.until(place, ChannelState::Running));
    futures_util::future::join_all(led).await;
    let mut all = texts("before", 12);
    for text in &all {
        assert!(cluster.order(0, text).await);
    }
    cluster.ordered(0, &all).await;
    // a config block after the first one
    let mut moved = cluster.consenters[..3].to_vec();
    moved[0].port = 7051;
    cluster.have_consent(0, &moved).await;

    cluster.join(late, 0).await;
    cluster.until(late, ChannelState::Following).await;
    assert_eq!(cluster.channel(late).relation(), ConsensusRelation::Follower);
    assert!(
        !cluster.context(late).ledgers.join_block(&ChannelId::parse(APP).unwrap()).exists(),
        "it has what it was joined with"
    );
    assert!(!cluster.channel(late).gate().is_open(), "a follower takes nothing");
    assert!(cluster.order(0, "while it follows").await);
    all.push("while it follows".to_owned());
    cluster.ordered(late, &all).await;

    cluster.have_consent(1, &[&moved[..], &cluster.consenters[3..]].concat()).await;
    cluster.until(late, ChannelState::Running).await;
    assert_eq!(cluster.channel(late).relation(), ConsensusRelation::Consenter);
    for text in texts("at the late one", 12) {
        assert!(cluster.order(late, &text).await);
        all.push(text);
    }
    cluster.agree(&all).await;

    cluster.have_consent(0, &moved).await;
    cluster.until(late, ChannelState::Following).await;
    assert!(cluster.order(0, "without it").await);
    all.push("without it".to_owned());
    cluster.agree(&all).await;
}

#[actix::test]
async fn an_update_that_would_cost_the_quorum_is_refused_and_one_that_can_be_is_taken() {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let first = cluster.leader().await;
    let (lost, other) = ((first + 1) % 3, (first + 2) % 3);
    let without = |place: usize| -> Vec<Consenter> {
        let kept = (0..3).filter(|kept| *kept != place);
        kept.map(|kept| cluster.consenters[kept].clone()).collect()
    };
    // waits until a leader knows that so many are active; on a busy machine the leader may change
    let active = async |nodes| {
        let knows = async {
            loop {
                let leader = cluster.leader_among(|place| nodes == 3 || place != lost).await;
                if cluster.channel(leader).observer().raft().shown().map(|shown| shown.active_nodes) == Some(nodes) {
                    return leader;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        within("the leader knows who is active", knows).await
    };
    active(3).await;
    cluster.network.disconnect(lost as u64 + 1);
    let refused = async {
        loop {
            let leader = active(2).await;
            let refused = cluster.consent(leader, &without(other)).await.unwrap_err().to_string();
            if refused == "2 out of 3 nodes are alive, configuration will result in quorum loss" {
                return;
            }
            assert!(!cluster.is_leader(leader), "{refused}");
        }
    };
    within("it is refused", refused).await;
    let taken = async {
        loop {
            let leader = active(2).await;
            match cluster.consent(leader, &without(lost)).await {
                Ok(()) => return leader,
                Err(refused) => assert!(!cluster.is_leader(leader), "{refused}"),
            }
        }
    };
    let leader = within("it is taken", taken).await;
    let texts = texts("with two", 5);
    for text in &texts {
        assert!(cluster.order(leader, text).await);
    }
    cluster.ordered(other, &texts).await;
}
