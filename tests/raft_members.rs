//! Tests of two orderers that order a channel by Raft: which listeners they use, and that hostile clients do not
//! separate them.

#![allow(clippy::float_cmp, reason = "counts are exact")]
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::common::Status;
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use world::client::entries;
use world::config_updates::{creation, signed_update};
use world::http::Http;
use world::messages::{block, seek_info, transaction, tx_id};
use world::metrics::{Scrape, is_of_raft};
use world::raft::{CHANNEL, above, connected, members, of_app, operations, orders};
use world::raw_grpc::{call_path, prefix};
use world::{Client, Node, Step, TEST_TIMEOUT, TestIdentity, within};

/// Looks until the state is as wanted, and returns it. Panics with the last look otherwise.
async fn settled<T, E: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(state) => return state,
            Err(state) => assert!(began.elapsed() < TEST_TIMEOUT, "never so: {what}: {state:?}"),
        }
    }
}

/// Time limit for a node to end, in which it waits for its last blocks.
const STOP_LIMIT: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_orderers_find_each_other_whichever_listener_each_has() {
    let pair = members::<2>().with_listener(1);
    let ports = pair.ports;
    let (_setups, mut nodes) = pair.start().await;
    let http = operations(&mut nodes).await;
    // the node that is not the leader forwards the envelope
    let mut height = above(&http, 0.0).await;
    for node in &nodes {
        orders(node, 10).await;
        height = above(&http, height).await;
    }
    // blocks and messages are counted at different times, and on a busy machine a connection may be lost for a moment
    let (scrapes, shown) = settled("the orderers are connected and have counted everything", async || {
        let scrapes = [Scrape::of(&http[0]).await, Scrape::of(&http[1]).await];
        let shown = http[0].get("/debug/orderers").await.json();
        let mut missing = Vec::new();
        for (scrape, other) in scrapes.iter().zip([ports[1], ports[0]]) {
            let host = format!(r#"{{channel="{CHANNEL}",host="127.0.0.1:{other}"}}"#);
            let at_least_one = [
                scrape.value("cluster_comm_ingress_stream_count"),
                of_app(scrape, "cluster_comm_egress_stream_count"),
                scrape.value(&format!("cluster_comm_msg_send_time_count{host}")),
            ];
            let connections = scrape.value("cluster_comm_egress_tls_connection_count");
            let committed = of_app(scrape, "consensus_etcdraft_committed_block_number");
            if connections != 1.0 || committed != height - 1.0 || at_least_one.iter().any(|count| *count < 1.0) {
                missing.push(format!("{other}: {connections}, {committed}, {at_least_one:?}"));
            }
        }
        let sum = |name: &str| scrapes.iter().map(|scrape| of_app(scrape, name)).sum::<f64>();
        let (leaders, proposals) =
            (sum("consensus_etcdraft_is_leader"), sum("consensus_etcdraft_normal_proposals_received"));
        if leaders != 1.0 || proposals < 2.0 {
            missing.push(format!("{leaders} leaders, {proposals} proposals"));
        }
        let peer = &shown["channels"][0]["peers"][0];
        let states = [&shown["connections"][0]["state"], &peer["state"]];
        let counts = [&peer["consensus"]["sent"], &shown["incoming"]["consensus"]];
        if states != ["connected"; 2] || counts.iter().any(|count| count.as_u64() < Some(1)) {
            missing.push(shown.to_string());
        }
        if missing.is_empty() { Ok((scrapes, shown)) } else { Err(missing) }
    })
    .await;
    for scrape in &scrapes {
        scrape.is_as_defined();
        assert_eq!(of_app(scrape, "consensus_etcdraft_cluster_size"), 2.0);
        let missing: Vec<_> = orderer_actors::observer::METRICS
            .iter()
            .filter(|metric| is_of_raft(metric))
            .map(orderer_actors::observer::MetricDefinition::prometheus_name)
            .filter(|name| !scrape.names().contains(name.as_str()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
    // other orderers are recognized, with or without a cluster listener
    for http in &http {
        settled("the other orderer is known", async || {
            let limits = http.get("/debug/limits").await.json();
            let connections = limits["memory"]["connections"].as_array().unwrap();
            connections.iter().any(|one| one["phase"] == "known").then_some(()).ok_or(limits)
        })
        .await;
    }
    let endpoint = format!("127.0.0.1:{}", ports[1]);
    for connection in [&shown["connections"][0], &shown["channels"][0]["peers"][0]] {
        assert_eq!(connection["endpoint"], endpoint);
        assert!(connection["certificate_expires_ms"].as_i64() > Some(0), "{shown}");
    }
    // a warning names an orderer that is gone, with the reason
    nodes[1].kill();
    let is_named = async {
        loop {
            let warnings = http[0].get("/debug/warnings").await.json().to_string();
            if warnings.contains("1 orderer cannot be reached") && warnings.contains(&endpoint) {
                return;
            }
        }
    };
    within("the orderer that is gone is named", is_named).await;
    let [node, _] = nodes;
    node.assert_no_panic();
    node.stop().await;
}

/// Returns a body that sends these messages and then stays open until the token is cancelled.
fn open_end(
    sent: impl stream::Stream<Item = Bytes> + Send + Unpin + 'static,
    end: &CancellationToken,
) -> impl stream::Stream<Item = Bytes> + Send + Unpin + 'static {
    sent.chain(Box::pin(stream::pending().take_until(end.clone().cancelled_owned())))
}

/// Has hostile clients hold all client memory and all streams of a node until `end`.
async fn hold_all(node: &mut Node, end: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
    let mut held = Vec::new();
    for _ in 0..40 {
        let channel = connected(node).await;
        for number in 0..40 {
            let channel = channel.clone();
            let (path, sent) = match number {
                0..4 => ("/orderer.AtomicBroadcast/Broadcast", vec![prefix(900 << 10), vec![0; 200 << 10].into()]),
                _ => ("/orderer.Cluster/Step", Vec::new()),
            };
            let end = end.clone();
            held.push(tokio::spawn(async move {
                // reconnect whenever the node closes the stream to make room
                while !end.is_cancelled() {
                    let body = open_end(stream::iter(sent.clone()), &end);
                    match call_path(&channel, path, body).await {
                        Ok(answer) => read_all(answer.into_body()).await,
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            }));
        }
    }
    node.line("memory for clients is short").await;
    held
}

/// Reads a body to its end.
async fn read_all(mut body: tonic::body::Body) {
    let mut body = std::pin::Pin::new(&mut body);
    while let Some(Ok(_)) = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await {}
}

/// Waits until a node has more than `height` blocks.
async fn grows(http: &Http, height: f64) -> f64 {
    let series = format!(r#"ledger_blockchain_height{{channel="{CHANNEL}"}}"#);
    let grown = async {
        loop {
            let now = Scrape::of(http).await.value(&series);
            if now > height {
                return now;
            }
        }
    };
    within("another block", grown).await
}

/// Hostile clients hold the memory and streams of one node, while the other is killed and restarted. Ordering needs
/// both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_come_between_consenters() {
    let pair = members::<2>().map(|_, setup| setup.set("LIMITS_MEMORYBYTES", "64 MB"));
    let (setups, mut nodes) = pair.start().await;
    let mut http = Http::of(&mut nodes[1], "operations").await;
    orders(&nodes[1], 10).await;
    let mut height = grows(&http, 1.0).await;
    let end = CancellationToken::new();
    let began = Instant::now();
    let held = hold_all(&mut nodes[0], &end).await;
    eprintln!("strangers took {:?}", began.elapsed());
    // the time limit covers all steps; if consenters waited behind hostile clients, a single step could exceed it
    let work = async {
        for bytes in [10, 100 << 10, 400 << 10] {
            let began = Instant::now();
            orders(&nodes[1], bytes).await;
            height = grows(&http, height).await;
            eprintln!("{bytes} bytes took {:?}", began.elapsed());
        }
        let began = Instant::now();
        nodes[1].kill();
        nodes[1] = setups[1].spawn();
        nodes[1].line("Raft leader changed:").await;
        nodes[1].line("Beginning to serve requests").await;
        http = Http::of(&mut nodes[1], "operations").await;
        orders(&nodes[1], 300 << 10).await;
        grows(&http, height).await;
        eprintln!("the restart took {:?}", began.elapsed());
    };
    within("consenters go on", work).await;
    let short = |line: &&String| line.contains("memory for clients is short");
    nodes[0].lines("strangers went on", |lines| lines.iter().filter(short).count() > 1).await;
    end.cancel();
    for held in held {
        held.abort();
    }
    for node in nodes {
        node.assert_no_panic();
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_created_where_raft_orders_the_system_channel() {
    let (_setups, nodes) = members::<2>().start_with("SysSolo.block").await;
    let clients = [Client::over(connected(&nodes[0]).await), Client::over(connected(&nodes[1]).await)];
    let (admin, user) = (TestIdentity::admin(1), TestIdentity::user(1));
    for file in ["mychan.tx", "otherchan.tx"] {
        let update = creation(file);
        let channel = update.channel_id.as_str();
        let request = || signed_update(&admin, &[&admin], channel, &update);
        // both orderers are asked at once, so two messages that create the channel are ordered
        let (one, other) = tokio::join!(clients[0].broadcast(request()), clients[1].broadcast(request()));
        assert!([one.0, other.0].contains(&Status::Success), "{one:?} {other:?}");
        for (number, client) in clients.iter().enumerate() {
            let ordered = async {
                while client.broadcast(transaction(&user, channel, format!("by orderer {number}"))).await.0
                    != Status::Success
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            within("an envelope is ordered", ordered).await;
        }
        for client in &clients {
            // Deliver is unavailable until the channel has a leader
            let delivered = async {
                let first = || seek_info(block(1), block(1));
                while !matches!(client.deliver(&user, channel, first()).await.next().await, Step::Block(_)) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            within("the first block of envelopes", delivered).await;
        }
    }
    for node in &nodes {
        assert!(!node.log().contains("channel has failed"), "{}", node.log());
        node.assert_no_panic();
    }
}

/// Sends one envelope after the other until the node ends the stream. Returns the IDs of those that it acknowledged.
async fn acknowledged_until_the_end(channel: Channel) -> Vec<String> {
    let (user, client) = (TestIdentity::user(1), Client::over(channel));
    let (requests, mut answers) = client.broadcasting().await.split();
    let requests = requests.unwrap();
    let mut acknowledged = Vec::new();
    loop {
        let envelope = transaction(&user, CHANNEL, "under way");
        let id = tx_id(&envelope);
        if requests.send(envelope).await.is_err() {
            return acknowledged;
        }
        match answers.message().await {
            Ok(Some(answer)) if answer.status() == Status::Success => acknowledged.push(id),
            _ => return acknowledged,
        }
    }
}

/// Returns the position of a node that leads the channel, or has led it.
async fn leader_of(nodes: &[Node]) -> usize {
    let leads = |node: &Node| node.log().contains("Start accepting requests as Raft leader");
    loop {
        if let Some(leader) = nodes.iter().position(leads) {
            return leader;
        }
        tokio::task::yield_now().await;
    }
}

/// Nothing that a node acknowledged waits for its next start, which may be far away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_asked_to_end_hands_over_and_leaves_nothing_unordered() {
    let (_setups, nodes) = members::<3>().start().await;
    let mut nodes = Vec::from(nodes);
    let mut node = nodes.swap_remove(within("a leader", leader_of(&nodes)).await);
    let mut senders = Vec::new();
    for _ in 0..4 {
        senders.push(tokio::spawn(acknowledged_until_the_end(connected(&node).await)));
    }
    let user = TestIdentity::user(1);
    let client = Client::over(connected(&node).await);
    for number in 1..=3 {
        client.block(&user, CHANNEL, number).await;
    }
    node.terminate();
    let mut acknowledged = BTreeSet::new();
    for sender in senders {
        acknowledged.extend(sender.await.unwrap());
    }
    assert!(!acknowledged.is_empty(), "there was load");
    node.line("orderer.node: stopped").await;
    assert!(!node.log().contains("stopped before all envelopes"), "{}", node.log());
    assert_eq!(node.ended(STOP_LIMIT).await.code(), Some(0));
    for node in &nodes {
        let client = Client::over(connected(node).await);
        let mut blocks = client.deliver(&user, CHANNEL, seek_info(block(0), block(u64::MAX))).await;
        let mut seen = BTreeSet::new();
        let all_are_ordered = async {
            while !seen.is_superset(&acknowledged) {
                seen.extend(entries(&blocks.block().await).iter().map(tx_id));
            }
        };
        within("everything is in the chain", all_are_ordered).await;
    }
    within("another leader", leader_of(&nodes)).await;
    for node in nodes {
        node.stop().await;
    }
}
