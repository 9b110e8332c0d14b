//! Clients that request too much, send too much or never read do not fill the node's memory, and other clients are
//! served meanwhile.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use bytes::Bytes;
use fabric_proto::common::{BlockData, Status};
use fabric_proto::orderer::BroadcastResponse;
use futures_util::{StreamExt as _, future, stream};
use prost::Message as _;
use tonic::transport::Endpoint;
use world::messages::{block, envelope_with, oldest, seek_info, transaction};
use world::raw_grpc::{call, prefix, read_to_end};
use world::{Client, Node, Setup, TestIdentity, seed};

const CHANNEL: &str = "app";
const MB: usize = 1 << 20;
/// Limit of the node's peak memory: Limits.LargeMessageBytes (256 MB), twice while messages are assembled from their
/// pieces, and the same amount for everything else.
const BOUND: usize = 3 * 256 * MB;

/// Asserts that another client, on another connection, can send an envelope and receive its block.
async fn assert_serves(node: &Node) {
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let height = client.newest_block(&user, CHANNEL).await.header.unwrap().number + 1;
    client.order([transaction(&user, CHANNEL, "of another client")]).await;
    client.block(&user, CHANNEL, height).await;
}

fn assert_bounded(node: &Node) {
    let (now, most) = (node.memory("VmRSS") / MB, node.memory("VmHWM"));
    eprintln!("memory: {now} MB now, {} MB at most", most / MB);
    assert!(most < BOUND, "{} MB", most / MB);
    node.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_open_streams() {
    let node = Setup::application().start().await;
    // separate connections, because blocks that the subscribers do not read block everything else on their connection
    let (user, follower, sender) = (TestIdentity::user(1), node.client().await, node.client().await);
    let follow = seek_info(oldest(), block(u64::MAX));
    let (mut broadcasting, mut delivering) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let mut following = follower.deliver(&user, CHANNEL, follow).await;
        following.block().await;
        delivering.push(following);
        broadcasting.push(sender.broadcasting().await);
    }
    assert_serves(&node).await;
    // every stream still works
    for following in &mut delivering {
        assert_eq!(world::client::number(&following.block().await), 1);
    }
    for stream in &mut broadcasting {
        stream.send(transaction(&user, CHANNEL, "one each")).await;
    }
    for stream in &mut broadcasting {
        assert!(matches!(stream.next().await, world::Step::Status(Status::Success, _)));
    }
    assert_bounded(&node);
}

