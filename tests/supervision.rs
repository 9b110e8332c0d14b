//! Tests that one of two hundred channels, whose chain panics again and again, does not affect the others, and that its
//! state and the reason are shown.
//!
//! `SUPERVISION_SECONDS=60 cargo test --test all supervision:: -- --nocapture` is a long run: the variable sets the
//! length of each phase.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fabric_proto::common::Status;
use reqwest::Method;
use serde_json::Value;
use world::http::{Http, send};
use world::messages::transaction;
use world::notify_socket::NotifySocket;
use world::{Client, Node, Setup, Step, TestIdentity, many_channels, within};

const CHANNELS: usize = 200;
/// The channel whose chain panics at every envelope.
const BAD: &str = "channel0";
/// The channel that gets the extra client in phases without panics.
const GOOD: &str = "channel1";
/// Number of streams, each for its own share of the channels, and number of envelopes in flight on each.
const STREAMS: usize = 8;
const WINDOW: usize = 16;
/// Number of pairs of phases with and without panics. Other programs use this machine too: if the median of these pairs
/// shows a loss, more pairs are measured, up to `PAIRS_MAX`.
const PAIRS: usize = 4;
const PAIRS_MAX: usize = 16;
/// Maximum loss of the other channels' throughput, as the median of all pairs.
const LOSS_MAX: f64 = 0.2;

/// Sets up a node with many channels, one of which panics at every envelope.
fn setup() -> Setup {
    many_channels::channels(Setup::without_channels(), CHANNELS)
        // a small cache, so that memory growth is not the cache
        .set("LIMITS_BLOCKCACHEBYTES", "64 KB")
        .variable("FAILPOINTS", format!("registrar/{BAD}/solo-chain:Order=panic"))
}

/// Numbers of acknowledged envelopes of the good channels. Every envelope must be acknowledged.
struct Load {
    acknowledged: Vec<AtomicU64>,
    end: AtomicBool,
}

impl Load {
    async fn on(self: Arc<Self>, client: Client, share: usize) {
        let (user, mut stream) = (TestIdentity::user(1), client.broadcasting().await);
        let good: Vec<usize> = (1..CHANNELS).skip(share).step_by(STREAMS).collect();
        let envelope = |n: &usize| transaction(&user, &format!("channel{n}"), "x");
        let (mut to_send, mut to_come) = (good.iter().cycle(), good.iter().cycle());
        for n in to_send.by_ref().take(WINDOW) {
            stream.send(envelope(n)).await;
        }
        while !self.end.load(Ordering::Relaxed) {
            assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
            self.acknowledged[*to_come.next().unwrap()].fetch_add(1, Ordering::Relaxed);
            stream.send(envelope(to_send.next().unwrap())).await;
        }
    }

    fn total(&self) -> u64 {
        self.acknowledged.iter().map(|channel| channel.load(Ordering::Relaxed)).sum()
    }
}

/// Counters of the extra client.
#[derive(Default)]
struct Did {
    refused: u64,
    restarted: u64,
}

