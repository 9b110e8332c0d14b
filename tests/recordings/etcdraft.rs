//! Reads the recorded traffic of an etcdraft cluster (`tests/fixtures/raft/README.md`), for the tests of several
//! crates.

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::Bytes;

/// One record of a node's recording.
pub(crate) struct Record {
    /// Sequence number within one run of the node's process, from 1.
    pub(crate) number: u64,
    /// Whether this node sent it, or opened the stream.
    pub(crate) sent: bool,
    /// `consensus`, `submit`, `open`, `close` or `deliver`.
    pub(crate) kind: String,
    /// Number of the peer node.
    pub(crate) peer: u64,
    /// Number of the gRPC stream within this run.
    pub(crate) stream: u64,
    /// Why the message was not sent, or why the stream closed.
    pub(crate) error: Option<String>,
    /// The `StepRequest`, for `consensus` and `submit`.
    pub(crate) bytes: Option<Bytes>,
}

/// Returns the records of each node, in order, by the node's number.
pub(crate) fn traffic() -> BTreeMap<u64, Vec<Record>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/raft/traffic.tar.xz");
    let file = std::fs::File::open(path).expect("the recording");
    let mut archive = tar::Archive::new(lzma_rust2::XzReader::new(file, true));
    let mut nodes = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("a file");
        let name = entry.path().expect("a name").display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        nodes.insert(digit_in(&name), text.lines().map(record).collect());
    }
    nodes
}

fn record(line: &str) -> Record {
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let number = |name: &str| line[name].as_u64().expect("a number");
    Record {
        number: number("seq"),
        sent: line["dir"] == "send",
        kind: line["kind"].as_str().expect("a kind").to_owned(),
        peer: digit_in(line["peer"].as_str().expect("a name")),
        stream: number("stream"),
        error: line["err"].as_str().map(str::to_owned),
        bytes: line["bytes"].as_str().map(|hex| {
            let byte = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).expect("hexadecimal");
            (0..hex.len()).step_by(2).map(byte).collect()
        }),
    }
}

/// Returns the number of a node from its name.
fn digit_in(name: &str) -> u64 {
    name.chars().find_map(|c| c.to_digit(10)).expect("a digit").into()
}
