//! One channel of two hundred that dies over and over: the others order as if nothing were, and it is shown with its reason.
//!
//! `SUPERVISION_SECONDS=60 cargo test --test supervision -- --nocapture` is the long run, which prints its figures.

#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fabric_proto::common::Status;
use reqwest::Method;
use serde_json::Value;
use world::ear::Ear;
use world::http::{Http, send};
use world::messages::transaction;
use world::{Client, Node, Person, Setup, many};

const CHANNELS: usize = 200;
const BAD: &str = "channel0";
/// Streams, each on its own share of the channels.
const STREAMS: usize = 8;

/// A node with so many channels, in one of which every envelope is a panic.
fn setup() -> Setup {
    many::channels(Setup::bare(), CHANNELS).variable("FAILPOINTS", format!("registrar/{BAD}/solo-chain:Order=panic"))
}

/// Envelopes that the good channels acknowledged within this time; every one of them must be.
async fn load(clients: &[Client], for_so_long: Duration) -> u64 {
    let (until, acknowledged) = (Instant::now() + for_so_long, Arc::new(AtomicU64::new(0)));
    let mut streams = Vec::new();
    for (share, client) in clients.iter().cloned().enumerate() {
        let acknowledged = Arc::clone(&acknowledged);
        streams.push(tokio::spawn(async move {
            let user = Person::user(1);
            let good: Vec<String> = (1..CHANNELS).skip(share).step_by(STREAMS).map(|n| format!("channel{n}")).collect();
            while Instant::now() < until {
                let envelopes: Vec<_> = good.iter().map(|channel| transaction(&user, channel, "x")).collect();
                client.order(envelopes).await;
                acknowledged.fetch_add(good.len() as u64, Ordering::Relaxed);
            }
        }));
    }
    for stream in streams {
        stream.await.unwrap();
    }
    acknowledged.load(Ordering::Relaxed)
}

/// Sends to the bad channel, and has it started again whenever it has failed, until told to end.
async fn kill(client: Client, operations: &Http, end: Arc<AtomicBool>) -> (u64, u64) {
    let (mut refused, mut restarted) = (0, 0);
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while !end.load(Ordering::Relaxed) {
        pace.tick().await;
        let (status, _) = client.broadcast(transaction(&Person::user(1), BAD, "x")).await;
        assert_eq!(status, Status::ServiceUnavailable);
        refused += 1;
        if send(operations.request(Method::POST, &format!("/debug/channels/{BAD}/restart"))).await.status == 202 {
            restarted += 1;
        }
    }
    (refused, restarted)
}

