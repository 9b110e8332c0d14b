//! Creates the state machine of a chain from the contents of the ledger and the Raft log.

use std::collections::BTreeSet;

use bytes::Bytes;
use fabric_proto::common::Block;
use fabric_proto::etcdraft::Options;
use fabric_proto::raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Snapshot};
use orderer_raft::{self as raft, RestoredLog};
use prost::Message as _;

use super::acknowledge::AcknowledgePoint;
use super::consenter_set::ConsenterSet;
use super::event::{ChainFailed, EnvelopeOrigin, OrderingConfig, SubmittedEnvelope};
use super::machine::{BlockTip, RaftMachine};
use crate::block::Hash;
use crate::config::parse_go_duration;
use crate::crypto::sha256;
use crate::types::{BlockNumber, ChannelId};

/// Number of entries that stay in the log before a snapshot, for followers that lag a little.
pub(super) const KEPT_ENTRIES: u64 = 16;
/// Fabric's default, used if the configuration says zero.
const SNAPSHOT_BYTES: u64 = 16 << 20;
/// Maximum number of messages with entries that may be in flight to one follower.
const MAX_INFLIGHT_MESSAGES: usize = 1 << 10;

/// The state with which a chain starts.
#[derive(Debug)]
pub struct InitialState {
    /// The channel.
    pub channel: ChannelId,
    /// Number of the newest block.
    pub number: BlockNumber,
    /// Hash of the newest block's header.
    pub header_hash: Hash,
    /// Raft metadata of the newest block (`etcdraft.BlockMetadata`). Empty if the channel starts with that block, or
    /// migrates from another consensus type.
    pub metadata: Bytes,
    /// The rules of the configuration.
    pub rules: OrderingConfig,
    /// The Raft settings of the configuration.
    pub options: Options,
    /// Index of this node in the list of consenters.
    pub place: usize,
    /// Envelopes that were acknowledged here and are in no block, in the order of their sequences.
    pub pending: Vec<SubmittedEnvelope>,
    /// Sequence of the next envelope that comes in here.
    pub next_sequence: u64,
    /// Condition under which senders get the response SUCCESS.
    pub acknowledge: AcknowledgePoint,
    /// Number of ticks without a leader after which the chain asks other orderers for the newest config block (Fabric's
    /// `EvictionSuspicion`).
    pub suspicion_ticks: u64,
    /// Seed of the random election timeouts.
    pub seed: u64,
}

/// The contents of the Raft log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogContents {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries after the snapshot, possibly with some earlier ones.
    pub entries: Vec<Entry>,
}

/// Returns the interval between two ticks; Fabric's default of 500 ms if the setting is not a duration or is zero.
pub fn tick_interval(options: &Options) -> std::time::Duration {
    let parsed = parse_go_duration(&options.tick_interval).map(|(interval, _)| interval);
    parsed.filter(|interval| !interval.is_zero()).unwrap_or(std::time::Duration::from_millis(500))
}

/// Returns the number of bytes of blocks after which a snapshot is taken.
pub fn snapshot_bytes(options: &Options) -> u64 {
    if options.snapshot_interval_size == 0 { SNAPSHOT_BYTES } else { u64::from(options.snapshot_interval_size) }
}

