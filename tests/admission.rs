//! Tests that connections, streams and memory of hostile clients are bounded, and that other clients are served
//! meanwhile.

#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "counts are exact")]

use crate::world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::common::Status;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use world::hostile::{self, END_HEADERS, HEADERS};
use world::http::Http;
use world::messages::{block, oldest, seek, seek_info, transaction};
use world::metrics::Scrape;
use world::node::orderer_folder;
use world::raw_grpc::{call, call_path, prefix, read_to_end};
use world::{Client, Node, Setup, Step, TestIdentity, many_channels, within};

const CHANNEL: &str = "app";
const MB: usize = 1 << 20;
/// More connections than the handshakes that an earlier version permitted at a time, and than the node permits for
/// operators.
const MANY: usize = 300;

async fn connections(address: &str, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // the node may close the oldest connection to make room for the next
        let _ = socket.write_all(first).await;
        all.push(socket);
    }
    all
}

fn address(line: &str) -> String {
    world::node::value_of(line, "address").to_owned()
}

/// Makes the commits of a channel hang until the node is killed.
fn stuck(setup: Setup, channel: &str) -> Setup {
    let never = setup.folder().join("never").display().to_string();
    setup.variable("FAILPOINTS", format!("registrar/{channel}/block-writer:Commit=1*held({never})"))
}

/// Waits until the node closes the connection.
async fn closed(socket: &mut TcpStream) {
    let _ = within("the connection is closed", socket.read_to_end(&mut Vec::new())).await;
}

/// Asserts that an envelope of this size from another client is ordered.
async fn assert_ordered(client: &Client, bytes: usize) {
    let answer = client.broadcast(transaction(&TestIdentity::user(2), CHANNEL, vec![7; bytes])).await;
    assert_eq!(answer, (Status::Success, String::new()));
}

