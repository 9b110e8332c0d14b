//! When senders are answered, by `Raft.Acknowledge`.

use futures_util::future::join_all;

use super::*;

/// Without a leader, with one, and with one that can commit nothing.
async fn answers(acknowledge: Acknowledge) {
    let mut cluster = Cluster::partly(3, 1, acknowledge).await;
    cluster.until(0, ChannelState::Electing).await;
    while !cluster.channel(0).gate().is_open() {
        tokio::task::yield_now().await;
    }
    let early = texts("early", 5);
    let keeps = acknowledge.keeps();
    {
        // one consenter of three is no quorum
        let mut waiting = Box::pin(join_all(early.iter().map(|text| cluster.order(0, text))));
        if keeps {
            assert_eq!(waiting.await, [true; 5]);
        } else {
            // time enough for an answer, were there one
            assert!(tokio::time::timeout(10 * TICK, &mut waiting).await.is_err(), "{acknowledge:?}");
            drop(waiting);
        }
    }
    assert_eq!(cluster.chain(0), Vec::<String>::new());
    cluster.start_node(1).await;
    cluster.led().await;
    // what waits is ordered, whether its senders are there or not
    cluster.ordered(0, &early).await;

    let (leader, other) = (cluster.leader(), 1 - cluster.leader());
    for place in [leader, other] {
        let late = texts(&format!("late {place}"), 5);
        assert_eq!(join_all(late.iter().map(|text| cluster.order(place, text))).await, [true; 5], "{acknowledge:?}");
        if acknowledge == Acknowledge::Committed {
            // and in a block: the writer has it, or had it
            tokio::time::timeout(Duration::from_secs(20), cluster.ordered(place, &late)).await.expect("in a block");
        }
    }
    // the leader hears from nobody: it commits nothing, and soon leads no more
    cluster.wires.cut(leader as u64 + 1);
    let alone = cluster.order(leader, "alone");
    if keeps {
        assert!(alone.await);
    } else {
        let answered = tokio::time::timeout(10 * TICK, alone).await.is_ok_and(|taken| taken);
        assert!(!answered || acknowledge == Acknowledge::Sent, "a quorum is missing");
    }
    cluster.wires.mend();
    cluster.agree(&["alone".to_owned()]).await;
}

#[actix::test]
async fn durable_needs_no_leader() {
    answers(Acknowledge::Durable).await;
}

#[actix::test]
async fn committed_needs_a_quorum() {
    answers(Acknowledge::Committed).await;
}

#[actix::test]
async fn sent_needs_a_leader() {
    answers(Acknowledge::Sent).await;
}
