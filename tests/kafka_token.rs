//! Tests that an orderer of a Kafka channel signs with a key in a token, and waits for it.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::broker::{KAFKA_3, Listener, Plan};
use crate::kafka_support::{CHANNEL, Load, check_chains, orderer, until_it_orders};
use crate::world::TestIdentity;
use crate::world::token::Token;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_channel_waits_for_its_token_and_cuts_the_same_chain() {
    let brokers = Plan::new(KAFKA_3).start();
    let (token, setup) = Token::of(orderer("orderer.example.com", &brokers, Listener::Plain));
    token.import("orderer.example.com", |ski| orderer_core::crypto::hex(&ski));
    // the other one has its key in a file
    let other = orderer("orderer2.example.com", &brokers, Listener::Plain).start().await;
    let mut node = setup.start().await;
    until_it_orders(&node.address).await;
    until_it_orders(&other.address).await;

    let load = Load::on(&[node.address.clone(), other.address.clone()], 2);
    token.take_away();
    node.line("chain waits for the key to sign with").await;
    until_it_orders(&other.address).await;
    token.bring_back();
    node.line("the token signs again").await;
    until_it_orders(&node.address).await;
    let (acknowledged, _) = load.end().await;
    check_chains(&[&node, &other], &acknowledged).await;
    token.assert_signed(&node.client().await.chain(&TestIdentity::user(1), CHANNEL).await);
    assert!(!node.log().contains("channel has failed"), "{}", node.log());
    for node in [node, other] {
        node.assert_no_panic();
        node.stop().await;
    }
}