fn assert_bounded(node: &Node, bytes: usize) {
    let most = node.memory("VmHWM");
    eprintln!("memory: {} MB now, {} MB at most", node.memory("VmRSS") / MB, most / MB);
    assert!(most < bytes, "{} MB", most / MB);
    node.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_envelopes_that_trickle_hold_nobody_up() {
    let node = Setup::application().start().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let trickle = stream::iter([prefix(99 * MB)]).chain(stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Some((Bytes::from_static(b"x"), ()))
        }));
        let channel = node.client().await.channel;
        held.push(tokio::spawn(async move {
            read_to_end(call(&channel, "Broadcast", Box::pin(trickle)).await.unwrap()).await.1
        }));
    }
    let client = node.client().await;
    // a large envelope waits until the slowest of the others is rejected
    for bytes in [70 << 10, 900 << 10] {
        assert_ordered(&client, bytes).await;
        assert!(held.iter().any(|trickle| !trickle.is_finished()), "{bytes} bytes waited for all others");
    }
    for trickle in held {
        let code = within("it ends", trickle).await.unwrap();
        assert!(matches!(code.as_deref(), Some("4" | "8")), "DEADLINE_EXCEEDED or RESOURCE_EXHAUSTED, not {code:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out() {
    let tls = orderer_folder().join("tls");
    let mut node = Setup::application()
        .set("OPERATIONS_TLS_ENABLED", true)
        .set("OPERATIONS_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("OPERATIONS_TLS_PRIVATEKEY", tls.join("server.key").display())
        // longer than any other wait of the test: who waited for silent connections would wait in vain
        .set("GENERAL_CONNECTIONTIMEOUT", "600s")
        .start()
        .await;
    let operations = address(&node.line("operations endpoint is open").await);
    let root = world::node::orderer_folder().join("tls/ca.crt");
    let http = Http::secured(&mut node, "operations", &root, None).await;
    let silent = (connections(&node.address, MANY, b"").await, connections(&operations, MANY, b"").await);
    assert_ordered(&node.client().await, 10).await;
    assert_eq!(within("an answer", http.get("/healthz")).await.status, 200);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_a_preface_must_end_it() {
    let mut node = Setup::application().set("GENERAL_CONNECTIONTIMEOUT", "6s").start().await;
    let operations = address(&node.line("operations endpoint is open").await);
    let http = Http::of(&mut node, "operations").await;
    let mut half = connections(&operations, MANY, b"P").await;
    half.extend(connections(&node.address, MANY, b"PRI * HTTP/2.0\r\n").await);
    assert_eq!(within("an answer", http.get("/healthz")).await.status, 200);
    for socket in &mut half {
        closed(socket).await;
    }
    // a client that has sent the HTTP/2 preface may be silent afterwards
    let idle = node.client().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_ordered(&idle, 10).await;
}

/// Commits hang, so that envelopes wait at the gate, while 200 streams continue to send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_wait_at_the_gate_hold_no_more_than_their_share() {
    let mut setup = Setup::application().set("LIMITS_MEMORYBYTES", "256 MB").set("LIMITS_CHANNELINGRESSBYTES", "1 MB");
    setup = stuck(setup, "app");
    for durability in ["disk", "memory"] {
        let node = setup.again(&["start"]).set("SOLO_DURABILITY", durability).start().await;
        let user = TestIdentity::user(1);
        let envelope = prost::Message::encode_to_vec(&transaction(&user, CHANNEL, vec![1; 60 << 10]));
        let framed = Bytes::from([&prefix(envelope.len())[..], &envelope].concat());
        let mut calls = Vec::new();
        for _ in 0..20 {
            let channel = node.client().await.channel;
            for _ in 0..10 {
                let (channel, framed) = (channel.clone(), framed.clone());
                calls.push(tokio::spawn(async move {
                    let body = call(&channel, "Broadcast", stream::repeat(framed)).await;
                    if let Ok(body) = body {
                        read_to_end(body).await;
                    }
                }));
            }
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_bounded(&node, 256 * MB);
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_blocks_are_small() {
    let node = Setup::application().start().await;
    for _ in 0..8 {
        let channel = node.client().await.channel;
        let body = stream::iter([prefix(90 * MB)]).chain(stream::repeat(Bytes::from(vec![0; MB])).take(90));
        let (answer, code) = read_to_end(call(&channel, "Deliver", body).await.unwrap()).await;
        assert_eq!((answer.len(), code.as_deref()), (0, Some("8")), "RESOURCE_EXHAUSTED");
    }
    assert_bounded(&node, 200 * MB);
}

fn framed(envelope: &impl prost::Message) -> Bytes {
    let bytes = envelope.encode_to_vec();
    Bytes::from([&prefix(bytes.len())[..], &bytes].concat())
}

/// Many clients request blocks of 900 KB and do not read them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_take_nothing_hold_no_more_than_their_share() {
    const BLOCKS: usize = 40;
    let node = Setup::application().set("LIMITS_MEMORYBYTES", "192 MB").start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    for _ in 0..BLOCKS {
        assert_ordered(&client, 900 << 10).await;
    }
    let request = framed(&seek(&user, CHANNEL, &seek_info(oldest(), block(u64::MAX))));
    let mut stalled = Vec::new();
    for _ in 0..150 {
        let channel = node.client().await.channel;
        let body = stream::iter([request.clone()]).chain(stream::pending());
        stalled.push((call(&channel, "Deliver", body).await, channel));
    }
    let began = Instant::now();
    let blocks = within("all blocks", client.chain(&user, CHANNEL)).await;
    assert!(blocks.len() > BLOCKS);
    eprintln!("the chain took {:?}", began.elapsed());
    assert_bounded(&node, 192 * MB);
    drop(stalled);
}

/// Commits of one channel hang while its clients continue to send, from the same address as a client of another
/// channel. They then hold all the memory that one address may hold, except what is kept for small connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_stuck_leaves_memory_to_the_others() {
    let setup = many_channels::channels(Setup::without_channels(), 2)
        .set("LIMITS_MEMORYBYTES", "64 MB")
        .set("LIMITS_CHANNELINGRESSBYTES", "1 MB");
    let node = stuck(setup, "channel0").start().await;
    let small = framed(&transaction(&TestIdentity::user(1), "channel0", vec![1; 30 << 10]));
    let mut calls = Vec::new();
    for _ in 0..40 {
        let channel = node.client().await.channel;
        for _ in 0..10 {
            let (channel, small) = (channel.clone(), small.clone());
            calls.push(tokio::spawn(async move {
                // the node may close a connection that exceeds its memory share before all its streams are open
                match call(&channel, "Broadcast", stream::repeat(small)).await {
                    Ok(body) => read_to_end(body).await,
                    Err(_) => (Bytes::new(), None),
                }
            }));
        }
    }
    // the waiting clients now hold the memory for clients
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    let honest = async {
        loop {
            let Ok(mut stream) = node.client().await.try_broadcasting().await else { continue };
            stream.send(transaction(&TestIdentity::user(2), "channel1", vec![7; 70 << 10])).await;
            match stream.next().await {
                Step::Status(status, info) => return (status, info),
                // on a busy machine its connection may be open for long before the envelope has arrived; one that is then
                // closed for memory, as that of any stranger, is opened again
                Step::End(_) => eprintln!("closed after {:?}", began.elapsed()),
                other @ Step::Block(_) => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(within("an answer", honest).await, (Status::Success, String::new()));
    eprintln!("another channel's envelope took {:?}", began.elapsed());
    let many_are_refused = async {
        while calls.iter().filter(|call| call.is_finished()).count() < 150 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("those who wait are refused", many_are_refused).await;
    let mut refused = 0;
    for call in calls {
        if !call.is_finished() {
            // an envelope that passed the gate earlier may still be ordered, and is not rejected
            call.abort();
            continue;
        }
        let (answer, _) = call.await.unwrap();
        refused += usize::from(String::from_utf8_lossy(&answer).contains("has acknowledged none"));
    }
    assert!(refused > 100, "{refused}");
}

/// A client requests responses over HTTP/2 with a flow-control window of 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_are_bounded() {
    const STREAMS: u32 = 100;
    let setup = many_channels::channels(Setup::without_channels(), 20)
        .set("LIMITS_MEMORYBYTES", "192 MB")
        .set("METRICS_PROVIDER", "prometheus");
    let mut node = setup.start().await;
    let operations = address(&node.line("operations endpoint is open").await);
    let http = Http::of(&mut node, "operations").await;
    let size = http.get("/metrics").await.body.len();
    let mut asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    asked.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    // GET, http, this path, this authority
    let head = [&[0x82, 0x86, 0x04, 8][..], b"/metrics", &[0x01, 9], b"localhost"].concat();
    for stream in (0..STREAMS).map(|n| 2 * n + 1) {
        asked.extend([0, 0, u8::try_from(head.len()).unwrap(), 1, 5]);
        asked.extend(stream.to_be_bytes());
        asked.extend(&head);
    }
    let held = connections(&operations, 150, &asked).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    eprintln!("{} answers of {} KB", held.len() * STREAMS as usize, size >> 10);
    let served = async {
        loop {
            let answer = http.get("/healthz").await;
            if answer.status == 200 {
                return;
            }
            // on a busy machine the streams of connections that were told to close may end later
            eprintln!("asked again: {answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("an operator is served", served).await;
    assert_bounded(&node, 192 * MB);
    drop(held);
}

/// Clients send large health requests that never end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_health_are_small() {
    let node = Setup::application().set("LIMITS_MEMORYBYTES", "192 MB").start().await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        let channel = node.client().await.channel;
        for _ in 0..20 {
            let channel = channel.clone();
            calls.push(tokio::spawn(async move {
                let body = stream::iter([prefix(4 * MB - 100)]).chain(stream::repeat(Bytes::from(vec![0; MB])).take(3));
                let answer = call_path(&channel, "/grpc.health.v1.Health/Check", body.chain(stream::pending())).await;
                answer.map(|answer| answer.headers().get("grpc-status").map(|code| code.to_str().unwrap().to_owned()))
            }));
        }
    }
    for call in calls {
        let answer = within("an answer", call).await.unwrap();
        assert!(matches!(answer, Ok(Some(code)) if code == "11" || code == "8"), "OUT_OF_RANGE or RESOURCE_EXHAUSTED");
    }
    assert_bounded(&node, 192 * MB);
    // a client that begins a request has to end it
    let channel = node.client().await.channel;
    let unfinished =
        call_path(&channel, "/grpc.health.v1.Health/Check", stream::iter([prefix(3)]).chain(stream::pending()));
    let answer = within("an answer", unfinished).await.unwrap();
    assert_eq!(answer.headers().get("grpc-status").unwrap(), "4", "DEADLINE_EXCEEDED");
}

/// The memory held for clients and the rejections are shown as metrics and at /debug/limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_and_refused_is_shown() {
    const STREAMS: usize = 700;
    let setup = Setup::application().set("LIMITS_MEMORYBYTES", "64 MB").set("METRICS_PROVIDER", "prometheus");
    let mut node = setup.start().await;
    let http = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    assert_ordered(&client, 10_000).await;
    client.block(&TestIdentity::user(1), CHANNEL, 1).await;
    let before = Scrape::of(&http).await;
    let used = |scrape: &Scrape, part: &str| scrape.value(&format!("orderer_memory_used_bytes{{part=\"{part}\"}}"));
    let limit = |part: &str| before.value(&format!("orderer_memory_limit_bytes{{part=\"{part}\"}}"));
    assert_eq!(
        ["process", "incoming", "outgoing", "blocks"].map(limit),
        [64.0, 32.0, 8.0, 8.0].map(|mb| mb * 1_048_576.0)
    );
    assert!(used(&before, "blocks") >= 10_000.0, "the block that was just written");
    let refused = |scrape: &Scrape| scrape.value(r#"orderer_admission_refusals{why="streams"}"#);
    assert_eq!(refused(&before), 0.0);

    let (unfinished, greedy) = (node.client().await.channel, node.client().await.channel);
    // the client library keeps a request whose body has not ended
    let end = CancellationToken::new();
    let until_the_end = || Box::pin(stream::pending().take_until(end.clone().cancelled_owned()));
    let half = stream::iter([prefix(900 << 10), Bytes::from(vec![0; 500 << 10])]).chain(until_the_end());
    let held = call(&unfinished, "Broadcast", half).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(call_path(&greedy, "/orderer.AtomicBroadcast/Broadcast", until_the_end()).await.unwrap());
    }
    let is_refused = |answer: &&http::Response<_>| answer.headers().get("grpc-status").is_some_and(|code| code == "8");
    let not_opened = open.iter().filter(is_refused).count();
    assert!(not_opened > 50, "a quarter of all streams is for connections with few: {not_opened} refused");
    // a response that came ends the client's stream, and the node may notice it later
    let streams_open = |scrape: &Scrape| scrape.value(r#"orderer_streams_open{kind="clients"}"#);
    let all_came = async {
        loop {
            let scrape = Scrape::of(&http).await;
            let has_bytes = used(&scrape, "incoming") >= used(&before, "incoming") + 6e6;
            if has_bytes && streams_open(&scrape) == (STREAMS - not_opened + 1) as f64 {
                return;
            }
        }
    };
    within("half a message, and streams", all_came).await;
    let (scrape, limits) = (Scrape::of(&http).await, http.get("/debug/limits").await.json());
    assert_eq!(refused(&scrape), not_opened as f64);
    let memory = &limits["memory"];
    let named = |list: &str, key: &str, name: &str| {
        memory[list]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one[key] == name)
            .unwrap_or_else(|| panic!("{name}: {limits}"))
    };
    assert_eq!(named("refusals", "why", "streams")["count"], not_opened);
    assert_eq!(named("listeners", "kind", "clients")["streams"], STREAMS - not_opened + 1);
    for part in ["incoming", "outgoing", "blocks"] {
        assert_eq!(named("parts", "name", part)["limit_bytes"].as_f64().unwrap(), limit(part));
    }
    assert_eq!(named("parts", "name", "blocks")["used_bytes"].as_f64().unwrap(), used(&scrape, "blocks"));
    let connections = memory["connections"].as_array().unwrap();
    let most = &connections[0];
    assert_eq!((&most["kind"], &most["phase"]), (&"clients".into(), &"stranger".into()), "{limits}");
    assert_eq!(most["streams"], STREAMS - not_opened, "{limits}");
    let half = connections.iter().find(|one| one["streams"] == 1 && one["incoming_bytes"].as_u64() > Some(500 << 10));
    assert!(half.is_some(), "{limits}");
    end.cancel();
    drop((held, open, unfinished, greedy));
    // each scrape uses a new connection, and the previous one may still be open
    let most = used(&before, "incoming") + 1e6;
    let released = async { while used(&Scrape::of(&http).await, "incoming") > most {} };
    within("what was held is released", released).await;
}

/// Opens a connection with this many Broadcast calls that send nothing.
async fn silent_streams(number: usize, to: SocketAddr, count: u32) -> Option<TcpStream> {
    let mut first = [hostile::PREFACE, &hostile::settings(&[])].concat();
    for stream in 0..count {
        first.extend(hostile::frame(HEADERS, END_HEADERS, 2 * stream + 1, &hostile::call("Broadcast")));
    }
    hostile::connect_with(number, to, &first).await
}

/// Hostile clients hold all permitted streams, a few on each connection, from many addresses and from the client's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_streams_keep_nobody_out() {
    let node = Setup::application().set("LIMITS_MEMORYBYTES", "64 MB").start().await;
    let to: SocketAddr = node.address.parse().unwrap();
    let known = node.client().await;
    assert_ordered(&known, 10).await;
    let mut held = Vec::new();
    for number in 0..150 {
        held.push(silent_streams(number, to, 7).await);
    }
    for _ in 0..3 {
        for client in [&node.client().await, &known] {
            // while the streams of closed connections still end, as on a busy machine, the client asks again
            let opened = async {
                loop {
                    match client.try_broadcasting().await {
                        Ok(stream) => return stream,
                        Err(refused) => assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}"),
                    }
                }
            };
            let mut stream = within("there is a stream for a client that has few", opened).await;
            stream.send(transaction(&TestIdentity::user(2), CHANNEL, vec![7; 10])).await;
            assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
        }
    }
    drop(held);
}

/// Hostile clients hold only connections and streams. Their cost leaves too little memory for an envelope that is not
/// small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_hold_nothing_else_make_room_for_envelopes() {
    let mut node = Setup::application().set("LIMITS_MEMORYBYTES", "64 MB").start().await;
    let operations: SocketAddr = address(&node.line("operations endpoint is open").await).parse().unwrap();
    let (to, http) = (node.address.parse().unwrap(), Http::of(&mut node, "operations").await);
    let mut held = Vec::new();
    for number in 0..620 {
        held.push(silent_streams(number, to, if number < 100 { 8 } else { 0 }).await);
    }
    for number in 0..38 {
        held.push(silent_streams(number, operations, 0).await);
    }
    let used = async || http.get("/debug/limits").await.json()["memory"]["parts"][0]["used_bytes"].as_u64().unwrap();
    let all_came = async { while used().await < 28 << 20 {} };
    within("all of them", all_came).await;
    let client = node.client().await;
    assert_ordered(&client, 500 << 10).await;
    drop(held);
}
