//! Tests that consenters make one chain, and lose nothing that they acknowledged, while the network between them fails,
//! and processes are paused and killed.
//!
//! The consenters reach each other only through proxies of this test, which hold back what is sent from one to another while
//! these two are separated. Clients reach each consenter directly.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fabric_proto::common::{Block, Status};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use world::client::entries;
use world::messages::{transaction, tx_id};
use world::raft::{CHANNEL, members};
use world::tls::trust;
use world::{Client, Node, Setup, TestIdentity, seed};

const ORDERERS: usize = 3;
/// Number of faults; the variable PARTITIONS overrides it.
const FAULTS: usize = 8;
/// Duration of a fault, and of the time between two, in milliseconds. An election takes 1 to 2 seconds.
const FAULT_MS: std::ops::Range<u64> = 200..4_000;
const REST_MS: std::ops::Range<u64> = 0..2_000;
/// Time limit for the consenters to agree at the end.
const AGREE_LIMIT: Duration = Duration::from_secs(120);

/// The directed pairs of consenters that are separated.
type Cuts = BTreeSet<(usize, usize)>;

/// The network between the consenters.
struct Links {
    cuts: watch::Sender<Cuts>,
    /// The process of each consenter, by which the proxies tell who has connected.
    processes: Mutex<[u32; ORDERERS]>,
}

impl Links {
    fn cut(&self, cuts: impl IntoIterator<Item = (usize, usize)>) {
        self.cuts.send_replace(cuts.into_iter().collect());
    }

    fn is_cut(&self, cuts: &Cuts, process: Option<u32>, target: usize, is_towards_target: bool) -> bool {
        let source = self.processes.lock().unwrap().iter().position(|known| Some(*known) == process);
        source.is_some_and(|source| cuts.contains(&if is_towards_target { (source, target) } else { (target, source) }))
    }
}

/// Returns the process that has connected from this port of the loopback address.
fn process_of(port: u16) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let end = format!(":{port:04X}");
    let socket = table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns[1].ends_with(&end).then(|| format!("socket:[{}]", columns[9]))
    })?;
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.find(|process| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link.as_os_str() == &*socket)
    })
}

/// Starts the proxy through which a consenter is reached. Returns its port.
async fn proxy(target: usize, port: u16, links: &Arc<Links>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own, links) = (listener.local_addr().unwrap().port(), Arc::clone(links));
    tokio::spawn(async move {
        while let Ok((client, from)) = listener.accept().await {
            let links = Arc::clone(&links);
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let process = tokio::task::spawn_blocking(move || process_of(from.port())).await.unwrap();
                let ((read, write), (read_back, write_back)) = (client.into_split(), server.into_split());
                tokio::join!(
                    forward(read, write_back, &links, |cuts| links.is_cut(cuts, process, target, true)),
                    forward(read_back, write, &links, |cuts| links.is_cut(cuts, process, target, false)),
                );
            });
        }
    });
    own
}

/// Forwards bytes, and holds them back while `is_cut`.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, links: &Links, is_cut: impl Fn(&Cuts) -> bool) {
    let mut cuts = links.cuts.subscribe();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let open = cuts.wait_for(|cuts| !is_cut(cuts)).await.is_ok();
        if !open || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Broadcasts through one consenter until `end`. Returns the acknowledged transactions.
