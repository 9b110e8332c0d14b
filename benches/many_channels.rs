//! Benchmark of the cost of an idle channel: a node is started with one channel and with a thousand channels of the
//! same network, and startup time, CPU time and memory are compared. It does not use criterion, because each start is
//! measured once and from outside.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Envelope, Payload};
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_core::block::EncodedBlock;
use orderer_core::config::genesis::genesis_block_from_envelope;
use orderer_core::types::ChannelId;

const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/net");
const CHANNELS: usize = 1000;
/// Number of channels in a run that only shows that the benchmark works.
const CHANNELS_IN_TEST: usize = 20;

/// Returns the genesis block of the fixtures' application channel under another channel name.
fn genesis(channel: &str) -> EncodedBlock {
    let block = EncodedBlock::parse(&fs::read(Path::new(NET).join("AppSolo.block")).unwrap()).unwrap().decode();
    let mut envelope = Envelope::decode(block.data.unwrap().data[0].clone()).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let header = payload.header.as_mut().unwrap();
    let mut channel_header = ChannelHeader::decode(header.channel_header.clone()).unwrap();
    channel_header.channel_id = channel.into();
    header.channel_header = channel_header.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    EncodedBlock::parse(&genesis_block_from_envelope(envelope.encode_to_vec().into(), true)).unwrap()
}

/// Creates a directory with the ledgers of this many channels and a configuration that serves them.
fn make(channels: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ledgers = LedgerProvider::new(&folder.path().join("ledger"), BlockCacheConfig { bytes: 1 << 20 }).unwrap();
    thread::scope(|scope| {
        for share in 0..8 {
            let ledgers = &ledgers;
            scope.spawn(move || {
                for number in (share..channels).step_by(8) {
                    let name = format!("channel{number}");
                    ledgers.create(&ChannelId::parse(&name).unwrap(), &genesis(&name)).unwrap();
                }
            });
        }
    });
    let msp = format!("{NET}/crypto/ordererOrganizations/example.com/orderers/orderer.example.com/msp");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "General: {{ListenPort: {port}, BootstrapMethod: none, LocalMSPDir: {msp}, LocalMSPID: OrdererMSP}}\n\
         FileLedger: {{Location: ledger}}\n"
    );
    fs::write(folder.path().join("orderer.yaml"), settings).unwrap();
    folder
}

/// The cost of a start.
#[derive(Debug)]
struct Cost {
    until_serving: Duration,
    cpu: Duration,
    /// Resident memory in bytes.
    memory: usize,
}

/// Starts the node, waits until every chain is running, and measures the cost.
fn start(folder: &Path, channels: usize) -> Cost {
    let began = Instant::now();
    let mut node = Command::new(env!("CARGO_BIN_EXE_orderer"))
        .args(["start", "--config"])
        .arg(folder.join("orderer.yaml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut serving = None;
    let mut running = 0;
    let mut said = Vec::new();
    for line in BufReader::new(node.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        running += usize::from(line.contains("chain is running"));
        if line.contains("Beginning to serve requests") {
            serving = Some(began.elapsed());
        }
        if let (Some(until_serving), true) = (serving, running == channels) {
            let cost = Cost { until_serving, cpu: cpu(&node), memory: memory(&node) };
            node.kill().unwrap();
            node.wait().unwrap();
            let _ = fs::remove_file(folder.join("ledger/unclean-starts"));
            return cost;
        }
        said.push(line);
    }
    node.wait().unwrap();
    panic!("the node ended with {running} of {channels} chains running: {said:#?}");
}

fn memory(node: &Child) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn cpu(node: &Child) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.id())).unwrap();
    let ticks = stat.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

fn main() {
    let channels = if std::env::args().any(|arg| arg == "--test") { CHANNELS_IN_TEST } else { CHANNELS };
    let (one, many) = (make(1), make(channels));
    for _ in 0..3 {
        let (of_one, of_many) = (start(one.path(), 1), start(many.path(), channels));
        let each = (of_many.memory.saturating_sub(of_one.memory)) / (channels - 1);
        println!(
            "{channels} channels: {:?} to serving, {:?} CPU, {} KiB; with one {:?}, {} KiB; {:.1} KiB and {:?} CPU each",
            of_many.until_serving,
            of_many.cpu,
            of_many.memory / 1024,
            of_one.until_serving,
            of_one.memory / 1024,
            f64::from(u32::try_from(each).unwrap()) / 1024.0,
            of_many.cpu / u32::try_from(channels).unwrap(),
        );
    }
}