/// Returns a Broadcast request with an envelope of this many bytes, in pieces that share one buffer.
fn large_message(total: usize) -> Vec<Bytes> {
    let piece = Bytes::from(vec![0x0a; MB]);
    // the tag of Envelope.payload, then its length
    let mut head = vec![0x0a];
    prost::encoding::encode_varint(total as u64, &mut head);
    let mut pieces = vec![prefix(head.len() + total), head.into()];
    pieces.extend((0..total / MB).map(|_| piece.clone()));
    pieces
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_streams_with_envelopes_of_a_hundred_megabytes() {
    let node = Setup::application().start().await;
    let address = format!("http://{}", node.address);
    let mut calls = Vec::new();
    for _ in 0..20 {
        let channel = Endpoint::from_shared(address.clone()).unwrap().connect().await.unwrap();
        calls.push(tokio::spawn(async move {
            // with its tag, a message of 99 MB is below the limit of 100 MB
            let body = call(&channel, "Broadcast", stream::iter(large_message(99 * MB))).await.unwrap();
            read_to_end(body).await
        }));
    }
    assert_serves(&node).await;
    let mut answered = 0;
    for call in calls {
        let (answer, code) = call.await.unwrap();
        // on a busy machine a message may arrive so slowly that it has to give way to one that waits
        if (answer.is_empty(), code.as_deref()) == (true, Some("8")) {
            continue;
        }
        assert_eq!(
            (answer.is_empty(), code.as_deref()),
            (false, Some("0")),
            "whether there is no response, and the code"
        );
        let response = BroadcastResponse::decode(answer.slice(5..)).unwrap();
        assert_eq!(response.status(), Status::BadRequest, "{}", response.info);
        answered += 1;
    }
    assert!(answered > 0, "all messages gave way, and none was read");
    assert_serves(&node).await;
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_above_the_limit_is_refused_by_its_length() {
    let node = Setup::application().start().await;
    for method in ["Broadcast", "Deliver"] {
        let channel = node.client().await.channel;
        // only the prefix is sent
        let body = stream::iter([prefix(101 * MB)]).chain(stream::pending());
        let (answer, code) = read_to_end(call(&channel, method, body).await.unwrap()).await;
        assert_eq!((answer.len(), code.as_deref()), (0, Some("8")), "RESOURCE_EXHAUSTED");
    }
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_never_read_while_fifty_megabytes_are_ordered() {
    const ENVELOPES: usize = 56;
    const ENVELOPE_BYTES: usize = 900 << 10;
    let node = Setup::application().start().await;
    let user = TestIdentity::user(1);
    let follow = seek_info(oldest(), block(u64::MAX));
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(node.client().await.deliver(&user, CHANNEL, follow).await);
    }
    let client = node.client().await;
    client
        .order((0..ENVELOPES).map(|i| transaction(&user, CHANNEL, vec![u8::try_from(i).unwrap(); ENVELOPE_BYTES])))
        .await;
    assert_serves(&node).await;
    assert_bounded(&node);
    // one of the clients reads at last
    let mut late = silent.swap_remove(0);
    let mut envelopes = 0;
    while envelopes < ENVELOPES {
        let BlockData { data } = late.block().await.data.unwrap();
        envelopes += data.iter().filter(|raw| raw.len() > ENVELOPE_BYTES).count();
    }
}

/// Changes, cuts or duplicates a few bytes of a valid request.
fn spoil(good: &[u8], dice: &mut impl rand::Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..dice.random_range(1..6) {
        let at = dice.random_range(0..bytes.len());
        match dice.random_range(0..4) {
            0 => bytes[at] = dice.random(),
            1 => bytes.truncate(at.max(1)),
            2 => bytes.insert(at, dice.random()),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

async fn send(client: &Client, method: &'static str, message: Vec<u8>) -> (Bytes, Option<String>) {
    let body = stream::iter([prefix(message.len()), message.into()]);
    read_to_end(call(&client.channel, method, body).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_gets_an_answer_and_harms_nobody() {
    use prost::Message as _;
    use rand::{Rng as _, SeedableRng as _};
    const ROUNDS: usize = 150;
    let mut dice = rand::rngs::StdRng::seed_from_u64(seed());
    let node = Setup::application().start().await;
    let (client, user, admin) = (node.client().await, TestIdentity::user(1), TestIdentity::admin(1));
    let height = client.chain(&user, CHANNEL).await.len();
    for _ in 0..ROUNDS {
        let random: Vec<u8> = (0..dice.random_range(0..200)).map(|_| dice.random()).collect();
        let transaction = transaction(&user, CHANNEL, "x").encode_to_vec();
        let kind = dice.random_range(-1..8);
        let signed_garbage = envelope_with(&admin, kind, CHANNEL, random.clone(), |header, _| header.epoch = 1);
        let messages = [random, spoil(&transaction, &mut dice), signed_garbage.encode_to_vec()];
        let calls = messages.into_iter().flat_map(|m| [("Broadcast", m.clone()), ("Deliver", m)]);
        let answers = future::join_all(calls.map(|(method, message)| send(&client, method, message))).await;
        for (answer, code) in answers {
            assert_eq!(code.as_deref(), Some("0"), "every message has a status, and the stream an end");
            assert!(!answer.is_empty());
        }
    }
    eprintln!("{} blocks came of it", client.chain(&user, CHANNEL).await.len() - height);
    assert_serves(&node).await;
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_below_grpc_harms_nobody() {
    use rand::{Rng as _, SeedableRng as _};
    use std::io::{Read as _, Write as _};
    let mut dice = rand::rngs::StdRng::seed_from_u64(seed());
    let node = Setup::application().start().await;
    let client = node.client().await;
    for round in 0..60 {
        let bytes: Vec<u8> = (0..dice.random_range(1..400)).map(|_| dice.random()).collect();
        // random gRPC frames
        for method in ["Broadcast", "Deliver"] {
            let body = stream::iter([Bytes::from(bytes.clone())]);
            let (_, code) = read_to_end(call(&client.channel, method, body).await.unwrap()).await;
            assert!(code.is_some(), "the stream ends");
        }
        // random HTTP/2 frames, and bytes that are not HTTP/2
        let mut socket = std::net::TcpStream::connect(&node.address).unwrap();
        let preface: &[u8] = if round % 2 == 0 { b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" } else { b"" };
        let _ = socket.write_all(&[preface, &bytes].concat());
        // the node closes the connection, perhaps before the client does
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert_serves(&node).await;
    assert_bounded(&node);
}