/// Returns the log of a new channel: committed entries that add its consenters.
pub fn first_log(members: &ConsenterSet) -> LogContents {
    let entry = |(index, node_id): (u64, u64)| {
        let change = ConfChange { r#type: ConfChangeType::ConfChangeAddNode as i32, node_id, ..ConfChange::default() };
        let data = Some(Bytes::from(change.encode_to_vec()));
        Entry { term: 1, index, r#type: EntryType::EntryConfChange as i32, data }
    };
    let entries: Vec<Entry> = (1..).zip(members.ids()).map(entry).collect();
    let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as u64 };
    LogContents { hard_state, snapshot: None, entries }
}

/// Returns the ID of the consenter of a new channel that campaigns first. All consenters compute the same.
pub fn first_candidate(channel: &ChannelId, consenters: usize) -> u64 {
    let hash = sha256(&[channel.as_str().as_bytes()]);
    let number = prost::encoding::decode_varint(&mut &hash[24..]).unwrap_or_default();
    number % (consenters.max(1) as u64) + 1
}

impl RaftMachine {
    /// Creates a chain that continues after the ledger and the log. `new`: the log was made for a new channel.
    ///
    /// # Errors
    /// Fails if they contradict each other, or this node is not a consenter.
    pub fn restore(start: InitialState, log: LogContents, new: bool) -> Result<Self, ChainFailed> {
        let InitialState {
            channel,
            number,
            header_hash,
            metadata,
            rules,
            options,
            place,
            pending,
            next_sequence,
            acknowledge,
            suspicion_ticks,
            seed,
        } = start;
        let (members, written_index) = ConsenterSet::read(&metadata, &rules.consenters)?;
        let id = members.ids().nth(place).ok_or(ChainFailed::NotAMember)?;
        let config = raft::Config {
            id,
            election_tick: options.election_tick as usize,
            heartbeat_tick: options.heartbeat_tick as usize,
            max_size_per_msg: rules.limits.preferred_max_bytes as u64,
            max_inflight_msgs: (options.max_inflight_blocks as usize).clamp(1, MAX_INFLIGHT_MESSAGES),
            seed,
        };
        let tip = BlockTip { number, hash: header_hash };
        let (log, applied) = restored(log, written_index, tip);
        let since_snapshot = bytes_of_blocks(&log.entries, applied);
        let raft = raft::Machine::new(&config, log)?;
        let consenters = members.len();
        let mut machine = Self::of_parts(raft, &config, members, rules, tip, written_index, applied, next_sequence);
        machine.acknowledge = acknowledge;
        machine.suspect_after(suspicion_ticks);
        machine.since_snapshot = since_snapshot;
        machine.campaigns = new && first_candidate(&channel, consenters) == id;
        machine.term = machine.raft.status()?.term;
        // done before the first block is written, because each block records which envelopes are still pending
        for submission in pending {
            if let EnvelopeOrigin::Local(sequence) = submission.origin {
                machine.outbox.add_old(sequence, submission, machine.term);
            }
        }
        Ok(machine)
    }
}

/// Returns Raft's initial state, and the applied index. Entries whose blocks are written count as applied.
fn restored(log: LogContents, written_index: u64, tip: BlockTip) -> (RestoredLog, u64) {
    let LogContents { mut hard_state, snapshot, entries } = log;
    let behind = snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| entry.index > behind).collect();
    hard_state.commit = hard_state.commit.max(behind);
    // a change of the commit index alone is not synced to the disk; an entry whose block is written was committed
    let written = entries.iter().find(|entry| entry.index == written_index);
    if written_index > hard_state.commit && written.and_then(block_hash) == Some(tip.hash) {
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

/// Returns the total size in bytes of the blocks in entries up to this index. They count towards the next snapshot;
/// otherwise the log would grow without bound on a node that restarts more often than a snapshot is due.
fn bytes_of_blocks(entries: &[Entry], applied: u64) -> u64 {
    let blocks = entries.iter().filter(|entry| entry.index <= applied && entry.r#type() == EntryType::EntryNormal);
    blocks.map(|entry| entry.data.as_ref().map_or(0, Bytes::len) as u64).sum()
}

/// A log that another program wrote does not belong to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogMismatch {
    /// The log ends before the newest block of the ledger.
    #[error(
        "the log ends with index {last}, and the newest block of the ledger says index {written}: the log is an older copy, or \
         the ledger's blocks came from another orderer"
    )]
    Ends {
        /// Last index of the log.
        last: u64,
        /// Index in the newest block.
        written: u64,
    },
    /// The log belongs to another node or another channel.
    #[error("the log holds other blocks from index {written} on than the ledger: it is not the log of this ledger")]
    OtherBlocks {
        /// Index in the newest block.
        written: u64,
    },
}

/// Checks that a log belongs to a ledger whose newest block has this header hash and the index `written_index` in its
/// metadata: the log reaches that index, and contains the block unless a snapshot covers it. The block may be in a
/// later entry, because a block that names other consenters has the index of the block before it.
///
/// # Errors
/// Fails if the log ends earlier, or contains other blocks.
pub fn check_imported(log: &LogContents, written_index: u64, header_hash: &Hash) -> Result<(), LogMismatch> {
    let behind = log.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
    let last = log.entries.last().map_or(behind, |entry| entry.index.max(behind));
    if written_index > last {
        return Err(LogMismatch::Ends { last, written: written_index });
    }
    // no block has an index yet
    if written_index == 0 {
        return Ok(());
    }
    let from_there = log.entries.iter().filter(|entry| entry.index >= written_index);
    let is_there = from_there.filter_map(block_hash).any(|hash| hash == *header_hash);
    if is_there || written_index <= behind { Ok(()) } else { Err(LogMismatch::OtherBlocks { written: written_index }) }
}

