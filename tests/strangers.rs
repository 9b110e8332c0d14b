//! Strangers in numbers: a flood through every way in, during which memory stays within `Limits.MemoryBytes`; and honest
//! clients among random hostile connections, who lose nothing. Short as they stand; `tests/run-long` makes them long with the
//! variables `STRANGERS_SECONDS`, `STRANGERS_CONNECTIONS` (and as many streams) and `STRANGERS_CHANNELS`.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::common::Status;
use futures_util::{StreamExt as _, stream};
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use world::http::Http;
use world::messages::{block, oldest, seek, seek_info, transaction};
use world::raw::{call, prefix, read_to_end};
use world::{Client, Node, Person, Setup, Step, many, seed};

const MB: usize = 1 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Streams of one connection of a stranger.
const STREAMS_EACH: usize = 1000;
/// Honest clients are measured alone and among strangers so many times.
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

/// Runs until it is dropped.
struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn run(future: impl Future<Output = ()> + Send + 'static) -> Running {
    Running(tokio::spawn(future))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_through_every_way_in_stays_within_memory() {
    raise_file_limit();
    let seconds = wanted("STRANGERS_SECONDS", 10);
    let (connections, channels) = (wanted("STRANGERS_CONNECTIONS", 1500), wanted("STRANGERS_CHANNELS", 20));
    let memory = if connections >= 10_000 { 1024 } else { 384 };
    let setup = many::channels(Setup::bare(), channels).set("LIMITS_MEMORYBYTES", format!("{memory} MB"));
    let mut node = setup.start().await;
    let show = |node: &Node, what: &str| eprintln!("{what}: {} MB", node.memory("VmRSS") / MB);
    show(&node, "serving");
    let http = Http::of(&mut node, "operations").await;
    let operations = world::node::value_of(&node.line("operations endpoint is open").await, "address").to_owned();

    let mut sockets = Vec::new();
    for (address, count) in [(&node.address, connections), (&operations, 1000)] {
        for number in 0..count {
            let mut socket = TcpStream::connect(address.as_str()).await.unwrap();
            let _ = socket.write_all([PREFACE, b"P", b"", b"\x16\x03\x01"][number % 4]).await;
            sockets.push(socket);
        }
    }
    show(&node, "silent connections");
    let (user, mut running) = (Person::user(1), Vec::new());
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..connections.div_ceil(STREAMS_EACH) {
        clients.push(node.client().await);
    }
    for number in 0..connections {
        let channel = clients[number / STREAMS_EACH].channel.clone();
        running.push(run(async move {
            if let Ok(body) = call(&channel, "Broadcast", stream::pending()).await {
                read_to_end(body).await;
            }
        }));
    }
    // followers that never read, streams that send without end, and messages that never come to theirs
    let small = framed(&transaction(&user, "channel0", vec![1; 200]));
    let medium = framed(&transaction(&user, "channel1", vec![1; 60 << 10]));
    for number in 0..40 {
        let client = node.client().await;
        let body = match number % 4 {
            0 => stream::repeat(small.clone()).boxed(),
            1 => stream::repeat(medium.clone()).boxed(),
            2 => stream::iter([prefix(90 * MB)])
                .chain(stream::repeat(Bytes::from(vec![0; MB])).take(89))
                .chain(stream::pending())
                .boxed(),
            _ => {
                let envelope = seek(&user, "channel1", &seek_info(oldest(), block(u64::MAX)));
                stream::iter([framed(&envelope)]).chain(stream::pending()).boxed()
            }
        };
        let method = if number % 4 == 3 { "Deliver" } else { "Broadcast" };
        running.push(run(async move {
            if let Ok(body) = call(&client.channel, method, body).await {
                if method == "Deliver" {
                    std::future::pending::<()>().await;
                }
                read_to_end(body).await;
            }
        }));
    }
    let (end, mut slowest) = (Instant::now() + Duration::from_secs(seconds as u64), Duration::ZERO);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        let answer = node.client().await.broadcast(transaction(&Person::user(2), "channel2", "honest")).await;
        assert_eq!(answer, (Status::Success, String::new()));
        slowest = slowest.max(began.elapsed());
        assert_eq!(http.get("/healthz").await.status, 200);
        assert!(node.memory("VmRSS") < memory * MB, "{} MB", node.memory("VmRSS") / MB);
    }
    let most = node.memory("VmHWM") / MB;
    eprintln!(
        "{connections} connections and streams, {channels} channels: {most} MB of {memory} MB; an honest client waited {slowest:?}"
    );
    assert!(most < memory, "{most} MB");
    node.assert_no_panic();
}

