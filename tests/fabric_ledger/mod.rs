//! The ledger directory of a Fabric orderer, and the blocks that the orderer had delivered from it.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that panics has failed")]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden/kafka");

/// The channels: name, number of blocks, number of config blocks.
pub const CHANNELS: [(&str, u64, u64); 3] = [("mychan", 147, 2), ("otherchan", 1, 1), ("syschan", 3, 1)];
/// The last config block of `mychan`.
pub const LAST_CONFIG: u64 = 134;

/// Unpacks the ledger directory and returns its path.
pub fn unpack(folder: &Path) -> PathBuf {
    let archive = format!("{GOLDEN}/orderer-a.ledger.tar.gz");
    let unpacked = Command::new("tar").args(["xzf", &archive, "-C"]).arg(folder).status().unwrap();
    assert!(unpacked.success());
    folder.join("ledger")
}

/// Returns the blocks of a channel as Fabric's Deliver sent them.
pub fn delivered(channel: &str) -> Vec<Vec<u8>> {
    let file = File::open(format!("{GOLDEN}/{channel}.orderer-a.blocks.jsonl.gz")).unwrap();
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let block = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        BASE64_STANDARD.decode(line["block"].as_str().unwrap()).expect("base64")
    };
    lines.map(|line| block(line.unwrap())).collect()
}
