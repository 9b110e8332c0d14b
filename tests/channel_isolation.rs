//! Tests that a channel whose ledger cannot be opened fails alone and reports the reason.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::Path;

use fabric_proto::common::Status;
use world::config_updates::{create_channel, creation, signed_update};
use world::messages::{newest, oldest, seek_info, transaction};
use world::{Client, Setup, Step, TestIdentity};

const GOOD: &str = "otherchan";
const BAD: &str = "mychan";

/// Creates two channels beside the system channel, with one envelope in each, and stops the node.
async fn two_channels() -> Setup {
    let (setup, user) = (Setup::system(), TestIdentity::user(1));
    let mut node = setup.start().await;
    let client = node.client().await;
    for (file, channel) in [("mychan.tx", BAD), ("otherchan.tx", GOOD)] {
        create_channel(&mut node, &client, file).await;
        client.order([transaction(&user, channel, "before")]).await;
    }
    node.stop().await;
    setup
}

/// Returns the error text for the bad channel, which must be the same for all clients.
async fn told_about(client: &Client, channel: &str) -> String {
    let (user, admin) = (TestIdentity::user(1), TestIdentity::admin(1));
    let (status, told) = client.broadcast(transaction(&user, channel, "x")).await;
    assert_eq!(status, Status::ServiceUnavailable, "{told}");
    let again = signed_update(&admin, &[&admin], channel, &creation("mychan.tx"));
    assert_eq!(client.broadcast(again).await, (status, told.clone()), "it cannot be created once more");
    let mut stream = client.deliver(&user, channel, seek_info(oldest(), newest())).await;
    assert_eq!(stream.status().await, Status::ServiceUnavailable);
    assert_eq!(stream.next().await, Step::End(None));
    told
}

/// Asserts that a channel orders and delivers.
async fn works(client: &Client, channel: &str) {
    let user = TestIdentity::user(1);
    let height = client.chain(&user, channel).await.len() as u64;
    client.order([transaction(&user, channel, "after")]).await;
    client.block(&user, channel, height).await;
}

/// Damages the ledger of the bad channel. Asserts that its clients get an error with these parts, and that the other
/// channel works.
async fn check(spoil: impl FnOnce(&Path, &Setup), told: &[&str]) {
    let setup = two_channels().await;
    spoil(&setup.ledger_file(BAD), &setup);
    let node = setup.start().await;
    let client = node.client().await;
    let said = told_about(&client, BAD).await;
    assert!(said.contains(&format!("channel '{BAD}' cannot be opened")), "{said}");
    assert!(told.iter().all(|part| said.contains(part)), "{said}");
    assert!(!said.contains('\n'), "{said}");
    works(&client, GOOD).await;
    let log = node.log();
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(BAD) && line.contains(told[0])), "{log}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_place_of_a_ledger() {
    check(|file, _| fs::write(file, "no ledger at all. ".repeat(1000)).unwrap(), &["not a ledger", "move it out"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_in_place_of_a_ledger() {
    check(|file, _| fs::write(file, "").unwrap(), &["ledger.redb"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_whose_middle_was_overwritten() {
    let spoil = |file: &Path, _: &Setup| {
        let mut bytes = fs::read(file).unwrap();
        let tail = bytes.len() - 4096;
        bytes[4096..tail].fill(0xa5);
        fs::write(file, bytes).unwrap();
    };
    check(spoil, &["damaged", "restore it"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_of_another_channel() {
    let spoil = |file: &Path, setup: &Setup| {
        fs::copy(setup.ledger_file(GOOD), file).unwrap();
    };
    check(spoil, &["holds channel otherchan, not mychan"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_system_channel_the_other_channels_work() {
    let setup = two_channels().await;
    fs::write(setup.ledger_file("syschan"), "garbage").unwrap();
    let node = setup.start().await;
    let client = node.client().await;
    for channel in [GOOD, BAD] {
        works(&client, channel).await;
    }
    node.stop().await;
}
