//! Compares this crate's computations with chains that Go orderers cut, recorded block by block.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use fabric_proto::common::HeaderType;
use flate2::read::GzDecoder;
use orderer_core::block::{EncodedBlock, verify_block_signatures};
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::processing::apply_config;

fn golden(name: &str) -> Vec<EncodedBlock> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden").join(name);
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let block = |line: std::io::Result<String>| {
        let value: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let text = value["block"].as_str().expect("a block");
        EncodedBlock::parse(&BASE64_STANDARD.decode(text).expect("base64"))
            .expect("is a block whose data hash recomputes")
    };
    lines.map(block).collect()
}

/// Verifies a chain as a peer does. Returns the number of config blocks.
fn follow(name: &str) -> usize {
    let blocks = golden(name);
    let mut snapshot =
        ChannelSnapshot::from_config_block(&blocks[0].decode(), &Arc::default()).expect("a genesis block");
    let mut last_config = 0;
    let mut updates = 0;
    for pair in blocks.windows(2) {
        let (previous, block) = (&pair[0], &pair[1]);
        assert_eq!(block.number(), previous.number().next(), "{name}");
        assert_eq!(block.previous_hash().as_ref(), previous.header_hash(), "{name} block {}", block.number());
        verify_block_signatures(block, &snapshot).unwrap_or_else(|e| panic!("{name}: {e}"));
        let data: Vec<Bytes> = block.decode().data.unwrap_or_default().data;
        for entry in &data {
            let message = SignedEnvelope::parse(entry.clone()).and_then(ParsedEnvelope::parse).expect("a message");
            if message.channel_header.r#type == HeaderType::Config as i32 {
                assert!(block.is_config() && data.len() == 1, "a config message is alone in its block");
                snapshot = apply_config(&snapshot, &message).unwrap_or_else(|e| panic!("{name}: {e}"));
                last_config = block.number().0;
                updates += 1;
            }
        }
        assert_eq!(block.last_config().0, last_config, "{name} block {}", block.number());
    }
    updates
}

#[test]
fn every_block_links_and_is_signed_by_somebody_who_may() {
    assert_eq!(follow("solo/syschan.blocks.jsonl.gz"), 0);
    for orderer in ["a", "b"] {
        follow(&format!("kafka/syschan.orderer-{orderer}.blocks.jsonl.gz"));
        follow(&format!("kafka/otherchan.orderer-{orderer}.blocks.jsonl.gz"));
    }
}

#[test]
fn every_recorded_config_update_leads_to_the_recorded_configuration() {
    assert_eq!(follow("solo/mychan.blocks.jsonl.gz"), 2);
    assert!(follow("kafka/mychan.orderer-a.blocks.jsonl.gz") >= 1);
    assert!(follow("kafka/mychan.orderer-b.blocks.jsonl.gz") >= 1);
}

#[test]
fn one_changed_byte_in_a_header_breaks_the_signature() {
    let blocks = golden("solo/mychan.blocks.jsonl.gz");
    let snapshot = ChannelSnapshot::from_config_block(&blocks[0].decode(), &Arc::default()).expect("a genesis block");
    let mut block = blocks[1].decode();
    block.header.as_mut().expect("a header").number += 1;
    let changed = EncodedBlock::parse(&prost::Message::encode_to_vec(&block)).expect("is a block");
    let error = verify_block_signatures(&changed, &snapshot).expect_err("must not verify");
    assert!(error.to_string().contains("the signature does not verify"), "{error}");
}

#[test]
fn equal_configurations_of_different_channels_are_one() {
    let catalog = Arc::default();
    let of = |name: &str| {
        let genesis = golden(name).remove(0).decode();
        ChannelSnapshot::from_config_block(&genesis, &catalog).expect("a genesis block")
    };
    let (one, other) = (of("solo/mychan.blocks.jsonl.gz"), of("solo/mychan.blocks.jsonl.gz"));
    assert!(one.shares_with(&other));
    let system = of("solo/syschan.blocks.jsonl.gz");
    assert!(!one.shares_with(&system));
    let msp = |snapshot: &ChannelSnapshot| Arc::clone(snapshot.msps().get("OrdererMSP").expect("is defined"));
    assert!(Arc::ptr_eq(&msp(&one), &msp(&system)), "an organization is read once");
    drop((one, other));
    assert!(of("solo/mychan.blocks.jsonl.gz").msps().len() > 1, "and again when nobody had it any more");
}
