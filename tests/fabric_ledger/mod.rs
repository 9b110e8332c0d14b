//! The ledger folder that the reference's orderer left behind, and what it had served from it.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that panics has failed")]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden/kafka");

/// Its channels, each with its blocks and its config blocks.
pub const CHANNELS: [(&str, u64, u64); 3] = [("mychan", 147, 2), ("otherchan", 1, 1), ("syschan", 3, 1)];
/// The last config block of `mychan`.
pub const LAST_CONFIG: u64 = 134;

/// Unpacks the folder.
pub fn unpack(folder: &Path) -> PathBuf {
    let archive = format!("{GOLDEN}/orderer-a.ledger.tar.gz");
    let unpacked = Command::new("tar").args(["xzf", &archive, "-C"]).arg(folder).status().unwrap();
    assert!(unpacked.success());
    folder.join("ledger")
}

/// The blocks of a channel, as Deliver gave them.
pub fn delivered(channel: &str) -> Vec<Vec<u8>> {
    let file = File::open(format!("{GOLDEN}/{channel}.orderer-a.blocks.jsonl.gz")).unwrap();
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let block = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        base64(line["block"].as_str().unwrap())
    };
    lines.map(|line| block(line.unwrap())).collect()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base64: {c}"),
    };
    let digits: Vec<u8> = text.bytes().filter(|&c| c != b'=').map(digit).collect();
    let mut out = Vec::new();
    for four in digits.chunks(4) {
        let word = (0..4).fold(0, |word, i| word << 6 | u32::from(four.get(i).copied().unwrap_or(0)));
        out.extend_from_slice(&u32::to_be_bytes(word)[1..four.len()]);
    }
    out
}
