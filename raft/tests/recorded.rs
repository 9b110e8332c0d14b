//! Recorded messages between the orderers of a Fabric cluster.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "other tests read more of it")]
#[path = "../../tests/recordings/etcdraft.rs"]
mod recording;

use std::collections::BTreeMap;

use fabric_proto::Message as _;
use fabric_proto::common::{Block, Envelope};
use fabric_proto::etcdraft::ClusterMetadata;
use fabric_proto::orderer::{StepRequest, step_request::Payload};
use fabric_proto::raftpb::{ConfChange, EntryType, Message, MessageType};

#[test]
fn every_recorded_message_is_encoded_as_it_was() {
    let (mut messages, mut submits, mut changes, mut blocks, mut types) = (0, 0, 0, 0, BTreeMap::new());
    for bytes in recording::traffic().into_values().flatten().filter_map(|record| record.bytes) {
        let request = StepRequest::decode(bytes.clone()).unwrap();
        assert_eq!(request.encode_to_vec(), bytes);
        match request.payload.unwrap() {
            Payload::ConsensusRequest(request) => {
                let message = Message::decode(request.payload.clone()).unwrap();
                assert_eq!(message.encode_to_vec(), request.payload);
                let metadata = ClusterMetadata::decode(request.metadata.clone()).unwrap();
                assert_eq!(metadata.encode_to_vec(), request.metadata);
                let snapshot = message.snapshot.iter().filter_map(|snapshot| snapshot.data.as_ref());
                let normal = message.entries.iter().filter(|entry| entry.r#type() == EntryType::EntryNormal);
                for block in snapshot.chain(normal.filter_map(|entry| entry.data.as_ref())) {
                    assert_eq!(Block::decode(block.clone()).unwrap().encode_to_vec(), *block);
                    blocks += 1;
                }
                for entry in message.entries.iter().filter(|entry| entry.r#type() == EntryType::EntryConfChange) {
                    let data = entry.data.clone().unwrap();
                    assert_eq!(ConfChange::decode(data.clone()).unwrap().encode_to_vec(), data);
                    changes += 1;
                }
                *types.entry(message.r#type().as_str_name()).or_insert(0) += 1;
                messages += 1;
            }
            Payload::SubmitRequest(request) => {
                let envelope = Envelope::decode(request.payload.clone()).unwrap();
                assert_eq!(envelope.encode_to_vec(), request.payload);
                submits += 1;
            }
        }
    }
    println!("{messages} messages, {submits} submits, {blocks} blocks, {changes} changes of the consenters: {types:?}");
    assert!(messages > 5000 && submits > 3000 && blocks > 1000 && changes > 0);
    for wanted in [MessageType::MsgApp, MessageType::MsgSnap, MessageType::MsgTimeoutNow, MessageType::MsgPreVote] {
        assert!(types.contains_key(wanted.as_str_name()), "{wanted:?} was recorded");
    }
}
