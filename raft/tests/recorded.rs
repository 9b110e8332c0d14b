//! What a cluster of Fabric's orderers sent each other.

#![allow(clippy::unwrap_used)]

#[path = "recorded/player.rs"]
mod player;

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::etcdraft::ClusterMetadata;
use fabric_proto::orderer::{StepRequest, step_request::Payload};
use fabric_proto::raftpb::{ConfChange, EntryType, Message, MessageType};

struct Record {
    /// Its number in a run of the process.
    number: u64,
    sent: bool,
    bytes: Bytes,
}

/// Every StepRequest by the node that recorded it, in its order.
fn records() -> BTreeMap<String, Vec<Record>> {
    let file =
        std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/raft/traffic.tar.xz")).unwrap();
    let mut archive = tar::Archive::new(lzma_rust2::XzReader::new(file, true));
    let mut nodes = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let mut records = Vec::new();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(hex) = line["bytes"].as_str() else { continue };
            let digit = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
            let bytes = (0..hex.len()).step_by(2).map(digit).collect();
            let number = line["seq"].as_u64().unwrap();
            records.push(Record { number, sent: line["dir"] == "send", bytes });
        }
        nodes.insert(entry.path().unwrap().display().to_string(), records);
    }
    nodes
}

#[test]
fn every_recorded_message_is_encoded_as_it_was() {
    let (mut messages, mut submits, mut changes, mut types) = (0, 0, 0, BTreeMap::new());
    let nodes = records();
    assert!(nodes.values().flatten().any(|record| record.sent));
    for record in nodes.values().flatten() {
        let request = StepRequest::decode(record.bytes.clone()).unwrap();
        assert_eq!(request.encode_to_vec(), record.bytes);
        match request.payload.unwrap() {
            Payload::ConsensusRequest(request) => {
                let message = Message::decode(request.payload.clone()).unwrap();
                assert_eq!(message.encode_to_vec(), request.payload);
                let metadata = ClusterMetadata::decode(request.metadata.clone()).unwrap();
                assert_eq!(metadata.encode_to_vec(), request.metadata);
                for entry in message.entries.iter().filter(|entry| entry.r#type() == EntryType::EntryConfChange) {
                    let data = entry.data.clone().unwrap();
                    assert_eq!(ConfChange::decode(data.clone()).unwrap().encode_to_vec(), data);
                    changes += 1;
                }
                *types.entry(message.r#type().as_str_name()).or_insert(0) += 1;
                messages += 1;
            }
            Payload::SubmitRequest(_) => submits += 1,
        }
    }
    println!("{messages} messages, {submits} submits, {changes} changes of the consenters: {types:?}");
    assert!(messages > 5000 && submits > 3000 && changes > 0);
    for wanted in [MessageType::MsgApp, MessageType::MsgSnap, MessageType::MsgTimeoutNow, MessageType::MsgPreVote] {
        assert!(types.contains_key(wanted.as_str_name()), "{wanted:?} was recorded");
    }
}

#[test]
fn a_machine_answers_as_the_recorded_orderers_did() {
    for (name, records) in records() {
        let id = name.trim_start_matches("node").trim_end_matches(".jsonl").parse().unwrap();
        let mut player = player::Player::new(id, 3);
        let mut last = 0;
        for record in records {
            if record.number < last {
                player.start();
            }
            last = record.number;
            let request = StepRequest::decode(record.bytes).unwrap();
            let Some(Payload::ConsensusRequest(request)) = request.payload else { continue };
            let message = Message::decode(request.payload).unwrap();
            if record.sent {
                player.sends(&message);
            } else {
                player.receives(message);
            }
        }
        println!("{name}: {:?}, and {} that it did not send", player.same, player.more);
        assert!(player.same["MsgAppResp"] > 50 && player.same["MsgHeartbeatResp"] > 50, "{name} answered");
        assert!(player.more < 10, "{name} answered less than the machine");
    }
}
