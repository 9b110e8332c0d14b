//! Runs one consenter of a cluster whose other consenters are orderers of Fabric. Needs such a cluster, in which two
//! consenters run and the third does not: see the section `cluster` of tests/run-long.
//!
//! ```text
//! CLUSTER_CRYPTO  directory with orderer1.example.com/tls/{server.crt,server.key,ca.crt} to orderer3...
//! CLUSTER_PORTS   "P1 P2 P3": the ports of the three consenters on 127.0.0.1; the first two are Fabric's
//! CLUSTER_STRANGER directory with a client.crt and client.key that the same authority has issued to another client
//! CLUSTER_CHANNEL the channel (ch)
//! CLUSTER_IDLE    seconds for which connections are idle at the end (0); Fabric closes those that ping too often
//! ```

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::Envelope;
use fabric_proto::raftpb::{Message, MessageType};
use orderer_cluster::{Connections, Identity, Membership, Network as _, Roots, Urgency};
use support::{Arrived, Events, LIMIT, Orderer, Pair, Recorder, consenter, quick};

const OWN: u64 = 3;

fn read(folder: &Path, name: &str) -> Pair {
    let read = |suffix: &str| std::fs::read_to_string(folder.join(format!("{name}.{suffix}"))).unwrap();
    Pair { certificate: read("crt"), key: read("key") }
}

/// Returns the messages that a consenter has sent.
fn messages_of(arrived: &[Arrived], peer: u64) -> Vec<Message> {
    arrived
        .iter()
        .filter_map(|arrived| match arrived {
            Arrived::Consensus { from, payload, .. } if *from == peer => {
                Some(Message::decode(payload.clone()).unwrap())
            }
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs orderers of Fabric"]
async fn orderers_of_fabric_take_our_streams_and_open_theirs() {
    let crypto = PathBuf::from(std::env::var("CLUSTER_CRYPTO").expect("CLUSTER_CRYPTO"));
    let stranger = PathBuf::from(std::env::var("CLUSTER_STRANGER").expect("CLUSTER_STRANGER"));
    let channel = std::env::var("CLUSTER_CHANNEL").unwrap_or_else(|_| "ch".to_owned());
    let ports: Vec<u16> = std::env::var("CLUSTER_PORTS")
        .expect("CLUSTER_PORTS")
        .split_whitespace()
        .map(|port| port.parse().unwrap())
        .collect();
    let folder = |id: usize| crypto.join(format!("orderer{id}.example.com/tls"));
    let pairs: Vec<Pair> = (1..=3).map(|id| read(&folder(id), "server")).collect();
    let authority = std::fs::read_to_string(folder(1).join("ca.crt")).unwrap();
    let consenters = (1u64..).zip(&ports).zip(&pairs).map(|((id, port), pair)| consenter(id, *port, pair, pair));
    let membership = Membership::new(Some(OWN), consenters);

    // first a client that is not a consenter: Fabric describes the rejection
    let roots = Roots::from_pem([&authority]).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let pair = read(&stranger, "client");
    let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap();
    let (events, connections) = (Events::new(), Connections::new(quick(), identity, roots.clone(), runtime.clone()));
    let peers = connections.enter(&channel, events.clone());
    peers.configure(&membership);
    events.wait_for(1, true, 1).await;
    peers.consensus(1, Bytes::from_static(b"?"), Bytes::new(), Urgency::Now).unwrap();
    events.wait_for(1, false, 1).await;
    let refusal = peers.status()[0].last_error.clone().unwrap().text;
    println!("a stranger: {refusal}");
    assert!(refusal.ends_with("Unknown: certificate extracted from TLS connection isn't authorized"), "{refusal}");
    drop((peers, connections));

    let recorder = Recorder::new(membership.clone());
    let orderer = Orderer::start_among(&authority, &pairs[2], ports[2], &[(&channel, &recorder)]).await;
    let (events, connections) = (Events::new(), Connections::new(quick(), pairs[2].identity(), roots, runtime));
    let peers = connections.enter(&channel, events.clone());
    peers.configure(&membership);
    events.wait_for(1, true, 1).await;
    events.wait_for(2, true, 1).await;

    // one of the two is the leader, and keeps sending heartbeats to the third
    let heartbeat = |arrived: &[Arrived]| {
        let of = |peer| messages_of(arrived, peer).into_iter().rfind(|sent| sent.r#type() == MessageType::MsgHeartbeat);
        of(1).or_else(|| of(2))
    };
    let mut count = 1;
    let began = Instant::now();
    let heartbeat = loop {
        let arrived = recorder.wait_for(count).await;
        count = arrived.len() + 1;
        if let Some(heartbeat) = heartbeat(&arrived) {
            break heartbeat;
        }
        assert!(began.elapsed() < LIMIT, "nobody leads");
    };
    let (leader, term) = (heartbeat.from, heartbeat.term);
    println!("node {leader} leads in term {term}; its heartbeat: {heartbeat:?}");
    assert_eq!(heartbeat.to, OWN);

    // after this response the leader sends the entries that this consenter lacks, so it has accepted the message
    let answer =
        Message { r#type: MessageType::MsgHeartbeatResp as i32, to: leader, from: OWN, term, ..Message::default() };
    let answer = Bytes::from(answer.encode_to_vec());
    let before = messages_of(&recorder.arrived(), leader).len();
    peers.consensus(leader, answer, Bytes::new(), Urgency::Now).unwrap();
    let began = Instant::now();
    let append = loop {
        let sent = messages_of(&recorder.arrived(), leader);
        if let Some(append) = sent.into_iter().skip(before).find(|sent| sent.r#type() == MessageType::MsgApp) {
            break append;
        }
        assert!(began.elapsed() < LIMIT, "no append");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    println!("and appends: term {}, index {}, {} entries", append.term, append.index, append.entries.len());

    // a transaction that the leader drops because it is invalid does not end the stream
    let envelope = Envelope { payload: Bytes::from_static(b"no payload"), signature: Bytes::new() };
    peers.submit(leader, 0, envelope.encode_to_vec().into()).await.unwrap();
    peers.submit(leader, 0, envelope.encode_to_vec().into()).await.unwrap();
    recorder.wait_for(recorder.arrived().len() + 3).await;
    let status = peers.status().into_iter().find(|peer| peer.id == leader).unwrap();
    println!("{status:?}");
    assert!(status.submit.is_open && status.consensus.is_open, "{status:?}");
    let idle: u64 = std::env::var("CLUSTER_IDLE").map_or(0, |seconds| seconds.parse().unwrap());
    let before: Vec<_> = peers.status().into_iter().map(|peer| peer.connection).collect();
    tokio::time::sleep(Duration::from_secs(idle)).await;
    assert_eq!(peers.status().into_iter().map(|peer| peer.connection).collect::<Vec<_>>(), before);
    assert_eq!((events.count(1, false), events.count(2, false)), (0, 0));
    println!(
        "{:?}, {} messages from 1, {} from 2",
        orderer.service.figures(),
        messages_of(&recorder.arrived(), 1).len(),
        messages_of(&recorder.arrived(), 2).len()
    );
}
