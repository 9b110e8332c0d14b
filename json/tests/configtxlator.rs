//! Tests that the JSON equals that of Fabric's configtxlator (v2.5.16), recorded in
//! tests/fixtures/json.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Read as _;
use std::path::{Path, PathBuf};

use fabric_json::{DecodeOptions, Json, from_json, to_json};
use flate2::read::GzDecoder;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn unzipped(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(std::fs::File::open(fixtures().join(name)).unwrap()).read_to_end(&mut out).unwrap();
    out
}

/// Converts to parsed JSON, in which the order of members does not matter.
fn value(json: &Json) -> Value {
    serde_json::to_value(json).unwrap()
}

fn check(kind: &str, bytes: &[u8], recorded: &str) {
    let recorded = unzipped(&format!("json/{recorded}.json.gz"));
    let theirs: Value = serde_json::from_slice(&recorded).unwrap();
    let ours = to_json(kind, bytes, &DecodeOptions::default()).unwrap();
    assert!(value(&ours) == theirs, "{kind} differs from what configtxlator says");
    // and Fabric's JSON is accepted here: the same message, except for the order of its maps
    let folded = from_json(kind, &Json::parse(&recorded).unwrap()).unwrap();
    assert_eq!(folded.len(), bytes.len());
    assert_eq!(value(&to_json(kind, &folded, &DecodeOptions::default()).unwrap()), theirs);
}

#[test]
fn genesis_blocks() {
    for name in ["AppKafka", "SysSolo"] {
        check("common.Block", &std::fs::read(fixtures().join(format!("net/{name}.block"))).unwrap(), name);
    }
}

#[test]
fn a_channel_creation_and_an_endorsed_transaction() {
    check("common.Envelope", &std::fs::read(fixtures().join("net/mychan.tx")).unwrap(), "mychan.tx");
    let transaction = std::fs::read(fixtures().join("json/transaction.envelope")).unwrap();
    check("common.Envelope", &transaction, "transaction");
}

#[test]
fn blocks_with_a_config_update_and_with_a_channel_creation() {
    for (chain, number) in [("mychan", 5), ("syschan", 1)] {
        let lines = String::from_utf8(unzipped(&format!("golden/solo/{chain}.blocks.jsonl.gz"))).unwrap();
        let line: Value = serde_json::from_str(lines.lines().nth(number).unwrap()).unwrap();
        let block = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, line["block"].as_str().unwrap());
        check("common.Block", &block.unwrap(), &format!("solo-{chain}-{number}"));
    }
}
