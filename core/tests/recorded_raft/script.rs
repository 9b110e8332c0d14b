//! The messages that a recorded orderer received and sent, by run of its process.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::orderer::{StepRequest, step_request::Payload};
use fabric_proto::raftpb;

use crate::recording::Record;

/// A Raft message.
#[derive(Clone)]
pub(crate) struct Item {
    /// Position in the node's recording.
    pub(crate) at: usize,
    /// The peer node.
    pub(crate) peer: u64,
    pub(crate) stream: u64,
    pub(crate) message: raftpb::Message,
    /// `etcdraft.ClusterMetadata`, or empty.
    pub(crate) metadata: Bytes,
}

/// A forwarded envelope.
#[derive(Clone)]
pub(crate) struct Submit {
    pub(crate) at: usize,
    pub(crate) peer: u64,
    /// Sequence of the configuration under which the envelope was validated.
    pub(crate) sequence: u64,
    pub(crate) envelope: Bytes,
}

/// One run of a process.
#[derive(Default)]
pub(crate) struct Run {
    /// Received messages, by the sending node. A node's messages arrive by one stream, in order.
    pub(crate) received: BTreeMap<u64, Vec<Item>>,
    /// Sent messages, by the ID of the receiver.
    pub(crate) sent: BTreeMap<u64, Vec<Item>>,
    /// Forwarded envelopes.
    pub(crate) submits: Vec<Submit>,
    /// Position at which each stream of this node was opened.
    pub(crate) opened: BTreeMap<u64, usize>,
    /// Number of messages that arrived for a channel that this node had not joined.
    pub(crate) refused: usize,
}

/// Reason of a closed stream when the node has not joined the channel, or has no chain for it.
const NO_CHANNEL: &str = "channel ch doesn't exist";

pub(crate) fn runs(records: &[Record]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut last = u64::MAX;
    let refused = refused_streams(records);
    for (at, record) in records.iter().enumerate() {
        if record.number < last {
            runs.push(Run::default());
        }
        last = record.number;
        let of_run = runs.len();
        let run = runs.last_mut().unwrap();
        if record.sent && record.kind == "open" {
            run.opened.insert(record.stream, at);
        }
        let Some(bytes) = &record.bytes else { continue };
        match StepRequest::decode(bytes.clone()).unwrap().payload.unwrap() {
            Payload::ConsensusRequest(_) if !record.sent && refused.contains(&(of_run, record.stream)) => {
                run.refused += 1;
            }
            Payload::ConsensusRequest(request) => {
                let message = raftpb::Message::decode(request.payload).unwrap();
                let (peer, stream) = (record.peer, record.stream);
                let to = message.to;
                let item = Item { at, peer, stream, message, metadata: request.metadata };
                let queue = if record.sent { run.sent.entry(to) } else { run.received.entry(peer) };
                queue.or_default().push(item);
            }
            Payload::SubmitRequest(request) if record.sent => run.submits.push(Submit {
                at,
                peer: record.peer,
                sequence: request.last_validation_seq,
                envelope: request.payload,
            }),
            Payload::SubmitRequest(_) => {}
        }
    }
    runs
}

/// Returns the streams closed for this reason, with their run, counted from 1.
fn refused_streams(records: &[Record]) -> BTreeSet<(usize, u64)> {
    let (mut run, mut last) = (0, u64::MAX);
    let mut refused = BTreeSet::new();
    for record in records {
        run += usize::from(record.number < last);
        last = record.number;
        if !record.sent && record.kind == "close" && record.error.as_deref() == Some(NO_CHANNEL) {
            refused.insert((run, record.stream));
        }
    }
    refused
}
