//! Tests with many hostile clients: a flood through every interface, during which memory stays within
//! `Limits.MemoryBytes`; and honest clients among random hostile connections, which lose nothing. The tests are short
//! by default. `tests/run-long` makes them long with the variables `STRANGERS_SECONDS`, `STRANGERS_CONNECTIONS` (also
//! the number of streams) and `STRANGERS_CHANNELS`.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::common::Status;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, ClientTlsConfig};
use world::client::entries;
use world::hostile::{self, PREFACE};
use world::http::Http;
use world::messages::{block, oldest, seek, seek_info, transaction, tx_id};
use world::metrics::Scrape;
use world::raw_grpc::{call, drain, prefix};
use world::tls;
use world::{Client, Node, Setup, Step, TestIdentity, many_channels, seed, within};

const MB: usize = 1 << 20;
/// Number of streams on one hostile connection.
const STREAMS_EACH: usize = 1000;
/// Number of rounds in which honest clients are measured alone and among hostile clients.
const ROUNDS: u32 = 10;

fn wanted(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

fn framed(envelope: &impl prost::Message) -> Bytes {
    let bytes = envelope.encode_to_vec();
    Bytes::from([&prefix(bytes.len())[..], &bytes].concat())
}

/// Time limit for all strangers to come. They have a low priority, so that they need long on a busy machine.
const FLOOD_WITHIN: Duration = Duration::from_secs(300);

/// Increment of the nice value of hostile clients' threads. Real hostile clients run on other machines, and so must not
/// take processor time from the honest clients here. The node's own work for them competes with its work for honest
/// clients as it would in production.
const STRANGERS_NICE: i32 = 15;

/// Hostile clients, on a separate thread.
struct Strangers(Option<Runtime>);

impl Strangers {
    fn new() -> Self {
        let give_way = || {
            // on Linux the nice value belongs to the thread
            #[cfg(target_os = "linux")]
            rustix::process::nice(STRANGERS_NICE).unwrap();
        };
        let mut builder = Builder::new_multi_thread();
        Self(Some(builder.worker_threads(1).on_thread_start(give_way).enable_all().build().unwrap()))
    }

    fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.as_ref().unwrap().spawn(future);
    }

    /// Runs a future on the thread of the hostile clients and waits for it.
    async fn on_their_thread<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        self.0.as_ref().unwrap().spawn(future).await.unwrap()
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Numbers of connections and streams that hostile clients have opened so far.
#[derive(Default)]
struct Opened {
    connections: AtomicUsize,
    streams: AtomicUsize,
}

/// Waits between two attempts of a hostile client to connect.
async fn pause(number: usize) {
    tokio::time::sleep(Duration::from_millis(100 + number as u64 % 400)).await;
}

/// Opens a connection that sends few bytes, and opens it again whenever the node closes it.
async fn say_little(to: SocketAddr, number: usize, opened: Arc<Opened>) {
    let greeting = [PREFACE, &hostile::settings(&[])].concat();
    let first = [&greeting[..], b"P", b"", b"\x16\x03\x01"][number % 4];
    loop {
        if let Some(mut socket) = hostile::connect_with(number, to, first).await {
            opened.connections.fetch_add(1, Ordering::Relaxed);
            hostile::read_out(&mut socket).await;
        }
        pause(number).await;
    }
}

/// Calls a method with the bodies that `body` returns, again and again.
async fn call_for_ever(
    channel: Channel,
    method: &'static str,
    number: usize,
    opened: Arc<Opened>,
    body: impl Fn() -> BoxStream<'static, Bytes>,
) {
    loop {
        if let Ok(answers) = call(&channel, method, body()).await {
            opened.streams.fetch_add(1, Ordering::Relaxed);
            if method == "Deliver" {
                // a subscriber that never reads does not notice that the node closed its stream
                tokio::time::sleep(Duration::from_secs(20)).await;
            } else {
                drain(answers).await;
            }
        }
        pause(number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_through_every_way_in_stays_within_memory() {
    raise_file_limit();
    let time = Duration::from_secs(wanted("STRANGERS_SECONDS", 10) as u64);
    let (connections, channels) = (wanted("STRANGERS_CONNECTIONS", 1500), wanted("STRANGERS_CHANNELS", 20));
    let memory = if connections >= 10_000 { 1024 } else { 384 };
    let setup = many_channels::channels(Setup::without_channels(), channels).set("METRICS_PROVIDER", "prometheus");
    let mut node = setup.set("LIMITS_MEMORYBYTES", format!("{memory} MB")).start().await;
    let show = |node: &Node, what: &str| eprintln!("{what}: {} MB", node.memory("VmRSS") / MB);
    show(&node, "serving");
    let http = Http::of(&mut node, "operations").await;
    let operations: SocketAddr = world::http::address(&mut node, "operations").await.parse().unwrap();
    let to: SocketAddr = node.address.parse().unwrap();

    let (strangers, opened) = (Strangers::new(), Arc::<Opened>::default());
    let connect = async |number| {
        let connected = strangers.on_their_thread(hostile::client(number, to));
        within("a stranger's connection", connected).await.unwrap().channel
    };
    let (user, mut channel) = (TestIdentity::user(1), connect(0).await);
    for number in 0..connections {
        if number > 0 && number % STREAMS_EACH == 0 {
            channel = connect(number).await;
        }
        let silent = || stream::pending().boxed();
        strangers.run(call_for_ever(channel.clone(), "Broadcast", number, Arc::clone(&opened), silent));
    }
    // streams that send without end, messages that never end, and subscribers that never read
    let small = framed(&transaction(&user, "channel0", vec![1; 200]));
    let medium = framed(&transaction(&user, "channel1", vec![1; 60 << 10]));
    for number in 0..40 {
        let channel = connect(number).await;
        let (small, medium, user) = (small.clone(), medium.clone(), user.clone());
        let body = move || match number % 4 {
            0 => stream::repeat(small.clone()).boxed(),
            1 => stream::repeat(medium.clone()).boxed(),
            2 => {
                let pieces = stream::repeat(Bytes::from(vec![0; MB])).take(89);
                stream::iter([prefix(90 * MB)]).chain(pieces).chain(stream::pending()).boxed()
            }
            _ => {
                let envelope = seek(&user, "channel1", &seek_info(oldest(), block(u64::MAX)));
                stream::iter([framed(&envelope)]).chain(stream::pending()).boxed()
            }
        };
        let method = if number % 4 == 3 { "Deliver" } else { "Broadcast" };
        strangers.run(call_for_ever(channel, method, number, Arc::clone(&opened), body));
    }

    show(&node, "streams");
    for (address, count) in [(to, connections), (operations, 1000)] {
        (0..count).for_each(|number| strangers.run(say_little(address, number, Arc::clone(&opened))));
    }

    let (began, mut slowest, mut most_asked, mut open_most) = (Instant::now(), Duration::ZERO, Duration::ZERO, 0.0_f64);
    let (honest, mut sent) = (TestIdentity::user(2), BTreeSet::new());
    let is_flood = || {
        let so_many = |opened: &AtomicUsize| opened.load(Ordering::Relaxed) >= connections;
        so_many(&opened.connections) && so_many(&opened.streams)
    };
    // a busy machine needs longer until all strangers have come
    while began.elapsed() < time || !is_flood() {
        assert!(began.elapsed() < time + FLOOD_WITHIN, "that is no flood");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let asked = Instant::now();
        sent.insert(sends_one(&node, &honest, "channel2").await);
        slowest = slowest.max(asked.elapsed());
        let health_asked = Instant::now();
        assert_eq!(http.get("/healthz").await.status, 200);
        let scrape = Scrape::of(&http).await;
        most_asked = most_asked.max(health_asked.elapsed());
        open_most = open_most.max(scrape.value(r#"orderer_connections_open{kind="clients"}"#));
        assert!(node.memory("VmRSS") < memory * MB, "{} MB", node.memory("VmRSS") / MB);
        show(&node, &format!("after {:.0?}", began.elapsed()));
    }
    let most = node.memory("VmHWM") / MB;
    let (again, streams) = (opened.connections.load(Ordering::Relaxed), opened.streams.load(Ordering::Relaxed));
    eprintln!(
        "{connections} connections and streams ({open_most} at once; {again} and {streams} in {time:?}), {channels} channels: {most} MB \
         of {memory} MB; an honest client waited {slowest:?}, an operator {most_asked:?}"
    );
    assert!(most < memory, "{most} MB");
    drop(strangers);
    assert_eq!(ordered(&node.client().await, "channel2", sent.len()).await, sent);
    node.assert_no_panic();
}

/// Sends an envelope with a new client, which connects again when the node closes its connection for memory before it knows
/// the client. Returns the transaction that was acknowledged.
async fn sends_one(node: &Node, who: &TestIdentity, channel: &str) -> String {
    let acknowledged = async {
        loop {
            let Ok(mut stream) = node.client().await.try_broadcasting().await else { continue };
            let envelope = transaction(who, channel, "honest");
            let id = tx_id(&envelope);
            stream.send(envelope).await;
            match stream.next().await {
                Step::End(Some(_)) => {}
                answer => {
                    assert_eq!(answer, Step::Status(Status::Success, String::new()));
                    return id;
                }
            }
        }
    };
    within("an honest client is answered", acknowledged).await
}

/// Waits until a channel has `count` transactions and returns them. Asserts that none is in the chain twice.
async fn ordered(client: &Client, channel: &str, count: usize) -> BTreeSet<String> {
    let user = TestIdentity::user(2);
    let enough = async {
        loop {
            let blocks = client.chain(&user, channel).await;
            let all: Vec<String> = blocks[1..].iter().flat_map(entries).map(|envelope| tx_id(&envelope)).collect();
            if all.len() >= count {
                let each: BTreeSet<String> = all.iter().cloned().collect();
                assert_eq!(each.len(), all.len(), "one is in the chain twice");
                return each;
            }
            // the batch timeout cuts the block with the last transactions
            client.block(&user, channel, blocks.len() as u64).await;
        }
    };
    within("every acknowledged envelope", enough).await
}

/// Opens one hostile connection of a random kind, for a random time.
async fn stranger(to: SocketAddr, tls: ClientTlsConfig, number: usize, dice: u64) {
    let mut dice = rand::rngs::StdRng::seed_from_u64(dice);
    let pause = Duration::from_millis(dice.random_range(1..3000));
    let garbage: Vec<u8> = (0..dice.random_range(1..2000)).map(|_| dice.random()).collect();
    let kind = dice.random_range(0..8);
    let large = dice.random_range(1..100) * MB;
    if kind < 5 {
        let greeting = [PREFACE, &hostile::settings(&[])].concat();
        let half_hello = hostile::half_hello();
        let first: &[u8] = match kind {
            0 => b"",
            1 => &greeting,
            2 => b"\x16\x03\x01\x02\0\x01",
            3 => &half_hello,
            _ => &PREFACE[..7],
        };
        let Some(mut socket) = hostile::connect_with(number, to, first).await else { return };
        tokio::time::sleep(pause).await;
        let _ = socket.write_all(&garbage).await;
        if garbage.len().is_multiple_of(2) {
            // close the connection with a reset
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        return;
    }
    let Some(Client { channel, .. }) = hostile::client_by_tls(number, to, tls).await else { return };
    let body = match kind {
        5 => stream::iter([prefix(large)]).chain(stream::pending()).boxed(),
        6 => stream::iter([Bytes::from(garbage)]).chain(stream::pending()).boxed(),
        _ => stream::iter([prefix(large)])
            .chain(stream::repeat(Bytes::from(vec![0x0a; 64 << 10])).take(large >> 16))
            .boxed(),
    };
    let method = if large.is_multiple_of(2) { "Broadcast" } else { "Deliver" };
    let talk = async {
        if let Ok(body) = call(&channel, method, body).await {
            drain(body).await;
        }
    };
    let _ = tokio::time::timeout(pause, talk).await;
}

/// Sends envelopes one after the other. Returns the acknowledged transactions and the latency of each.
async fn honest(client: Client, stop: Arc<AtomicBool>) -> Vec<(String, Duration)> {
    let (user, mut took) = (TestIdentity::user(2), Vec::new());
    let mut stream = client.broadcasting().await;
    while !stop.load(Ordering::Relaxed) {
        let envelope = transaction(&user, "app", vec![7; 1000]);
        let (id, began) = (tx_id(&envelope), Instant::now());
        stream.send(envelope).await;
        assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
        took.push((id, began.elapsed()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

/// Runs honest clients for a time. Adds the acknowledged transactions to `acknowledged`, and returns the latencies.
async fn honest_for(node: &Node, time: Duration, acknowledged: &mut BTreeSet<String>) -> Vec<Duration> {
    let stop = Arc::<AtomicBool>::default();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(tokio::spawn(honest(tls::client(node).await, Arc::clone(&stop))));
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for client in clients {
        for (id, time) in client.await.unwrap() {
            acknowledged.insert(id);
            took.push(time);
        }
    }
    took
}

fn p99(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_clients_lose_nothing_among_strangers() {
    raise_file_limit();
    let time = Duration::from_secs(wanted("STRANGERS_SECONDS", 10) as u64);
    let at_once = wanted("STRANGERS_AT_ONCE", 20);
    let node = tls::secured(Setup::application()).set("LIMITS_MEMORYBYTES", "384 MB").start().await;
    let (seed, next) = (seed(), Arc::<AtomicUsize>::default());
    let (mut alone, mut among, mut acknowledged) = (Vec::new(), Vec::new(), BTreeSet::new());
    // alternate, so that other load on the machine affects both
    for _ in 0..ROUNDS {
        let quiet = (time / 4 / ROUNDS).max(Duration::from_millis(500));
        alone.extend(honest_for(&node, quiet, &mut acknowledged).await);
        let strangers = Strangers::new();
        for _ in 0..at_once {
            let (address, next, tls) = (node.address.parse().unwrap(), Arc::clone(&next), tls::trust("localhost"));
            strangers.run(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    stranger(address, tls.clone(), number, seed.wrapping_add(number as u64)).await;
                }
            });
        }
        among.extend(honest_for(&node, time / ROUNDS, &mut acknowledged).await);
        drop(strangers);
        let mut shown = (among.clone(), alone.clone());
        eprintln!("so far: among strangers {:?}, alone {:?}", p99(&mut shown.0), p99(&mut shown.1));
    }
    let (before, after, most) = (p99(&mut alone), p99(&mut among), node.memory("VmHWM") / MB);
    eprintln!(
        "{} strangers in {time:?}; of {} envelopes the 99th percentile is {after:?}, alone {before:?}; at most {most} MB",
        next.load(Ordering::Relaxed),
        among.len()
    );
    // the chain has each acknowledged transaction once, and no other
    assert_eq!(ordered(&tls::client(&node).await, "app", acknowledged.len()).await, acknowledged);
    assert!(most < 384, "{most} MB");
    // a short run on a busy machine does not measure latencies reliably
    if time >= Duration::from_secs(60) {
        assert!(after < 2 * before.max(Duration::from_millis(5)), "{after:?}, alone {before:?}");
    }
    node.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_do_not_end_stay_within_memory_and_within_the_log() {
    raise_file_limit();
    let memory = 128;
    let setup = tls::secured(Setup::application()).set("LIMITS_MEMORYBYTES", format!("{memory} MB"));
    let mut node = setup.start().await;
    let (to, opened, stop) = (node.address.parse().unwrap(), Arc::<Opened>::default(), Arc::<AtomicBool>::default());
    // the node knows this client by what it has sent, and keeps its connection
    let client = tls::client(&node).await;
    client.order([transaction(&TestIdentity::user(2), "app", "first")]).await;
    let client = tokio::spawn(honest(client, Arc::clone(&stop)));
    let strangers = Strangers::new();
    for number in 0..3000 {
        let (opened, first) = (Arc::clone(&opened), hostile::half_hello());
        strangers.run(async move {
            loop {
                if let Some(mut socket) = hostile::connect_with(number, to, &first).await {
                    opened.connections.fetch_add(1, Ordering::Relaxed);
                    hostile::read_out(&mut socket).await;
                }
                pause(number).await;
            }
        });
    }
    let enough = async {
        while opened.connections.load(Ordering::Relaxed) < 3000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(FLOOD_WITHIN, enough).await.expect("as many connections");
    stop.store(true, Ordering::Relaxed);
    let acknowledged = client.await.unwrap();
    drop(strangers);
    assert!(acknowledged.len() > 10, "the honest client was served");
    let most = node.memory("VmHWM") / MB;
    eprintln!("{} acknowledged meanwhile; at most {most} MB of {memory}", acknowledged.len());
    assert!(most < memory, "{most} MB");

    // each of these handshakes fails at once, and would get its own log line
    for number in 0..500 {
        let mut socket = hostile::connect_with(number, to, b"\x16\x03\x01\xff\xff").await.unwrap();
        hostile::read_out(&mut socket).await;
    }
    node.line("log lines were dropped").await;
    let lines = node.log().lines().filter(|line| line.contains("TLS handshake failed")).count();
    assert!((1..400).contains(&lines), "{lines} lines");
    node.assert_no_panic();
}
