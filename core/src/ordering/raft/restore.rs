//! Where a chain begins: with what is in the ledger and in the Raft log.

use std::collections::BTreeSet;

use bytes::Bytes;
use fabric_proto::common::Block;
use fabric_proto::etcdraft::Options;
use fabric_proto::raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Snapshot};
use orderer_raft::{self as raft, RestoredLog};
use prost::Message as _;

use super::event::{ChainFailed, Origin, Rules, Submission};
use super::machine::{Machine, Tip};
use super::members::Members;
use crate::block::Hash;
use crate::channel::{BlockNumber, ChannelId};
use crate::config::parse_go_duration;
use crate::crypto::sha256;

/// So many entries stay in the log behind a snapshot, for followers that lag a little.
pub(super) const KEPT_ENTRIES: u64 = 16;
/// Fabric's, where the configuration says zero.
const SNAPSHOT_BYTES: u64 = 16 << 20;
/// So many messages with entries may be on their way to one follower, at most.
const MAX_INFLIGHT_MESSAGES: usize = 1 << 10;

/// What a chain begins with.
#[derive(Debug)]
pub struct Start {
    /// The channel.
    pub channel: ChannelId,
    /// The number of the newest block.
    pub number: BlockNumber,
    /// The hash of its header.
    pub header_hash: Hash,
    /// What it remembers of Raft; empty if a channel begins with it, or comes from another consenter.
    pub metadata: Bytes,
    /// What the configuration says.
    pub rules: Rules,
    /// The settings of Raft.
    pub options: Options,
    /// This node's place in the list of consenters.
    pub place: usize,
    /// Envelopes that were acknowledged here and are in no block, in the order of their places.
    pub pending: Vec<Submission>,
    /// The place of the next envelope that is acknowledged here.
    pub next_sequence: u64,
    /// After how many ticks without a leader it asks others how the channel stands (Fabric's `EvictionSuspicion`).
    pub suspicion_ticks: u64,
    /// Decides election timeouts.
    pub seed: u64,
}

/// What is in the Raft log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogContents {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries behind the snapshot, or some more.
    pub entries: Vec<Entry>,
}

/// The time between two ticks; Fabric's default if the setting is no duration.
pub fn tick_interval(options: &Options) -> std::time::Duration {
    let parsed = parse_go_duration(&options.tick_interval).map(|(interval, _)| interval);
    parsed.filter(|interval| !interval.is_zero()).unwrap_or(std::time::Duration::from_millis(500))
}

/// After how many bytes of blocks a snapshot is taken.
pub fn snapshot_bytes(options: &Options) -> u64 {
    if options.snapshot_interval_size == 0 { SNAPSHOT_BYTES } else { u64::from(options.snapshot_interval_size) }
}