async fn until_failed(node: &mut Node, client: &Client, operations: &Http) -> Value {
    while operations.get(&format!("/debug/channels/{BAD}")).await.json()["state"] != "failed" {
        client.broadcast(transaction(&Person::user(1), BAD, "x")).await;
    }
    node.line("channel has failed").await;
    operations.get(&format!("/debug/channels/{BAD}")).await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_channels_one_panics_continuously_and_the_others_feel_nothing() {
    let seconds = std::env::var("SUPERVISION_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let for_so_long = Duration::from_secs(seconds);
    let setup = setup();
    let mut node = setup.start().await;
    let operations = Arc::new(Http::of(&mut node, "operations").await);
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        clients.push(node.client().await);
    }
    load(&clients, Duration::from_secs(1)).await;
    let without = load(&clients, for_so_long).await;
    let memory_before = node.memory("VmRSS");
    let (end, killer) = (Arc::new(AtomicBool::new(false)), node.client().await);
    let killing = {
        let (end, operations) = (Arc::clone(&end), Arc::clone(&operations));
        tokio::spawn(async move { kill(killer, &operations, end).await })
    };
    let with = load(&clients, for_so_long).await;
    end.store(true, Ordering::Relaxed);
    let (refused, restarted) = killing.await.unwrap();
    let memory_after = node.memory("VmRSS");
    let actors = operations.get("/debug/actors").await.json();
    let of =
        |path: &str| actors["actors"].as_array().unwrap().iter().find(|actor| actor["path"] == path).unwrap().clone();
    let died = of(&format!("registrar/{BAD}/solo-chain"));
    println!(
        "{seconds} s each: {without} envelopes acknowledged without, {with} with {refused} refused by the bad channel, \
         {} restarts of its chain, {restarted} by hand; memory {} MiB, then {} MiB",
        died["restarts"],
        memory_before >> 20,
        memory_after >> 20
    );
    assert!(died["last_panic"]["text"].as_str().unwrap().contains("fail point"), "{died}");
    // other programs have this machine, too: only a clear loss is one
    assert!(with * 2 > without, "{with} of {without}");
    assert!(memory_after < memory_before + (64 << 20), "{memory_before} to {memory_after}");

    let failed = until_failed(&mut node, &clients[0], &operations).await;
    assert!(failed["cause"].as_str().unwrap().contains("fail point"), "{failed}");
    assert_eq!((failed["level"].as_str(), failed["height"].as_u64()), (Some("bad"), Some(1)));
    let warnings = operations.get("/debug/warnings").await.json();
    let warning = &warnings["warnings"][0];
    assert_eq!((warning["text"].as_str(), warning["about"][0].as_str()), (Some("1 channel has failed"), Some(BAD)));
    let channels = operations.get("/debug/channels").await.json();
    for channel in channels["channels"].as_array().unwrap().iter().filter(|channel| channel["name"] != BAD) {
        assert_eq!(channel["state"], "running", "{channel}");
        let writer = of(&format!("registrar/{}/block-writer", channel["name"].as_str().unwrap()));
        assert_eq!(writer["restarts"], 0, "{writer}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_actor_is_said_with_its_channel_and_what_to_do() {
    let setup = Setup::application().variable("FAILPOINTS", "registrar/app/solo-chain:Order=1*stuck(12000)");
    let (setup, ear) = watched(setup);
    let mut node = setup.start().await;
    ear.hears("WATCHDOG=1");
    let operations = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    let mut stream = client.broadcasting().await;
    stream.send(transaction(&Person::user(1), "app", "x")).await;
    let line = node.line("actor is stuck channel=").await;
    assert!(line.contains("channel=\"app\"") && line.contains("action="), "{line}");
    let warnings = operations.get("/debug/warnings").await.json();
    let warning =
        warnings["warnings"].as_array().unwrap().iter().find(|w| w["text"] == "1 actor is stuck").unwrap().clone();
    assert_eq!(warning["about"][0], "registrar/app/solo-chain");
    let actors = operations.get("/debug/actors").await.json();
    let stuck = actors["actors"].as_array().unwrap().iter().find(|actor| actor["path"] == warning["about"][0]).unwrap();
    assert_eq!((&stuck["in_hand"]["message"], &stuck["level"]), (&"Order".into(), &"bad".into()), "{stuck}");
    // with it hangs its thread, and with that other channels: a service manager would start the node again
    node.line("the watchdog is not fed").await;
    ear.forget();
    node.line("actor goes on").await;
    ear.hears("WATCHDOG=1");
    assert_eq!(stream.next().await, world::Step::Status(Status::Success, String::new()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_does_not_end_is_said_and_does_not_end_the_node() {
    let setup = Setup::application().variable("FAILPOINTS", "registrar/app/block-writer:Commit=1*stuck(12000)");
    let (setup, ear) = watched(setup);
    let mut node = setup.start().await;
    let client = node.client().await;
    let mut stream = client.broadcasting().await;
    stream.send(transaction(&Person::user(1), "app", "x")).await;
    let line = node.line("actor is stuck channel=").await;
    assert!(line.contains("registrar/app/block-writer") && line.contains("see to the disk"), "{line}");
    ear.forget();
    for _ in 0..3 {
        ear.hears("WATCHDOG=1");
    }
    assert!(!node.log().contains("actor goes on"), "the watchdog was fed meanwhile");
    assert_eq!(stream.next().await, world::Step::Status(Status::Success, String::new()));
    node.stop().await;
}

/// A service manager that wants to hear from the node every three seconds.
fn watched(setup: Setup) -> (Setup, Ear) {
    let socket = setup.folder().join("notify");
    let ear = Ear::at(&socket);
    (setup.variable("NOTIFY_SOCKET", socket.display()).variable("WATCHDOG_USEC", 3_000_000), ear)
}
