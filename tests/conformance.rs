//! Tests that the node responds to 136 valid, invalid and unusual requests as Fabric v2.5.16 does, except for a table
//! of differences.
//!
//! The requests are sent one after the other to a fresh node with the system channel. They create the channel `mychan`,
//! order envelopes in it, configure it and read it. The responses of Fabric are in `golden/solo/answers.jsonl`.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use crate::conformance_cases;
use crate::world;

use std::time::Duration;

use conformance_cases::{Script, broadcast, channel, config, deliver};
use fabric_proto::Message as _;
use fabric_proto::common::{Block, Envelope, Payload};
use fabric_proto::orderer::BatchTimeout;
use orderer_core::config::genesis::genesis_block_from_envelope;
use world::config_updates::config_of;
use world::{NET, Setup};

/// Intended differences: case, response of Fabric, our response, reason.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    (
        "broadcast/sig/trailing byte",
        "SUCCESS, EOF",
        "FORBIDDEN, EOF",
        "two encodings of one signature would make two envelopes of one transaction",
    ),
    (
        "deliver/oldest to newest, then one more seek",
        "0 data=1 meta=5, 1 data=10 meta=5, 2 data=10 meta=5, 3 data=2 meta=5, 4 data=1 meta=5, 5 data=1 meta=5, \
         SUCCESS, 1 data=10 meta=5, SUCCESS, EOF",
        "0 data=1 meta=5, 1 data=10 meta=5, 2 data=10 meta=5, 3 data=1 meta=5, 4 data=1 meta=5, 5 data=1 meta=5, \
         SUCCESS, 1 data=10 meta=5, SUCCESS, EOF",
        "the envelope with the trailing byte is not in the chain",
    ),
    (
        "deliver/headers only",
        "0 data=1 meta=5, 1 data=10 meta=5, 2 data=10 meta=5, SUCCESS, EOF",
        "0 data=1 meta=5, 1 data=0 meta=5, 2 data=0 meta=5, SUCCESS, EOF",
        "honoured, as by Fabric 3.1; 2.5 ignores it",
    ),
];

/// Batch timeout. Fabric cut the recorded blocks by their message count and by config messages; on a slow machine a short
/// timeout would cut one earlier. The test waits for it once, for the only message of the system channel.
const BATCH_TIMEOUT: &str = "20s";

/// Returns the fixtures' genesis block with the batch timeout [`BATCH_TIMEOUT`].
fn patient_genesis() -> Vec<u8> {
    let block = Block::decode(std::fs::read(format!("{NET}/SysSolo.block")).unwrap().as_slice()).unwrap();
    let mut config = config_of(&block);
    let orderer = config.channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap();
    let value = &mut orderer.values.get_mut("BatchTimeout").unwrap().value;
    *value = BatchTimeout { timeout: BATCH_TIMEOUT.to_owned() }.encode_to_vec().into();
    let mut envelope = Envelope::decode(block.data.unwrap().data[0].clone()).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let config = fabric_proto::common::ConfigEnvelope { config: Some(config), last_update: None };
    payload.data = config.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    genesis_block_from_envelope(envelope.encode_to_vec().into(), true).to_vec()
}

/// Returns the recorded cases: name and responses as one text.
fn golden() -> Vec<(String, String)> {
    let text = include_str!("fixtures/golden/solo/answers.jsonl");
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let steps = line["steps"].as_array().unwrap().iter();
        let steps = steps.map(|step| {
            let said = ["status", "block", "end"].iter().find_map(|&key| step[key].as_str());
            said.unwrap().to_owned()
        });
        (line["case"].as_str().unwrap().to_owned(), steps.collect::<Vec<_>>().join(", "))
    };
    text.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_is_answered_as_by_the_reference() {
    let genesis = tempfile::tempdir().unwrap();
    let file = genesis.path().join("genesis.block");
    std::fs::write(&file, patient_genesis()).unwrap();
    let mut node = Setup::of_block_file(file).start().await;
    let golden = golden();
    assert_eq!(golden.len(), 136);

    let mut script = Script::new(node.client().await, &golden, Duration::from_millis(300));
    channel::create(&mut script, &mut node).await;
    broadcast::malformed(&mut script).await;
    broadcast::kinds(&mut script).await;
    broadcast::signers(&mut script).await;
    broadcast::sizes_and_streams(&mut script).await;
    config::update(&mut script).await;
    deliver::malformed(&mut script).await;
    deliver::positions(&mut script).await;
    deliver::readers(&mut script).await;

    let mut wrong = Vec::new();
    assert_eq!(script.answers.len(), golden.len());
    for ((case, expected), (sent, answered)) in golden.iter().zip(&script.answers) {
        assert_eq!(case, sent, "the cases are sent in Fabric's order");
        let difference = DIFFERENCES.iter().find(|(name, ..)| name == case);
        let wanted = difference.map_or(expected.as_str(), |(_, theirs, ours, _)| {
            assert_eq!(theirs, expected, "{case}: the table must say what Fabric does");
            ours
        });
        if answered != wanted {
            wrong.push(format!("{case}\n  wanted   {wanted}\n  answered {answered}"));
        }
    }
    node.assert_no_panic();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), golden.len(), wrong.join("\n"));
}
