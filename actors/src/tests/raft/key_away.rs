//! A consenter whose key is away: the others go on, and it catches up when the key is back.

use std::sync::atomic::Ordering;

use super::super::token::sign_with_token;
use super::*;

#[actix::test]
async fn a_leader_whose_key_is_away_is_replaced_and_catches_up() {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let leader = cluster.leader().await;
    let key = sign_with_token(cluster.context(leader));
    let mut all = texts("a", 12);
    for text in &all {
        assert!(cluster.order(leader, text).await);
    }
    cluster.agree(&all).await;
    key.is_away.store(true, Ordering::SeqCst);
    let height = cluster.channel(leader).ledger().height();
    let more = texts("b", 25);
    let others: Vec<usize> = cluster.running().filter(|place| *place != leader).collect();
    for text in &more {
        assert!(cluster.order(others[0], text).await);
    }
    let waiting = |state: &ChannelState| matches!(state, ChannelState::AwaitingKey { .. });
    cluster.channel(leader).subscribe_state().wait_for(waiting).await.unwrap();
    for place in others {
        cluster.ordered(place, &more).await;
    }
    assert_eq!(cluster.channel(leader).ledger().height(), height, "nothing is written without a signature");
    key.is_away.store(false, Ordering::SeqCst);
    all.extend(more);
    cluster.agree(&all).await;
}