/// Returns the header hash of the block in an entry; `None` if the entry contains no block.
fn block_hash(entry: &Entry) -> Option<Hash> {
    let block = Block::decode(entry.data.clone().filter(|data| !data.is_empty())?).ok()?;
    let header = block.header?;
    Some(crate::block::header_hash(header.number, &header.previous_hash, &header.data_hash))
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

#[cfg(test)]
mod tests {
    use fabric_proto::common::BlockHeader;
    use fabric_proto::etcdraft::Consenter;
    use fabric_proto::raftpb::SnapshotMetadata;

    use super::*;
    use crate::ordering::block_cutter::BatchLimits;
    use crate::types::ConfigSequence;

    fn entry(index: u64, number: u64) -> (Entry, Hash) {
        let header = BlockHeader { number, ..BlockHeader::default() };
        let hash = crate::block::header_hash(number, &[], &[]);
        let data = Block { header: Some(header), ..Block::default() }.encode_to_vec();
        (Entry { term: 1, index, data: Some(data.into()), ..Entry::default() }, hash)
    }

    fn empty(index: u64) -> Entry {
        Entry { term: 1, index, ..Entry::default() }
    }

    #[test]
    fn a_log_goes_with_the_ledger_whose_newest_block_it_holds() {
        let ((second, second_hash), (third, third_hash)) = (entry(3, 1), entry(5, 2));
        let mut log = LogContents { entries: vec![second, empty(4), third], ..LogContents::default() };
        assert_eq!(check_imported(&log, 5, &third_hash), Ok(()));
        // the entry after the block is in no block of the ledger yet
        assert_eq!(check_imported(&log, 3, &second_hash), Ok(()));
        // a block that names other consenters
        assert_eq!(check_imported(&log, 3, &third_hash), Ok(()));
        assert_eq!(check_imported(&log, 5, &second_hash), Err(LogMismatch::OtherBlocks { written: 5 }));
        assert_eq!(check_imported(&log, 4, &[7; 32]), Err(LogMismatch::OtherBlocks { written: 4 }));
        assert_eq!(check_imported(&log, 6, &third_hash), Err(LogMismatch::Ends { last: 5, written: 6 }));
        assert_eq!(check_imported(&log, 0, &[7; 32]), Ok(()), "a channel that begins");
        let metadata = SnapshotMetadata { index: 9, ..SnapshotMetadata::default() };
        log.snapshot = Some(Snapshot { metadata, ..Snapshot::default() });
        assert_eq!(check_imported(&log, 8, &[7; 32]), Ok(()), "in the snapshot");
        assert_eq!(check_imported(&log, 10, &[7; 32]), Err(LogMismatch::Ends { last: 9, written: 10 }));
        assert_eq!(
            check_imported(&LogContents::default(), 1, &[7; 32]),
            Err(LogMismatch::Ends { last: 0, written: 1 })
        );
    }

    #[test]
    fn the_bytes_since_the_last_snapshot_outlive_a_restart() {
        let members = ConsenterSet::first(&[Consenter::default()]);
        let mut log = first_log(&members);
        let entry = |index: u64, bytes: usize| {
            let data = (bytes > 0).then(|| Bytes::from(vec![7; bytes]));
            Entry { term: 2, index, r#type: EntryType::EntryNormal as i32, data }
        };
        log.entries.extend([entry(2, 0), entry(3, 100), entry(4, 200), entry(5, 400)]);
        log.hard_state = HardState { term: 2, vote: 1, commit: 5 };
        let restore = |log: &LogContents| {
            let start = InitialState {
                channel: ChannelId::parse("ch").expect("a name"),
                number: BlockNumber(2),
                header_hash: Hash::default(),
                // entry 5 is committed and not in a block yet
                metadata: members.metadata(4),
                rules: OrderingConfig {
                    sequence: ConfigSequence(0),
                    limits: BatchLimits { max_message_count: 10, preferred_max_bytes: 1000 },
                    consenters: vec![Consenter::default()],
                    snapshot_bytes: 1000,
                },
                options: Options { election_tick: 10, heartbeat_tick: 1, ..Options::default() },
                place: 0,
                pending: Vec::new(),
                next_sequence: 0,
                acknowledge: AcknowledgePoint::Durable,
                suspicion_ticks: 100,
                seed: 1,
            };
            RaftMachine::restore(start, log.clone(), false).expect("ledger and log fit").since_snapshot
        };
        assert_eq!(restore(&log), 300);
        let conf_state = ConfState { voters: vec![1], ..ConfState::default() };
        let metadata = fabric_proto::raftpb::SnapshotMetadata { conf_state, index: 3, term: 2 };
        log.snapshot = Some(Snapshot { data: None, metadata });
        assert_eq!(restore(&log), 200);
    }
}
