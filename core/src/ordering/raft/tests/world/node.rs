//! One node of the simulation: its disk, its pending writes and the work of its other threads.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload};
use fabric_proto::etcdraft::Consenter;
use fabric_proto::raftpb;
use prost::Message as _;

use super::super::super::*;
use crate::block::Hash;
use crate::envelope::{ParsedEnvelope, SignedEnvelope};
use crate::ordering::block_cutter::BatchLimits;
use crate::types::ConfigSequence;

const LIMITS: BatchLimits = BatchLimits { max_message_count: 4, preferred_max_bytes: 4000 };

#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) hash: Hash,
    pub(crate) envelopes: Vec<Bytes>,
    pub(crate) metadata: Bytes,
}

/// Pending writes of a node's disk, in their order.
pub(crate) enum PendingWrite {
    Log(LogWrite),
    Snapshot(Box<raftpb::Snapshot>, u64),
    Block(NewBlock),
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Node {
    pub(crate) machine: Option<RaftMachine>,
    pub(crate) ledger: Vec<Stored>,
    pub(crate) log: LogContents,
    /// Acknowledged, durable, and in no block of this ledger.
    pub(crate) pending: BTreeMap<u64, Bytes>,
    pub(crate) next_sequence: u64,
    /// Envelopes whose senders have no response yet.
    pub(crate) unanswered: BTreeMap<u64, Bytes>,
    pub(crate) pending_writes: VecDeque<PendingWrite>,
    pub(crate) timer: Option<u64>,
    pub(crate) cut_off: bool,
    /// Whether its disk completes no write.
    pub(crate) stalled: bool,
    /// Whether its disk is lost, and the node with it.
    pub(crate) lost: bool,
    /// Work of other threads: the tick at which it completes, and its event.
    pub(crate) elsewhere: VecDeque<(u64, Event)>,
    pub(crate) removed: bool,
}

pub(crate) fn consenter(name: &str) -> Consenter {
    let certificate = Bytes::from(format!("certificate of {name}"));
    Consenter { host: name.to_owned(), port: 1, client_tls_cert: certificate.clone(), server_tls_cert: certificate }
}

pub(crate) fn envelope(kind: HeaderType, data: &str) -> SignedEnvelope {
    let header = ChannelHeader { r#type: kind as i32, channel_id: "sim".into(), ..Default::default() };
    let header = Header { channel_header: header.encode_to_vec().into(), signature_header: Bytes::new() };
    let payload = Payload { header: Some(header), data: Bytes::from(data.to_owned()) };
    SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::from_static(b"signature"))
}

/// Returns the configuration sequence that a config message was made under, and the names in it.
pub(crate) fn config_in(raw: &Bytes) -> Option<(u64, Vec<String>)> {
    let message = ParsedEnvelope::parse(SignedEnvelope::parse(raw.clone()).ok()?).ok()?;
    let is_config = message.channel_header.r#type == HeaderType::Config as i32;
    let text = String::from_utf8(message.data.to_vec()).ok()?;
    let (sequence, names) = text.split_once(' ')?;
    is_config.then(|| Some((sequence.parse().ok()?, names.split(' ').map(str::to_owned).collect())))?
}

pub(crate) fn rules(names: &[String], sequence: u64) -> OrderingConfig {
    let consenters = names.iter().map(|name| consenter(name)).collect();
    OrderingConfig { sequence: ConfigSequence(sequence), limits: LIMITS, consenters, snapshot_bytes: 1500 }
}

pub(crate) fn rules_of(ledger: &[Stored]) -> (Vec<String>, OrderingConfig) {
    let configs: Vec<_> = ledger.iter().filter_map(|block| config_in(block.envelopes.first()?)).collect();
    let names = configs.last().cloned().unwrap_or_default().1;
    (names.clone(), rules(&names, configs.len() as u64))
}

/// Returns the name without the marks that count how often the consenter's certificate was replaced.
pub(crate) fn who(name: &str) -> String {
    name.split('\'').next().unwrap_or_default().to_owned()
}

impl Node {
    pub(crate) fn may_start(&self) -> bool {
        self.machine.is_none() && !self.removed && !self.lost
    }

    /// Validates an envelope: a config message is valid only under the configuration that it was made under; any other
    /// envelope is always valid.
    pub(crate) fn judge(&self, submission: SubmittedEnvelope) -> RevalidationResult {
        let validated_at = rules_of(&self.all_blocks()).1.sequence;
        let submission = SubmittedEnvelope { validated_at, ..submission };
        match config_in(submission.envelope.raw()) {
            Some((sequence, _)) if sequence != validated_at.0 => RevalidationResult::Invalid(submission),
            config => {
                let consenters = config.map(|(_, names)| names.iter().map(|name| consenter(name)).collect::<Vec<_>>());
                RevalidationResult::Valid { submission, consenters }
            }
        }
    }

    /// Returns the blocks of the ledger and those that are being written.
    pub(crate) fn all_blocks(&self) -> Vec<Stored> {
        let mut all = self.ledger.clone();
        for write in &self.pending_writes {
            if let PendingWrite::Block(block) = write {
                let envelopes = block.envelopes.iter().map(|envelope| envelope.raw().clone()).collect();
                all.push(Stored { hash: block.header_hash, envelopes, metadata: block.metadata.clone() });
            }
        }
        all
    }
}

impl LogContents {
    pub(crate) fn write(&mut self, write: &LogWrite) {
        if let Some(snapshot) = &write.snapshot {
            self.entries.clear();
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        if let Some(state) = write.hard_state {
            self.hard_state = state;
        }
    }
}
