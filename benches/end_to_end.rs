//! Benchmark of a whole node on loopback: envelopes over one Broadcast stream until they are acknowledged, which is
//! when they are on disk.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Envelope, Header, Payload, SignatureHeader};
use fabric_proto::orderer::atomic_broadcast_client::AtomicBroadcastClient;
use orderer_core::crypto::Signer as _;
use orderer_localconfig::local_msp::read_signing_identity;
use tokio_stream::StreamExt as _;

const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/net");

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a node with the channel `app`. Returns the node and its address.
fn start(folder: &Path) -> (Node, String) {
    let msp = format!("{NET}/crypto/ordererOrganizations/example.com/orderers/orderer.example.com/msp");
    let mut child = Command::new(env!("CARGO_BIN_EXE_orderer"))
        .arg("start")
        .current_dir(folder)
        .env("ORDERER_GENERAL_LISTENPORT", "17061")
        .env("ORDERER_GENERAL_BOOTSTRAPMETHOD", "file")
        .env("ORDERER_GENERAL_BOOTSTRAPFILE", format!("{NET}/AppSolo.block"))
        .env("ORDERER_GENERAL_LOCALMSPDIR", msp)
        .env("ORDERER_GENERAL_LOCALMSPID", "OrdererMSP")
        .env("ORDERER_FILELEDGER_LOCATION", folder.join("ledger"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("chain is running"))), "the node did not start");
    std::thread::spawn(move || lines.for_each(drop));
    (Node(child), "http://127.0.0.1:17061".to_owned())
}

fn envelope() -> Envelope {
    let msp = Path::new(NET).join("crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp");
    let client = read_signing_identity(&msp, "Org1MSP").unwrap();
    let channel_header = ChannelHeader { r#type: 3, channel_id: "app".into(), ..ChannelHeader::default() };
    let signature_header = SignatureHeader { creator: client.creator().clone(), nonce: vec![1; 24].into() };
    let payload = Payload {
        header: Some(Header {
            channel_header: channel_header.encode_to_vec().into(),
            signature_header: signature_header.encode_to_vec().into(),
        }),
        data: vec![7; 1024].into(),
    }
    .encode_to_vec();
    Envelope { signature: client.sign(&payload).unwrap(), payload: payload.into() }
}

fn broadcast(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = start(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client = runtime.block_on(AtomicBroadcastClient::connect(address)).unwrap();
    let envelope = envelope();
    let mut group = c.benchmark_group("broadcast until durable");
    for at_once in [1, 64, 512] {
        group.throughput(Throughput::Elements(at_once));
        group.bench_function(format!("{at_once} at once"), |b| {
            b.to_async(Tokio(&runtime)).iter(|| {
                let (mut client, envelope) = (client.clone(), envelope.clone());
                async move {
                    let all = tokio_stream::iter((0..at_once).map(move |_| envelope.clone()));
                    let answers = client.broadcast(all).await.unwrap().into_inner();
                    let good = answers.filter(|a| a.as_ref().is_ok_and(|a| a.status == 200)).fold(0, |n, _| n + 1);
                    assert_eq!(good.await, at_once);
                }
            });
        });
    }
    group.finish();
}

struct Tokio<'a>(&'a tokio::runtime::Runtime);

impl criterion::async_executor::AsyncExecutor for Tokio<'_> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

criterion_group!(benches, broadcast);
criterion_main!(benches);
