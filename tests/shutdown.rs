//! Tests that a node that is asked to end responds to envelopes in flight, keeps what it acknowledged, and waits for no
//! client that does not end its stream.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::net::TcpStream;

use fabric_proto::common::{Block, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use world::client::entries;
use world::messages::{block, newest, seek_info, transaction, tx_id};
use world::{Setup, Step, TestIdentity, within};

const CHANNEL: &str = "app";
const IN_FLIGHT: usize = 200;

fn transactions(chain: &[Block]) -> Vec<String> {
    chain.iter().flat_map(entries).map(|envelope| tx_id(&envelope)).collect()
}

/// Sends SIGTERM while envelopes are in flight and a subscriber waits, then starts the node on the same port again.
async fn check(setup: Setup) {
    let user = TestIdentity::user(1);
    let node = setup.start().await;
    let (client, follower) = (node.client().await, node.client().await);
    let mut following = follower.deliver(&user, CHANNEL, seek_info(newest(), block(u64::MAX))).await;
    following.block().await;
    let mut idle = client.broadcasting().await;

    let (requests, mut answers) = client.broadcasting().await.split();
    let sent: Vec<_> = (0..IN_FLIGHT).map(|_| transaction(&user, CHANNEL, "in flight")).collect();
    let ids: Vec<String> = sent.iter().map(tx_id).collect();
    let sending = tokio::spawn(async move {
        let requests = requests.unwrap();
        for envelope in sent {
            if requests.send(envelope).await.is_err() {
                return;
            }
        }
        // the client does not end its stream, so the node has to
        requests.closed().await;
    });
    // the stream is busy now
    assert_eq!(answers.message().await.unwrap().unwrap().status(), Status::Success);
    node.terminate();
    let mut acknowledged = 1;
    while let Ok(Some(answer)) = answers.message().await {
        assert_eq!(answer.status(), Status::Success, "{}", answer.info);
        acknowledged += 1;
    }
    loop {
        match following.next().await {
            Step::Block(_) => {}
            Step::Status(status, _) => assert_eq!(status, Status::ServiceUnavailable),
            Step::End(_) => break,
        }
    }
    assert!(matches!(idle.next().await, Step::End(Some((tonic::Code::Unavailable, _)))));
    node.ended_at_once().await;
    sending.abort();

    // the port can be used at once, although earlier connections linger
    let node = setup.start().await;
    let client = node.client().await;
    client.order([transaction(&user, CHANNEL, "after")]).await;
    let acknowledged: BTreeSet<_> = ids[..acknowledged].iter().collect();
    let mut height = 0;
    loop {
        let chain = client.chain(&user, CHANNEL).await;
        let there = transactions(&chain);
        if acknowledged.iter().all(|id| there.contains(id)) {
            let unique: BTreeSet<_> = there.iter().collect();
            assert_eq!(unique.len(), there.len(), "nothing is in the chain twice");
            break;
        }
        assert!(chain.len() > height, "acknowledged, but not in the chain of {height} blocks");
        height = chain.len();
        client.block(&user, CHANNEL, height as u64).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_answered_and_kept_on_disk() {
    check(Setup::application()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_loses_nothing_even_if_memory_was_enough_to_acknowledge() {
    check(Setup::application().set("SOLO_DURABILITY", "memory")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_and_clients_that_say_nothing_are_no_reason_to_stay() {
    let node = Setup::application().start().await;
    let _silent = TcpStream::connect(&node.address).unwrap();
    let client = node.client().await;
    let _stream = client.delivering().await;
    node.signal("INT");
    node.ended_at_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_comes_while_the_node_starts_ends_it_as_orderly() {
    let mut node = Setup::application().spawn();
    node.line("channel created from its genesis block").await;
    node.terminate();
    node.ended_at_once().await;
}

/// A load balancer watches the node's health for as long as the node runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_the_health_is_told_of_the_end_and_does_not_delay_it() {
    let node = Setup::application().start().await;
    let client = node.client().await;
    let mut watched = Vec::new();
    for service in ["", "orderer.AtomicBroadcast"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut health = HealthClient::new(client.channel.clone());
        let mut stream = within("an answer", health.watch(request)).await.unwrap().into_inner();
        let first = within("the state", stream.message()).await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving, "{service:?}");
        watched.push(stream);
    }
    node.terminate();
    for mut stream in watched {
        let next = within("the end is said", stream.message()).await.unwrap().unwrap();
        assert_eq!(next.status(), ServingStatus::NotServing);
        while let Ok(Some(said)) = within("the stream ends", stream.message()).await {
            assert_ne!(said.status(), ServingStatus::Serving);
        }
    }
    node.ended_at_once().await;
}