/// One hostile connection of a random kind, for a random time.
async fn stranger(address: String, dice: u64) {
    let mut dice = rand::rngs::StdRng::seed_from_u64(dice);
    let pause = Duration::from_millis(dice.random_range(1..3000));
    let garbage: Vec<u8> = (0..dice.random_range(1..2000)).map(|_| dice.random()).collect();
    let kind = dice.random_range(0..7);
    let large = dice.random_range(1..100) * MB;
    if kind < 4 {
        let Ok(mut socket) = TcpStream::connect(address).await else { return };
        let first: &[u8] = match kind {
            0 => b"",
            1 => PREFACE,
            2 => b"\x16\x03\x01\x02\0\x01",
            _ => &PREFACE[..7],
        };
        let _ = socket.write_all(first).await;
        tokio::time::sleep(pause).await;
        let _ = socket.write_all(&garbage).await;
        if garbage.len().is_multiple_of(2) {
            // goes away with a reset
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        return;
    }
    let Ok(endpoint) = tonic::transport::Endpoint::from_shared(format!("http://{address}")) else { return };
    let Ok(channel) = endpoint.connect().await else { return };
    let body = match kind {
        4 => stream::iter([prefix(large)]).chain(stream::pending()).boxed(),
        5 => stream::iter([Bytes::from(garbage)]).chain(stream::pending()).boxed(),
        _ => stream::iter([prefix(large)])
            .chain(stream::repeat(Bytes::from(vec![0x0a; 64 << 10])).take(large >> 16))
            .boxed(),
    };
    let method = if large.is_multiple_of(2) { "Broadcast" } else { "Deliver" };
    let talk = async {
        if let Ok(body) = call(&channel, method, body).await {
            read_to_end(body).await;
        }
    };
    let _ = tokio::time::timeout(pause, talk).await;
}

/// Sends one envelope after the other; gives back how many were acknowledged, and how long each took.
async fn honest(client: Client, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let (user, mut took) = (Person::user(2), Vec::new());
    let mut stream = client.broadcasting().await;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        stream.send(transaction(&user, "app", vec![7; 1000])).await;
        assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

async fn honest_for(node: &Node, time: Duration) -> Vec<Duration> {
    let stop = Arc::<AtomicBool>::default();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(tokio::spawn(honest(node.client().await, Arc::clone(&stop))));
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
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
    let node = Setup::application().set("LIMITS_MEMORYBYTES", "384 MB").start().await;
    let (seed, next) = (seed(), Arc::<AtomicUsize>::default());
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    // by turns, so that what else the machine does slows down both
    for _ in 0..ROUNDS {
        alone.extend(honest_for(&node, (time / 4 / ROUNDS).max(Duration::from_millis(500))).await);
        let strangers: Vec<Running> = (0..at_once)
            .map(|_| {
                let (address, next) = (node.address.clone(), Arc::clone(&next));
                run(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        stranger(address.clone(), seed.wrapping_add(number as u64)).await;
                    }
                })
            })
            .collect();
        among.extend(honest_for(&node, time / ROUNDS).await);
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
    // what was acknowledged is in the chain, and nothing else
    let (client, user) = (node.client().await, Person::user(2));
    client.order([transaction(&user, "app", "the last")]).await;
    let acknowledged = alone.len() + among.len() + 1;
    // the last of them are in a block when its time has come
    let ordered = async {
        loop {
            let blocks = client.chain(&user, "app").await;
            let ordered: usize = blocks[1..].iter().map(|block| block.data.as_ref().unwrap().data.len()).sum();
            if ordered >= acknowledged {
                return ordered;
            }
            client.block(&user, "app", blocks.len() as u64).await;
        }
    };
    assert_eq!(world::within("every acknowledged envelope", ordered).await, acknowledged);
    assert!(most < 384, "{most} MB");
    // a short run on a machine that does other things says little
    if time >= Duration::from_secs(60) {
        assert!(after < 2 * before.max(Duration::from_millis(5)), "{after:?}, alone {before:?}");
    }
    node.assert_no_panic();
}
