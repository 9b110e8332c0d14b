//! Tests that consenters of a Raft channel sign with keys in tokens, and that the channel goes on while the token of its leader is
//! away.

#![allow(clippy::float_cmp, reason = "counts are exact")]
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::time::Instant;

use fabric_proto::common::{Block, Status};
use world::client::entries;
use world::http::Http;
use world::messages::{transaction, tx_id};
use world::metrics::Scrape;
use world::raft::{CHANNEL, above, connected, members, of_app, operations, orders};
use world::token::Token;
use world::{Client, Node, TestIdentity, within};

/// Returns the place of the leader, as soon as one of the nodes is.
async fn leader(http: &[Http]) -> usize {
    let known = async {
        loop {
            for (place, http) in http.iter().enumerate() {
                if of_app(&Scrape::of(http).await, "consensus_etcdraft_is_leader") == 1.0 {
                    return place;
                }
            }
        }
    };
    within("there is a leader", known).await
}

async fn chain(node: &Node) -> Vec<Block> {
    Client::over(connected(node).await).chain(&TestIdentity::user(1), CHANNEL).await
}

/// Sends envelopes to a node, one after the other, until one is refused. Returns the transactions that were acknowledged, and the
/// reason.
async fn send_until_refused(node: &Node) -> (BTreeSet<String>, String) {
    let client = Client::over(connected(node).await);
    let user = TestIdentity::user(1);
    let mut acknowledged = BTreeSet::new();
    let refused = async {
        for number in 0u64.. {
            let envelope = transaction(&user, CHANNEL, format!("{number}"));
            let id = tx_id(&envelope);
            match client.broadcast(envelope).await {
                (Status::Success, _) => drop(acknowledged.insert(id)),
                (Status::ServiceUnavailable, reason) => return reason,
                other => panic!("{other:?}"),
            }
        }
        unreachable!("the numbers do not end")
    };
    let reason = within("an envelope is refused", refused).await;
    (acknowledged, reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_goes_on_while_the_token_of_its_leader_is_away() {
    let mut tokens = Vec::new();
    let orderers = members::<3>().map(|_, setup| {
        let (token, setup) = Token::of(setup);
        token.import("orderer.example.com", |ski| orderer_core::crypto::hex(&ski));
        tokens.push(token);
        setup
    });
    let (_setups, mut nodes) = orderers.start().await;
    let http = operations(&mut nodes).await;
    orders(&nodes[0], 10).await;
    let height = above(&http, 1.0).await;

    let first = leader(&http).await;
    let other = (first + 1) % 3;
    tokens[first].take_away();
    let began = Instant::now();
    let (acknowledged, reason) = send_until_refused(&nodes[first]).await;
    assert!(reason.contains("waits for the key") || reason.contains("token 'ordering'"), "{reason}");
    nodes[first].line("chain waits for the key to sign with").await;
    eprintln!("the leader stopped taking envelopes after {:?}", began.elapsed());
    let state = http[first].get(&format!("/debug/channels/{CHANNEL}")).await.json().to_string();
    assert!(state.contains("awaitingkey"), "{state}");

    // the other two are a quorum with a leader of their own
    orders(&nodes[other], 10).await;
    eprintln!("another orderer ordered after {:?}", began.elapsed());
    let rest: Vec<Http> = {
        let mut http: Vec<Http> = http.into_iter().collect();
        let kept = http.remove(first);
        above(&http, height).await;
        http.push(kept);
        http
    };
    assert_ne!(leader(&rest[..2]).await, 2);

    // it comes back by itself, with everything that it acknowledged
    tokens[first].bring_back();
    let back = Instant::now();
    orders(&nodes[first], 10).await;
    above(&rest, height + 1.0).await;
    eprintln!("the orderer took envelopes again, and had all blocks, after {:?}", back.elapsed());
    let mut missing = acknowledged;
    let complete = async {
        while !missing.is_empty() {
            for id in chain(&nodes[first]).await[1..].iter().flat_map(entries).map(|envelope| tx_id(&envelope)) {
                missing.remove(&id);
            }
        }
    };
    within("the acknowledged envelopes are in the chain", complete).await;
    let (mine, theirs) = (chain(&nodes[first]).await, chain(&nodes[other]).await);
    for (a, b) in mine.iter().zip(&theirs) {
        assert_eq!((&a.header, &a.data), (&b.header, &b.data));
    }
    for (token, node) in tokens.iter().zip(&nodes) {
        token.assert_signed(&chain(node).await);
    }
    for node in nodes {
        assert!(!node.log().contains("channel has failed"), "{}", node.log());
        node.assert_no_panic();
        node.stop().await;
    }
}