/// The log of a channel that begins: its consenters are added by entries that count as committed.
pub fn first_log(members: &Members) -> LogContents {
    let entry = |(index, node_id): (u64, u64)| {
        let change = ConfChange { r#type: ConfChangeType::ConfChangeAddNode as i32, node_id, ..ConfChange::default() };
        let data = Some(Bytes::from(change.encode_to_vec()));
        Entry { term: 1, index, r#type: EntryType::EntryConfChange as i32, data }
    };
    let entries: Vec<Entry> = (1..).zip(members.ids()).map(entry).collect();
    let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as u64 };
    LogContents { hard_state, snapshot: None, entries }
}

/// Which consenter of a new channel asks for votes first: all consenters find the same.
pub fn first_candidate(channel: &ChannelId, consenters: usize) -> u64 {
    let hash = sha256(&[channel.as_str().as_bytes()]);
    let number = prost::encoding::decode_varint(&mut &hash[24..]).unwrap_or_default();
    number % (consenters.max(1) as u64) + 1
}

impl Machine {
    /// A chain that goes on where ledger and log end. `new`: the log was made for a channel that begins.
    ///
    /// # Errors
    /// They contradict each other, or this node is no consenter.
    pub fn restore(start: Start, log: LogContents, new: bool) -> Result<Self, ChainFailed> {
        let Start {
            channel,
            number,
            header_hash,
            metadata,
            rules,
            options,
            place,
            pending,
            next_sequence,
            suspicion_ticks,
            seed,
        } = start;
        let (members, written_index) = Members::read(&metadata, &rules.consenters)?;
        let id = members.ids().nth(place).ok_or(ChainFailed::NotAMember)?;
        let config = raft::Config {
            id,
            election_tick: options.election_tick as usize,
            heartbeat_tick: options.heartbeat_tick as usize,
            max_size_per_msg: rules.limits.preferred_max_bytes as u64,
            max_inflight_msgs: (options.max_inflight_blocks as usize).clamp(1, MAX_INFLIGHT_MESSAGES),
            seed,
        };
        let tip = Tip { number, hash: header_hash };
        let (log, applied) = restored(log, written_index, tip);
        let settled_term = term_at(&log, applied);
        let raft = raft::Machine::new(&config, log)?;
        let consenters = members.len();
        let mut machine = Self::of_parts(raft, &config, members, rules, tip, written_index, applied, next_sequence);
        machine.settled_term = settled_term;
        machine.suspicion_ticks = suspicion_ticks.max(1);
        machine.campaigns = new && first_candidate(&channel, consenters) == id;
        // before the first block is written, which says which of them are in no block
        for submission in pending {
            if let Origin::Here(sequence) = submission.origin {
                machine.outbox.add_old(sequence, submission);
            }
        }
        machine.term = machine.raft.status()?.term;
        Ok(machine)
    }
}

/// What Raft begins with: it is told as applied what is in blocks.
fn restored(log: LogContents, written_index: u64, tip: Tip) -> (RestoredLog, u64) {
    let LogContents { mut hard_state, snapshot, entries } = log;
    let behind = snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| entry.index > behind).collect();
    hard_state.commit = hard_state.commit.max(behind);
    // the commit index is not synced for its own sake: what is in a block was committed
    if written_index > hard_state.commit && holds(&entries, written_index, tip) {
        hard_state.commit = written_index;
    }
    let applied = written_index.clamp(behind, hard_state.commit);
    let mut voters: BTreeSet<u64> =
        snapshot.iter().flat_map(|snapshot| &snapshot.metadata.conf_state.voters).copied().collect();
    for entry in entries.iter().take_while(|entry| entry.index <= applied) {
        apply_to(&mut voters, entry);
    }
    let conf_state = ConfState { voters: voters.into_iter().collect(), ..ConfState::default() };
    (RestoredLog { hard_state, conf_state, snapshot, entries, applied }, applied)
}

/// The term of an entry; zero if the log does not have it.
fn term_at(log: &RestoredLog, index: u64) -> u64 {
    let of_snapshot = log.snapshot.iter().map(|snapshot| (snapshot.metadata.index, snapshot.metadata.term));
    let mut all = of_snapshot.chain(log.entries.iter().map(|entry| (entry.index, entry.term)));
    all.find(|(at, _)| *at == index).map_or(0, |(_, term)| term)
}

/// Whether the log has the newest block at this index.
fn holds(entries: &[Entry], index: u64, tip: Tip) -> bool {
    let Some(entry) = entries.iter().find(|entry| entry.index == index) else { return false };
    let block = Block::decode(entry.data.clone().unwrap_or_default()).unwrap_or_default();
    block.header.is_some_and(|header| {
        crate::block::header_hash(header.number, &header.previous_hash, &header.data_hash) == tip.hash
    })
}

fn apply_to(voters: &mut BTreeSet<u64>, entry: &Entry) {
    if entry.r#type != EntryType::EntryConfChange as i32 {
        return;
    }
    let Ok(change) = ConfChange::decode(entry.data.clone().unwrap_or_default()) else { return };
    if change.r#type == ConfChangeType::ConfChangeRemoveNode as i32 {
        voters.remove(&change.node_id);
    } else {
        voters.insert(change.node_id);
    }
}