async fn load(address: String, end: CancellationToken) -> BTreeSet<String> {
    let user = TestIdentity::user(1);
    let mut acknowledged = BTreeSet::new();
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(trust("localhost")).unwrap();
    'connecting: while !end.is_cancelled() {
        // the consenter may be paused, or dead
        let opened = async { Client::over(endpoint.connect().await.ok()?).try_broadcasting().await.ok() };
        let Ok(Some(stream)) = tokio::time::timeout(Duration::from_secs(1), opened).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (Some(requests), mut answers) = stream.split() else { continue };
        while !end.is_cancelled() {
            let envelope = transaction(&user, CHANNEL, vec![7; 200]);
            let id = tx_id(&envelope);
            // fails if the stream has ended, as the response then shows
            let _ = requests.send(envelope).await;
            match tokio::time::timeout(Duration::from_secs(10), answers.message()).await {
                Ok(Ok(Some(answer))) if answer.status() == Status::Success => acknowledged.insert(id),
                _ => continue 'connecting,
            };
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    acknowledged
}

async fn chain(address: &str) -> Option<Vec<Block>> {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(trust("localhost")).unwrap();
    Client::over(endpoint.connect().await.ok()?).chain_if_served(&TestIdentity::user(1), CHANNEL).await
}

/// Waits until all consenters have the same chain with all acknowledged transactions. Returns its number of blocks.
async fn agreed(addresses: &[String], acknowledged: &BTreeSet<String>) -> usize {
    let content = |blocks: &[Block]| -> Vec<_> {
        blocks.iter().map(|block| (block.header.clone(), block.data.clone())).collect()
    };
    let mut state = String::new();
    let began = std::time::Instant::now();
    while began.elapsed() < AGREE_LIMIT {
        let mut chains = Vec::new();
        for address in addresses {
            chains.extend(chain(address).await);
        }
        let shortest = chains.iter().map(Vec::len).min().unwrap_or_default();
        // no two consenters have different blocks, at any time
        for chain in &chains {
            assert_eq!(content(&chain[..shortest]), content(&chains[0][..shortest]), "the chain forks");
        }
        let ordered: BTreeSet<_> = chains.iter().flatten().flat_map(entries).map(|entry| tx_id(&entry)).collect();
        let missing = acknowledged.difference(&ordered).count();
        let lengths: Vec<_> = chains.iter().map(Vec::len).collect();
        if missing == 0 && lengths == vec![shortest; addresses.len()] {
            return shortest;
        }
        state = format!("{missing} of {} are missing, chains of {lengths:?} blocks", acknowledged.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the consenters do not agree: {state}");
}

fn all_pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..ORDERERS).flat_map(|from| (0..ORDERERS).map(move |to| (from, to)))
}

fn again(setup: &Setup, node: &mut Node, at: usize, links: &Links) {
    node.kill();
    setup.forgive_unclean_starts();
    *node = setup.spawn();
    links.processes.lock().unwrap()[at] = node.process();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consenters_make_one_chain_whatever_happens_between_them() {
    let faults = std::env::var("PARTITIONS").ok().map_or(FAULTS, |text| text.parse().unwrap());
    let mut dice = StdRng::seed_from_u64(seed());
    let links = Arc::new(Links { cuts: watch::Sender::default(), processes: Mutex::default() });
    let mut cluster = members::<ORDERERS>();
    for at in 0..ORDERERS {
        let port = proxy(at, cluster.setups[at].port(), &links).await;
        (cluster.ports[at], cluster.addresses[at]) = (port, port);
    }
    let (setups, mut nodes) = cluster.start().await;
    *links.processes.lock().unwrap() = nodes.each_ref().map(Node::process);
    let addresses = nodes.each_ref().map(|node| node.address.clone());
    let end = CancellationToken::new();
    let loads = addresses.clone().map(|address| tokio::spawn(load(address, end.clone())));
    // the proxies separate consenters: without any link, no consenter knows a leader
    links.cut(all_pairs());
    for node in &mut nodes {
        let is_alone = |lines: &Vec<String>| {
            lines.iter().any(|line| {
                line.contains("Raft leader changed: ") && line.contains(&format!(" -> 0 channel={CHANNEL}"))
            })
        };
        node.lines("it loses the leader", is_alone).await;
    }
    links.cut([]);
    for number in 0..faults {
        let (one, time) = (dice.random_range(0..ORDERERS), Duration::from_millis(dice.random_range(FAULT_MS)));
        let others = || (0..ORDERERS).filter(move |other| *other != one);
        // every kind occurs, in an order that differs from run to run
        let kind = (number + usize::from(dice.random_bool(0.5))) % 6;
        eprintln!("fault {number}: kind {kind} at {one} for {time:?}");
        match kind {
            0 => links.cut(others().flat_map(|other| [(one, other), (other, one)])),
            1 => links.cut(others().map(|other| (one, other))),
            2 => links.cut(others().map(|other| (other, one))),
            3 => links.cut(all_pairs()),
            4 => nodes[one].signal("STOP"),
            _ => again(&setups[one], &mut nodes[one], one, &links),
        }
        tokio::time::sleep(time).await;
        links.cut([]);
        if kind == 4 {
            nodes[one].signal("CONT");
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(REST_MS))).await;
    }
    end.cancel();
    let mut acknowledged = BTreeSet::new();
    for load in loads {
        acknowledged.append(&mut load.await.unwrap());
    }
    assert!(acknowledged.len() > faults, "there was load");
    let blocks = agreed(&addresses, &acknowledged).await;
    eprintln!("{faults} faults, {} transactions acknowledged, {blocks} blocks", acknowledged.len());
    for node in nodes {
        assert!(!node.log().contains("channel has failed"), "{}", node.log());
        node.assert_no_panic();
        node.stop().await;
    }
}
