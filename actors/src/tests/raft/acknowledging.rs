//! Tests when senders get their responses, by `Raft.Acknowledge`.

use futures_util::future::join_all;

use orderer_core::ordering::raft::AcknowledgePoint;
use orderer_core::processing::RejectionKind;

use super::channel_config::payload;
use super::*;

/// Checks the responses without a leader, with one, and with one that can commit nothing.
async fn answers(acknowledge: AcknowledgePoint) {
    let mut cluster = Cluster::partly(3, 1, acknowledge).await;
    cluster.until(0, ChannelState::Electing).await;
    let opened = async {
        while !cluster.channel(0).gate().is_open() {
            tokio::task::yield_now().await;
        }
    };
    within("the gate is open", opened).await;
    let early = texts("early", 5);
    let keeps = acknowledge.keeps();
    {
        // one consenter of three is not a quorum
        let mut waiting = Box::pin(join_all(early.iter().map(|text| cluster.order(0, text))));
        if keeps {
            assert_eq!(waiting.await, [true; 5]);
        } else {
            // long enough for a response, if one were sent
            assert!(tokio::time::timeout(10 * TICK, &mut waiting).await.is_err(), "{acknowledge:?}");
            drop(waiting);
        }
    }
    assert_eq!(cluster.chain(0), Vec::<String>::new());
    cluster.start_node(1).await;
    cluster.led().await;
    // pending envelopes are ordered even if their senders are gone
    cluster.ordered(0, &early).await;

    let leader = cluster.leader().await;
    let other = 1 - leader;
    for place in [leader, other] {
        let late = texts(&format!("late {place}"), 5);
        assert_eq!(join_all(late.iter().map(|text| cluster.order(place, text))).await, [true; 5], "{acknowledge:?}");
        if acknowledge == AcknowledgePoint::Committed {
            // the block is written, or about to be
            tokio::time::timeout(Duration::from_secs(20), cluster.ordered(place, &late)).await.expect("in a block");
        }
    }
    // the leader receives no messages: it commits nothing, and soon loses its leadership
    cluster.network.disconnect(leader as u64 + 1);
    let alone = cluster.order(leader, "alone");
    if keeps {
        assert!(alone.await);
    } else {
        let answered = tokio::time::timeout(10 * TICK, alone).await.is_ok_and(|taken| taken);
        assert!(!answered || acknowledge == AcknowledgePoint::Sent, "a quorum is missing");
    }
    cluster.network.reconnect_all();
    cluster.agree(&["alone".to_owned()]).await;
}

#[actix::test]
async fn durable_needs_no_leader() {
    answers(AcknowledgePoint::Durable).await;
}

#[actix::test]
async fn committed_needs_a_quorum() {
    answers(AcknowledgePoint::Committed).await;
}

#[actix::test]
async fn sent_needs_a_leader() {
    answers(AcknowledgePoint::Sent).await;
}

/// A sender that waits for a leader gets a response when there has been none for long. Its envelope, which no leader had, is
/// not ordered later.
#[actix::test]
async fn senders_do_not_wait_for_a_leader_for_ever() {
    for acknowledge in [AcknowledgePoint::Committed, AcknowledgePoint::Sent] {
        let mut cluster = Cluster::made(3, 3);
        (cluster.acknowledge, cluster.leader_patience) = (acknowledge, 10 * TICK);
        cluster.start_node(0).await;
        cluster.until(0, ChannelState::Electing).await;
        let channel = cluster.channel(0);
        let opened = async {
            while !channel.gate().is_open() {
                tokio::task::yield_now().await;
            }
        };
        within("the gate is open", opened).await;
        let envelope = SignedEnvelope::from_parts(payload("too early"), Bytes::new());
        let validated_at = channel.snapshot().sequence();
        let answer = channel.gate().order(ValidatedEnvelope { envelope, validated_at, is_config: false }).await;
        let answered = tokio::time::timeout(Duration::from_secs(20), answer.expect("the gate is open")).await;
        let refused = answered.expect("a response in time").expect("the chain lives").unwrap_err();
        assert!(refused.to_string().starts_with("no Raft leader"), "{refused}");
        assert!(matches!(refused, OrderError::NoLongerValid { kind: RejectionKind::ServiceUnavailable, .. }));
        cluster.start_node(1).await;
        cluster.led().await;
        assert!(cluster.order(0, "in time").await, "{acknowledge:?}");
        assert_eq!(cluster.ordered(0, &["in time".to_owned()]).await, ["in time"]);
    }
}