/// Sends to this channel with the extra client for the length of a phase, and restarts the channel whenever it has
/// failed. Returns the number of envelopes per second that the good channels acknowledged meanwhile.
async fn phase(load: &Load, channel: &str, client: &Client, operations: &Http, length: Duration, did: &mut Did) -> f64 {
    let (before, began) = (load.total(), Instant::now());
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while began.elapsed() < length {
        pace.tick().await;
        let (status, _) = client.broadcast(transaction(&TestIdentity::user(1), channel, "x")).await;
        let wanted = if channel == BAD { Status::ServiceUnavailable } else { Status::Success };
        assert_eq!(status, wanted, "{channel}");
        did.refused += u64::from(channel == BAD);
        let restart = format!("/debug/channels/{channel}/restart");
        did.restarted += u64::from(send(operations.request(Method::POST, &restart)).await.status == 202);
    }
    f64::from(u32::try_from(load.total() - before).unwrap()) / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

async fn until_failed(node: &mut Node, client: &Client, operations: &Http) -> Value {
    let failed = async {
        while operations.get(&format!("/debug/channels/{BAD}")).await.json()["state"] != "failed" {
            client.broadcast(transaction(&TestIdentity::user(1), BAD, "x")).await;
        }
    };
    within("the channel fails", failed).await;
    node.line("channel has failed").await;
    operations.get(&format!("/debug/channels/{BAD}")).await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_channels_one_panics_continuously_and_the_others_feel_nothing() {
    let seconds = std::env::var("SUPERVISION_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let length = Duration::from_secs(seconds);
    let setup = setup();
    let mut node = setup.start().await;
    let (operations, client) = (Http::of(&mut node, "operations").await, node.client().await);
    let acknowledged = (0..CHANNELS).map(|_| AtomicU64::new(0)).collect();
    let load = Arc::new(Load { acknowledged, end: AtomicBool::new(false) });
    let mut streams = Vec::new();
    for share in 0..STREAMS {
        streams.push(tokio::spawn(Arc::clone(&load).on(node.client().await, share)));
    }
    let mut did = Did::default();
    phase(&load, GOOD, &client, &operations, length, &mut did).await;
    let (mut ratios, memory_before) = (Vec::new(), node.memory("VmRSS"));
    while ratios.len() < PAIRS || (ratios.len() < PAIRS_MAX && median(ratios.clone()) < 1.0 - LOSS_MAX) {
        // alternate the order, so that drift favors neither
        let bad_first = ratios.len() % 2 == 1;
        let mut rates = [0.0; 2];
        for is_bad in [bad_first, !bad_first] {
            let channel = if is_bad { BAD } else { GOOD };
            rates[usize::from(is_bad)] = phase(&load, channel, &client, &operations, length, &mut did).await;
        }
        println!("pair {}: {:.0} envelopes a second without, {:.0} with", ratios.len() + 1, rates[0], rates[1]);
        ratios.push(rates[1] / rates[0]);
    }
    let memory_after = node.memory("VmRSS");
    load.end.store(true, Ordering::Relaxed);
    for stream in streams {
        stream.await.unwrap();
    }
    let least = load.acknowledged[1..].iter().map(|channel| channel.load(Ordering::Relaxed)).min().unwrap();
    let actors = operations.get("/debug/actors").await.json();
    let of =
        |path: &str| actors["actors"].as_array().unwrap().iter().find(|actor| actor["path"] == path).unwrap().clone();
    let died = of(&format!("registrar/{BAD}/solo-chain"));
    println!(
        "{} pairs of {seconds} s: with panics {:.2} of the others' throughput (median; {ratios:.2?}), {} envelopes acknowledged, \
         {least} at least by each channel; {} refused by the bad one, {} restarts of its chain, {} by hand; memory {} MiB, \
         then {} MiB",
        ratios.len(),
        median(ratios.clone()),
        load.total(),
        did.refused,
        died["restarts"],
        did.restarted,
        memory_before >> 20,
        memory_after >> 20
    );
    assert!(died["last_panic"]["text"].as_str().unwrap().contains("fail point"), "{died}");
    assert!(median(ratios.clone()) >= 1.0 - LOSS_MAX, "{ratios:?}");
    assert!(least > 0, "a channel was left out");
    // the allocator's reserve varies by about 100 MB
    assert!(memory_after < memory_before + (256 << 20), "{memory_before} to {memory_after}");

    let failed = until_failed(&mut node, &client, &operations).await;
    assert!(failed["cause"].as_str().unwrap().contains("fail point"), "{failed}");
    assert_eq!((failed["level"].as_str(), failed["height"].as_u64()), (Some("bad"), Some(1)));
    assert!(failed["pending"].is_null(), "no chain is there that would know: {failed}");
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
    let (setup, goes_on) = held("registrar/app/solo-chain:Order");
    let (setup, ear) = watched(setup);
    let mut node = setup.start().await;
    ear.wait_for("WATCHDOG=1");
    let operations = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    let mut stream = client.broadcasting().await;
    stream.send(transaction(&TestIdentity::user(1), "app", "x")).await;
    let line = node.line("actor is stuck channel=").await;
    assert!(line.contains("channel=\"app\"") && line.contains("action="), "{line}");
    let warnings = operations.get("/debug/warnings").await.json();
    let warning =
        warnings["warnings"].as_array().unwrap().iter().find(|w| w["text"] == "1 actor is stuck").unwrap().clone();
    assert_eq!(warning["about"][0], "registrar/app/solo-chain");
    let actors = operations.get("/debug/actors").await.json();
    let stuck = actors["actors"].as_array().unwrap().iter().find(|actor| actor["path"] == warning["about"][0]).unwrap();
    assert_eq!((&stuck["in_hand"]["message"], &stuck["level"]), (&"Order".into(), &"bad".into()), "{stuck}");
    // the stuck actor blocks its thread and the channels on it: a service manager would restart the node
    node.line("the watchdog of systemd is not notified").await;
    ear.forget();
    fs::write(goes_on, "").unwrap();
    node.line("actor resumed").await;
    ear.wait_for("WATCHDOG=1");
    assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_does_not_end_is_said_and_does_not_end_the_node() {
    let (setup, goes_on) = held("registrar/app/block-writer:Commit");
    let (setup, ear) = watched(setup);
    let mut node = setup.start().await;
    let client = node.client().await;
    let mut stream = client.broadcasting().await;
    stream.send(transaction(&TestIdentity::user(1), "app", "x")).await;
    let line = node.line("actor is stuck channel=").await;
    assert!(line.contains("registrar/app/block-writer") && line.contains("check the disk"), "{line}");
    ear.forget();
    for _ in 0..3 {
        ear.wait_for("WATCHDOG=1");
    }
    assert!(!node.log().contains("actor resumed"), "the watchdog was fed meanwhile");
    fs::write(goes_on, "").unwrap();
    assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
    node.stop().await;
}

/// Sets up a node whose first activity at this fail point hangs until the returned file exists.
fn held(point: &str) -> (Setup, PathBuf) {
    let setup = Setup::application();
    let goes_on = setup.folder().join("goes-on");
    let held = format!("{point}=1*held({})", goes_on.display());
    (setup.variable("FAILPOINTS", held), goes_on)
}

/// Sets up a service manager that expects a watchdog notification at least every three seconds.
fn watched(setup: Setup) -> (Setup, NotifySocket) {
    let socket = setup.folder().join("notify");
    let ear = NotifySocket::at(&socket);
    (setup.variable("NOTIFY_SOCKET", socket.display()).variable("WATCHDOG_USEC", 3_000_000), ear)
}
