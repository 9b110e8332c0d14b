//! Tests that this crate sends the recorded messages of Fabric's orderers in the same form.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "other tests read more of it")]
#[path = "../../tests/recordings/etcdraft.rs"]
mod recording;
mod support;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::orderer::{StepRequest, step_request::Payload};
use orderer_cluster::{Membership, Network as _, SendError, Urgency};
use support::{Authority, Events, Orderer, Recorder, consenter, quick};

/// Returns every `StepRequest` that a node sent or received.
fn recorded() -> Vec<Bytes> {
    recording::traffic().into_values().flatten().filter_map(|record| record.bytes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_requests_are_sent_as_fabric_sent_them() {
    let authority = Authority::new();
    let (client, server) = (authority.issue("orderer1"), authority.issue("orderer2"));
    let channel = Recorder::new(Membership::new(Some(2), [consenter(1, 1, &client, &client)]));
    let orderer = Orderer::start(&authority, &server, 0, &[("ch", &channel)]).await;
    let (events, connections) = (Events::new(), authority.connections(&client, quick()));
    let peers = connections.enter("ch", events.clone());
    peers.configure(&Membership::new(Some(1), [consenter(2, orderer.port, &server, &server)]));
    events.wait_for(2, true, 1).await;
    let requests = recorded();
    for request in &requests {
        match StepRequest::decode(request.clone()).unwrap().payload.unwrap() {
            Payload::ConsensusRequest(sent) => {
                assert_eq!(sent.channel, "ch");
                while peers.consensus(2, sent.payload.clone(), sent.metadata.clone(), Urgency::Now)
                    == Err(SendError::Overflow)
                {
                    tokio::task::yield_now().await;
                }
            }
            Payload::SubmitRequest(sent) => {
                peers.submit(2, sent.last_validation_seq, sent.payload).await.unwrap();
            }
        }
    }
    channel.wait_for(requests.len()).await;
    let arrived = orderer.requests.lock().unwrap().clone();
    // one stream for each kind
    let of = |all: &[Bytes], first_byte| -> Vec<Bytes> {
        all.iter().filter(|request| request.first() == Some(&first_byte)).cloned().collect()
    };
    for (kind, first_byte, least) in [("consensus", 0x0a, 5_000), ("submit", 0x12, 3_000)] {
        let sent = of(&requests, first_byte);
        assert!(sent.len() > least, "{kind}: {}", sent.len());
        assert!(of(&arrived, first_byte) == sent, "{kind}");
    }
    assert_eq!(arrived.len(), requests.len());
    println!("{} requests", requests.len());
}
