//! Tests of two orderers on loopback, over TLS and HTTP/2.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orderer_cluster::{
    ClientSettings, ConnectionState, Membership, Network as _, Peers, SendError, StepRejection, Urgency,
};
use support::{Arrived, Authority, Events, LIMIT, Orderer, Pair, Recorder, consenter, quick};

/// Consenter 1 connects to consenter 2.
struct Two {
    authority: Authority,
    client: Pair,
    server: Pair,
    channel: Arc<Recorder>,
}

impl Two {
    fn new() -> Self {
        let authority = Authority::new();
        let (client, server) = (authority.issue("orderer1"), authority.issue("orderer2"));
        let membership = Membership::new(Some(2), [consenter(1, 1, &client, &client)]);
        let channel = Recorder::new(membership);
        Self { authority, client, server, channel }
    }

    async fn start(&self, port: u16) -> Orderer {
        Orderer::start(&self.authority, &self.server, port, &[("ch", &self.channel)]).await
    }

    fn peers_at(&self, port: u16) -> Membership {
        Membership::new(Some(1), [consenter(2, port, &self.server, &self.server)])
    }
}

fn numbered(number: u32, bytes: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(bytes.max(4), 7);
    payload.into()
}

/// Waits for an error that contains this text.
async fn status_with(peers: &dyn Peers, part: &str) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let error = peers.status()[0].last_error.clone().map(|error| error.text).unwrap_or_default();
        if error.contains(part) {
            return error;
        }
        assert!(Instant::now() < deadline, "'{part}' is not in '{error}'");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_arrives_in_order() {
    const COUNT: u32 = 600;
    let two = Two::new();
    let orderer = two.start(0).await;
    let (events, connections) = (Events::new(), two.authority.connections(&two.client, quick()));
    let peers = connections.enter("ch", events.clone());
    peers.configure(&two.peers_at(orderer.port));
    events.wait_for(2, true, 1).await;
    for number in 0..COUNT {
        // some messages are small enough to be sent together, and some are larger than the window
        let payload = numbered(number, if number % 97 == 0 { 300_000 } else { 64 });
        let urgency = if number % 5 < 2 { Urgency::Soon } else { Urgency::Now };
        while peers.consensus(2, payload.clone(), Bytes::from_static(b"meta"), urgency) == Err(SendError::Overflow) {
            tokio::task::yield_now().await;
        }
        if number % 3 == 0 {
            peers.submit(2, u64::from(number), payload).await.unwrap();
        }
    }
    let arrived = two.channel.wait_for((COUNT + COUNT / 3) as usize).await;
    let of = |is_consensus| {
        let numbers = arrived.iter().filter_map(move |arrived| match arrived {
            Arrived::Consensus { from: 1, payload, metadata } if is_consensus => {
                assert_eq!(metadata, "meta");
                Some(u32::from_be_bytes(payload[..4].try_into().unwrap()))
            }
            Arrived::Submit { from: 1, sequence, envelope } if !is_consensus => {
                let number = u32::from_be_bytes(envelope[..4].try_into().unwrap());
                assert_eq!(u64::from(number), *sequence);
                Some(number)
            }
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(of(true), (0..COUNT).collect::<Vec<_>>());
    assert_eq!(of(false), (0..COUNT).step_by(3).collect::<Vec<_>>());
    let status = &peers.status()[0];
    assert!(matches!(status.connection, ConnectionState::Connected { .. }), "{status:?}");
    assert_eq!((status.submit.sent, status.submit.dropped, status.submit.is_open), (u64::from(COUNT / 3), 0, true));
    assert_eq!(status.consensus.sent, u64::from(COUNT));
    assert_eq!(orderer.service.figures().streams, 2, "one for each kind");
    assert_eq!(orderer.shown.borrow().len(), 1, "on one connection");
    // nothing that is sent at once follows
    for number in COUNT..COUNT + 3 {
        peers.consensus(2, numbered(number, 4), Bytes::from_static(b"meta"), Urgency::Soon).unwrap();
        two.channel.wait_for((number + 1 + COUNT / 3) as usize).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_share_a_connection_and_end_their_own_streams() {
    let two = Two::new();
    let other = Recorder::new(Membership::new(Some(5), [consenter(9, 1, &two.client, &two.client)]));
    let channels = [("ch", &two.channel), ("other", &other)];
    let orderer = Orderer::start(&two.authority, &two.server, 0, &channels).await;
    let (events, connections) = (Events::new(), two.authority.connections(&two.client, quick()));
    let first = connections.enter("ch", events.clone());
    let second = connections.enter("other", events.clone());
    first.configure(&two.peers_at(orderer.port));
    second.configure(&Membership::new(Some(9), [consenter(5, orderer.port, &two.server, &two.server)]));
    events.wait_for(2, true, 1).await;
    events.wait_for(5, true, 1).await;
    first.submit(2, 1, numbered(1, 4)).await.unwrap();
    second.submit(5, 1, numbered(2, 4)).await.unwrap();
    two.channel.wait_for(1).await;
    let arrived = other.wait_for(1).await;
    assert_eq!(arrived, [Arrived::Submit { from: 9, sequence: 1, envelope: numbered(2, 4) }]);
    assert_eq!((orderer.shown.borrow().len(), orderer.service.figures().streams), (1, 2));
    drop(second);
    let deadline = Instant::now() + LIMIT;
    while orderer.service.figures().streams != 1 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.submit(2, 1, numbered(3, 4)).await.unwrap();
    two.channel.wait_for(2).await;
    // a configuration removes the peer
    first.configure(&Membership::new(Some(1), []));
    assert!(first.status().is_empty() && connections.destinations().is_empty());
    let error = first.submit(2, 1, numbered(4, 4)).await.unwrap_err();
    assert_eq!(error.to_string(), "node 2 doesn't exist in channel ch's membership");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_key_is_not_connected_to() {
    let two = Two::new();
    let orderer = two.start(0).await;
    let (events, connections) = (Events::new(), two.authority.connections(&two.client, quick()));
    let peers = connections.enter("ch", events.clone());
    let other = two.authority.issue("orderer2");
    peers.configure(&Membership::new(Some(1), [consenter(2, orderer.port, &two.server, &other)]));
    events.wait_for(2, false, 2).await;
    let part = "presented by 127.0.0.1:";
    let text = status_with(&*peers, part).await;
    assert!(text.ends_with("doesn't match the expected public key"), "{text}");
    events.wait_for_estranged(2).await;
    let error = peers.consensus(2, Bytes::new(), Bytes::new(), Urgency::Now).unwrap_err();
    assert!(matches!(error, SendError::NotConnected { id: 2, .. }), "{error}");
    assert!(matches!(peers.submit(2, 0, Bytes::new()).await, Err(SendError::NotConnected { .. })));
    assert_eq!(events.count(2, true), 0);
    assert_eq!(peers.status()[0].consensus.dropped, 1);
    // nor a server whose CA is not trusted
    connections.replace_roots(Authority::new().roots());
    peers.configure(&two.peers_at(orderer.port));
    status_with(&*peers, "certificate signed by unknown authority").await;
    connections.replace_roots(two.authority.roots());
    events.wait_for(2, true, 1).await;
    peers.submit(2, 0, numbered(1, 4)).await.unwrap();
    two.channel.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_another_key_is_refused_in_fabrics_words() {
    let two = Two::new();
    let orderer = two.start(0).await;
    for (identity, channel, why) in [
        (&two.authority.issue("orderer1"), "ch", "Unknown: certificate extracted from TLS connection isn't authorized"),
        (&two.client, "nowhere", "Unknown: channel nowhere doesn't exist"),
        (&two.client, "", "Unknown: badly formatted message, cannot extract channel"),
    ] {
        let (events, connections) = (Events::new(), two.authority.connections(identity, quick()));
        let peers = connections.enter(channel, events.clone());
        peers.configure(&two.peers_at(orderer.port));
        events.wait_for(2, true, 1).await;
        // as far as this side can tell, the message is sent
        peers.submit(2, 0, numbered(1, 4)).await.unwrap();
        status_with(&*peers, why).await;
        peers.consensus(2, numbered(1, 4), Bytes::new(), Urgency::Now).unwrap();
        events.wait_for(2, false, 2).await;
        if why.ends_with("isn't authorized") {
            events.wait_for_estranged(2).await;
        } else {
            assert!(!events.is_estranged(2), "{why}");
        }
    }
    assert_eq!(two.channel.arrived(), []);
    assert_eq!(orderer.service.figures().refused, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_without_room_loses_consensus_messages_and_one_that_refuses_ends_the_stream() {
    let two = Two::new();
    let orderer = two.start(0).await;
    let (events, connections) = (Events::new(), two.authority.connections(&two.client, quick()));
    let peers = connections.enter("ch", events.clone());
    peers.configure(&two.peers_at(orderer.port));
    events.wait_for(2, true, 1).await;
    *two.channel.refusal.lock().unwrap() = Some(StepRejection::NoRoom);
    for number in 0..3 {
        peers.consensus(2, numbered(number, 4), Bytes::new(), Urgency::Now).unwrap();
    }
    let deadline = Instant::now() + LIMIT;
    while orderer.service.figures().dropped != 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((events.count(2, false), orderer.service.figures().streams), (0, 1), "the stream goes on");
    *two.channel.refusal.lock().unwrap() = Some(StepRejection::Refused("chain is stopped".to_owned()));
    peers.consensus(2, numbered(3, 4), Bytes::new(), Urgency::Now).unwrap();
    status_with(&*peers, "Unknown: chain is stopped").await;
    *two.channel.refusal.lock().unwrap() = None;
    peers.consensus(2, numbered(4, 4), Bytes::new(), Urgency::Now).unwrap();
    two.channel.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_costs_no_more_than_its_queues() {
    const PAYLOAD_BYTES: usize = 10_000;
    const QUEUE_BYTES: usize = 400_000;
    let two = Two::new();
    let orderer = two.start(0).await;
    orderer.is_deaf.store(true, Ordering::SeqCst);
    let settings = ClientSettings { rpc_timeout: Duration::from_secs(3), queue_bytes: QUEUE_BYTES, ..quick() };
    let (events, connections) = (Events::new(), two.authority.connections(&two.client, settings));
    let peers = connections.enter("ch", events.clone());
    peers.configure(&two.peers_at(orderer.port));
    events.wait_for(2, true, 1).await;
    let (mut taken, mut overflown) = (0, 0);
    for number in 0..500 {
        match peers.consensus(2, numbered(number, PAYLOAD_BYTES), Bytes::new(), Urgency::Now) {
            Ok(()) => taken += 1,
            Err(SendError::Overflow) => overflown += 1,
            Err(other) => panic!("{other}"),
        }
    }
    // the queue is full, and so is the peer's window
    assert!(taken <= (QUEUE_BYTES + (128 << 10)) / PAYLOAD_BYTES + 4, "{taken}");
    assert_eq!(taken + overflown, 500);
    let status = peers.status()[0].consensus;
    assert!(status.length <= 100 && status.dropped == overflown as u64, "{status:?}");
    // transactions wait for capacity, up to their time limit
    let first: Vec<_> = (0..60).map(|number| peers.submit(2, 0, numbered(number, PAYLOAD_BYTES))).collect();
    let ended = futures_util::future::join_all(first).await;
    assert!(ended.contains(&Err(SendError::Timeout)), "{ended:?}");
    // then the stream is abandoned, and the connection with it
    let deadline = Instant::now() + LIMIT;
    while events.count(2, true) < 2 {
        assert!(Instant::now() < deadline);
        let _ = peers.consensus(2, numbered(0, PAYLOAD_BYTES), Bytes::new(), Urgency::Now);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    orderer.is_deaf.store(false, Ordering::SeqCst);
    // streams on the new connection may have been opened while no task read them
    let deadline = Instant::now() + LIMIT;
    while two.channel.arrived().is_empty() {
        assert!(Instant::now() < deadline);
        let _ = peers.consensus(2, numbered(1, 4), Bytes::new(), Urgency::Now);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_killed_is_connected_to_again() {
    let two = Two::new();
    let orderer = two.start(0).await;
    let (events, connections) = (Events::new(), two.authority.connections(&two.client, quick()));
    let peers = connections.enter("ch", events.clone());
    peers.configure(&two.peers_at(orderer.port));
    events.wait_for(2, true, 1).await;
    peers.submit(2, 0, numbered(1, 4)).await.unwrap();
    peers.consensus(2, numbered(2, 4), Bytes::new(), Urgency::Now).unwrap();
    two.channel.wait_for(2).await;
    let port = orderer.kill().await;
    events.wait_for(2, false, 1).await;
    let deadline = Instant::now() + LIMIT;
    loop {
        match peers.consensus(2, Bytes::new(), Bytes::new(), Urgency::Now) {
            Err(SendError::NotConnected { .. }) => break,
            _ => assert!(Instant::now() < deadline),
        }
        tokio::task::yield_now().await;
    }
    assert!(peers.status()[0].last_error.is_some());
    // a renewed certificate with the same key is accepted as well
    let renewed = two.authority.renew("orderer2 anew", &two.server.key);
    let orderer = Orderer::start(&two.authority, &renewed, port, &[("ch", &two.channel)]).await;
    events.wait_for(2, true, 2).await;
    peers.submit(2, 0, numbered(3, 4)).await.unwrap();
    two.channel.wait_for(3).await;
    drop(orderer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_is_renewed_under_load_without_a_gap() {
    const COUNT: u32 = 2_000;
    let two = Two::new();
    let orderer = two.start(0).await;
    let (events, connections) = (Events::new(), two.authority.connections(&two.client, quick()));
    let peers = connections.enter("ch", events.clone());
    peers.configure(&two.peers_at(orderer.port));
    events.wait_for(2, true, 1).await;
    let renewed = two.authority.renew("orderer1 anew", &two.client.key);
    // an idle stream ends with its connection, without an event
    peers.consensus(2, numbered(COUNT, 64), Bytes::new(), Urgency::Now).unwrap();
    for number in 0..COUNT {
        if number == COUNT / 4 {
            connections.renew();
        }
        if number == COUNT / 2 {
            connections.replace_identity(renewed.identity());
            connections.renew();
        }
        if number == COUNT / 4 * 3 {
            let mut shown = orderer.shown.clone();
            tokio::time::timeout(LIMIT, shown.wait_for(|shown| shown.len() == 2)).await.unwrap().unwrap();
        }
        peers.submit(2, 0, numbered(number, 64)).await.unwrap();
    }
    let arrived = two.channel.wait_for(COUNT as usize + 1).await;
    let mut numbers: Vec<u32> = arrived
        .iter()
        .map(|arrived| match arrived {
            Arrived::Submit { envelope: bytes, .. } | Arrived::Consensus { payload: bytes, .. } => {
                u32::from_be_bytes(bytes[..4].try_into().unwrap())
            }
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..=COUNT).collect::<Vec<_>>());
    let deadline = Instant::now() + LIMIT;
    // the old connection has ended with its streams; the new one has a stream if something was left to be sent by it
    while orderer.service.figures().streams > 1 {
        assert!(Instant::now() < deadline, "{:?}", orderer.service.figures());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // the first request to renew had nothing to do
    assert_eq!(*orderer.shown.borrow(), [Some(two.client.der()), Some(renewed.der())]);
    assert_eq!(events.count(2, false), 0);
    assert!(peers.status()[0].last_error.is_none());
}

#[test]
fn dropping_the_handle_ends_all_tasks() {
    let two = Two::new();
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let orderer = servers.block_on(two.start(0));
    let (events, connections) =
        clients.block_on(async { (Events::new(), two.authority.connections(&two.client, quick())) });
    let peers = connections.enter("ch", events.clone());
    peers.configure(&two.peers_at(orderer.port));
    servers.block_on(events.wait_for(2, true, 1));
    servers.block_on(async {
        peers.consensus(2, numbered(1, 4), Bytes::new(), Urgency::Now).unwrap();
        peers.submit(2, 0, numbered(2, 4)).await.unwrap();
        two.channel.wait_for(2).await;
    });
    assert!(clients.metrics().num_alive_tasks() >= 3, "a destination, a connection, streams");
    drop(connections);
    let deadline = Instant::now() + LIMIT;
    while clients.metrics().num_alive_tasks() > 0 {
        assert!(Instant::now() < deadline, "{} tasks are left", clients.metrics().num_alive_tasks());
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = peers.consensus(2, Bytes::new(), Bytes::new(), Urgency::Now).unwrap_err();
    assert!(error.to_string().ends_with("communication has been shut down"), "{error}");
    // nor is any task started
    peers.configure(&Membership::new(Some(1), []));
    peers.configure(&two.peers_at(orderer.port));
    assert_eq!(clients.metrics().num_alive_tasks(), 0);
}
