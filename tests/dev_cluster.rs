//! Tests of `orderer start --dev --orderers 3`: a cluster on one machine whose processes one process supervises.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use fabric_proto::common::{Block, Status};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use world::browser::Browser;
use world::messages::transaction;
use world::node::{ProcessOutput, value_of};
use world::{Client, Node, Setup, TEST_TIMEOUT, TestIdentity, within};

const CHANNEL: &str = "devchannel";
const NAMES: [&str; 3] = ["orderer", "orderer2", "orderer3"];

/// Returns the ports of the listeners of three orderers.
fn ports(base: u16) -> impl Iterator<Item = u16> {
    (0..3).flat_map(move |place| [0, 3, 5].map(|port| base + 10 * place + port))
}

/// Returns a free base port, below the range of outgoing connections and above the ports that other tests use.
pub fn free_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 60).unwrap();
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let bases = std::iter::repeat_with(|| 30_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 60 * 40);
    bases.take(60).find(|base| ports(*base).all(is_free)).unwrap()
}

struct Cluster {
    setup: Setup,
    base: u16,
}

impl Cluster {
    fn new() -> Self {
        let base = free_base();
        let arguments = ["start", "--dev", "net", "--orderers", "3", "--base-port", &base.to_string()];
        Self { setup: Setup::without_channels().arguments(&arguments), base }
    }

    fn folder(&self) -> PathBuf {
        self.setup.folder().join("net")
    }

    fn user(&self) -> TestIdentity {
        let msp = "crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp";
        TestIdentity::from_msp(&self.folder().join(msp), "Org1MSP")
    }

    async fn client(&self, place: u16) -> Client {
        let root = "crypto/ordererOrganizations/example.com/tlsca/tlsca.example.com-cert.pem";
        let root = std::fs::read(self.folder().join(root)).unwrap();
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(root)).domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.base + 10 * place)).unwrap();
        Client::on(endpoint.tls_config(tls).unwrap()).await
    }

    /// Has an orderer order an envelope. Retries until its chain is running.
    async fn orders(&self, place: u16, data: &str) {
        let ordered = async {
            loop {
                let client = self.client(place).await;
                match client.broadcast(transaction(&self.user(), CHANNEL, data.as_bytes().to_vec())).await {
                    (Status::Success, _) => return,
                    (Status::ServiceUnavailable, _) => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => panic!("{data}: {other:?}"),
                }
            }
        };
        within(data, ordered).await;
    }

    /// Waits until all orderers have the same chain with this many envelopes after the first block, and returns the
    /// chain.
    async fn chain(&self, envelopes: usize) -> Vec<Block> {
        let same = async {
            loop {
                let mut chains = Vec::new();
                for place in 0..3 {
                    chains.extend(self.client(place).await.chain_if_served(&self.user(), CHANNEL).await);
                }
                if chains.len() < 3 {
                    continue;
                }
                let found =
                    chains[0].iter().skip(1).map(|block| block.data.as_ref().unwrap().data.len()).sum::<usize>();
                let parts = |block: &Block| (block.header.clone(), block.data.clone());
                let same = |chain: &Vec<Block>| chain.iter().map(parts).eq(chains[0].iter().map(parts));
                if found == envelopes && chains.iter().all(same) {
                    return chains.remove(0);
                }
            }
        };
        within("all orderers have the same chain", same).await
    }
}

/// Returns the process IDs that were started for an orderer, in order.
fn processes(node: &Node, name: &str) -> Vec<u32> {
    let text = format!(" {name} is started ");
    let log = node.log();
    log.lines().filter(|line| line.contains(&text)).map(|line| value_of(line, "process").parse().unwrap()).collect()
}

/// Waits until an orderer was started for the first time, and returns its process ID.
async fn first_process(node: &mut Node, name: &str) -> u32 {
    // the log is read by another thread than standard output
    node.line(&format!(" {name} is started ")).await;
    processes(node, name)[0]
}

fn is_there(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

async fn ends(process: u32) {
    let gone = async {
        while is_there(process) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("an orderer ends", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_orderers_order_together_and_one_that_dies_comes_back() {
    let cluster = Cluster::new();
    let mut node = cluster.setup.spawn();
    let greeting = node.wait_for_stdout("orderer health --dev").await;
    assert!(greeting.contains("A development network created in"), "{greeting}");
    for place in 0..3 {
        assert!(greeting.contains(&format!("127.0.0.1:{}", cluster.base + 10 * place)), "{greeting}");
        cluster.orders(place, &format!("by the first processes {place}")).await;
    }
    cluster.chain(3).await;

    let browser = Browser::start().await;
    browser.open(&format!("http://127.0.0.1:{}/debug/", cluster.base + 5)).await;
    browser.until("[...document.querySelectorAll('#views a')].some((tab) => tab.innerText === 'Orderers')").await;
    browser.open(&format!("http://127.0.0.1:{}/debug/#/orderers", cluster.base + 5)).await;
    let says = |place: u16, word: &str| {
        let endpoint = format!("127.0.0.1:{}", cluster.base + 10 * place);
        format!(
            "[...document.querySelectorAll(`table[aria-label='Orderers'] tbody tr`)]
             .some((row) => row.innerText.includes('{endpoint}') && row.innerText.includes('{word}'))"
        )
    };
    browser.until(&says(1, "connected")).await;
    browser.until(&says(2, "connected")).await;

    let killed = first_process(&mut node, NAMES[1]).await;
    assert!(Command::new("sh").args(["-c", &format!("kill -9 {killed}")]).status().unwrap().success());
    node.line("orderer2 has ended (signal: 9").await;
    for place in [0, 2] {
        cluster.orders(place, &format!("without one {place}")).await;
    }
    let serves = |line: &&String| line.starts_with("orderer2 ") && line.contains("Beginning to serve requests");
    node.lines("it is back", |lines| lines.iter().filter(serves).count() == 2).await;
    cluster.orders(1, "by the second process").await;
    browser.until(&says(1, "connected")).await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    let chain = cluster.chain(6).await;

    let all: BTreeSet<u32> = NAMES.into_iter().flat_map(|name| processes(&node, name)).collect();
    assert_eq!(all.len(), 4, "{}", node.log());
    node.terminate();
    assert_eq!(node.ended(TEST_TIMEOUT).await.code(), Some(0));
    assert!(!all.into_iter().any(is_there));
    assert!(ports(cluster.base).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()));
    let left: Vec<_> = std::fs::read_dir(cluster.setup.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["net"]);

    // the existing network determines the number of orderers
    let mut node = cluster.setup.again(&["start", "--dev", "net"]).spawn();
    assert!(node.wait_for_stdout("orderer health --dev").await.contains("A development network continued in"));
    assert!(cluster.chain(6).await == chain);
    let mut first = Vec::new();
    for name in NAMES {
        first.push(first_process(&mut node, name).await);
    }
    // the supervising process is gone
    node.kill();
    for process in first {
        ends(process).await;
    }
    for ledger in ["ledger", "ledger2", "ledger3"] {
        assert!(!cluster.folder().join(ledger).join("unclean-starts").exists(), "{ledger}");
    }
}

#[test]
fn a_cluster_that_cannot_start_ends_and_says_why() {
    let cluster = Cluster::new();
    let taken = cluster.base + 20;
    let _listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let ended = cluster.setup.run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("orderer3 does not start") && ended.stderr.contains(&taken.to_string()), "{ended:?}");
    let other = cluster.setup.again(&["start", "--dev", "net", "--orderers", "5"]).run();
    assert!(other.code == Some(1) && other.stderr.contains("3 orderers of type etcdraft, and not 5"), "{other:?}");
    let wrong = cluster.setup.again(&["start", "--dev", "net", "--orderers", "2"]).run();
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

fn is_said(ended: &ProcessOutput, parts: &[&str]) {
    let missing: Vec<_> = parts.iter().filter(|part| !ended.stdout.contains(**part)).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{}{}", ended.stdout, ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raft_check_says_what_is_wrong_with_consenters_and_what_mends_it() {
    let cluster = Cluster::new();
    let mut node = cluster.setup.spawn();
    node.wait_for_stdout("orderer health --dev").await;
    let check = |arguments: &[&str]| {
        let setup = cluster.setup.again(&[&["raft", "check"], arguments].concat()).unset("GENERAL_LISTENPORT");
        tokio::task::spawn_blocking(move || setup.run())
    };
    let consenter = |place: u16| format!("127.0.0.1:{}", cluster.base + 10 * place);
    let block = "net/genesis/devchannel.block";

    // check a running node by its own settings
    cluster.orders(0, "it is led").await;
    let ended = check(&["--dev", "net"]).await.unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    is_said(&ended, &["channel devchannel, consenters", "3 of 3 consenters can be reached, and 2 make a quorum"]);
    is_said(&ended, &[&format!("this node is consenter {}", consenter(0)), "TLS authority"]);
    for place in 0..3 {
        let line = |what: &str| format!("  ok       {}: {what}", consenter(place));
        let pinned = line("the server certificate in the configuration is valid until");
        let shows = line("TLS: it shows the certificate in the configuration");
        is_said(&ended, &[&pinned, &shows, &line("its clock differs from this one by less than")]);
    }
    // check another node's configuration, as an operator without settings
    let root = "net/crypto/ordererOrganizations/example.com/tlsca/tlsca.example.com-cert.pem";
    let msp = "net/crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp";
    let (msp, other) = (["--msp-dir", msp, "--msp-id", "Org1MSP"], consenter(2));
    let of_other = [&["-o", &other, "--tls", "--cafile", root, "-c", CHANNEL][..], &msp].concat();
    let ended = check(&of_other).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains("this node"), "{ended:?}");
    // check a node that is not a consenter, because it presents another certificate
    let user = cluster.folder().join("crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/tls");
    let stranger = cluster.setup.again(&["raft", "check", "--config", "net/orderer.yaml", "--block", block]);
    let stranger = stranger.set("GENERAL_TLS_CERTIFICATE", user.join("client.crt").display());
    let stranger = stranger.set("GENERAL_TLS_PRIVATEKEY", user.join("client.key").display());
    let ended = tokio::task::spawn_blocking(move || stranger.run()).await.unwrap();
    is_said(&ended, &["warning  this node is none of the consenters", "fix: add it by a config update"]);
    node.stop().await;

    // check while no node is running
    for arguments in [&["--config", "net/orderer.yaml"][..], &["--config", "net/orderer.yaml", "--block", block]] {
        let ended = check(arguments).await.unwrap();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let unreachable = format!("error    {}: cannot be reached: Connection refused", consenter(1));
        is_said(&ended, &[&unreachable, "fix: start it", "0 of 3 consenters can be reached"]);
    }
    let ended = check(&["--block", &format!("{}/AppSolo.block", world::NET)]).await.unwrap();
    assert!(ended.code == Some(1) && ended.stderr.contains("is of type solo, and not etcdraft"), "{ended:?}");
}
