//! Opens a Raft chain: reads the channel's Raft log, or creates it. Performs blocking I/O.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fabric_proto::common::Block;
use fabric_proto::raftpb::Snapshot;
use orderer_core::block::{Hash, header_hash};
use orderer_core::config::{ConsentersError, consensus_metadata};
use orderer_core::crypto::sha256;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::raft::{
    ChainFailed, ConsenterSet, EnvelopeOrigin, InitialState, LogContents, RaftMachine, SubmittedEnvelope, first_log,
    tick_interval,
};
use orderer_core::types::BlockNumber;
use orderer_ledger::raft_log::{Contents, DiskDirectory, LogDirectory as _, RaftLog, RaftLogError};
use orderer_ledger::{Ledger, PendingEnvelope, ReadError, is_disk_full};
use prost::Message as _;

use super::position::{ChainPosition, ChainPositionError};
use super::shared::RaftSettings;
use crate::advice::{REPLACE_CONSENTER, RETURN_LOG};
use crate::chain_state::{ChainResumePoint, error_chain};
use crate::supervision::ExitReason;

const LOG: &str = "orderer.consensus.etcdraft";
/// File name of the Raft log, in the channel's directory beside its ledger.
pub(super) const LOG_FILE: &str = "consensus.raft";
/// Suffix of a Raft log from the time when this node was another consenter of the channel.
const OLD_LOG_SUFFIX: &str = ".old";
/// Maximum number of blocks, and of their bytes, that are searched for acknowledged envelopes.
const LOOK_BACK_BLOCKS: u64 = 2_000;
const LOOK_BACK_BYTES: usize = 64 << 20;

/// A chain that is ready to start.
pub(super) struct OpenedChain {
    pub(super) machine: RaftMachine,
    pub(super) log: RaftLog,
    /// Interval between two ticks.
    pub(super) tick: Duration,
    /// Number of the block of the newest snapshot; 0 if there is none.
    pub(super) snapshot_block: u64,
}

/// Action for the operator of a channel that something else than Raft has ordered so far.
const ACTION_ENGINE: &str =
    "set Consensus.Serve.etcdraft to what has ordered the channel so far, solo or kafka, and start the node again";

/// A chain cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenChainError {
    #[error(transparent)]
    Standing(#[from] ChainPositionError),
    #[error(
        "this node is none of the {0} consenters of the channel: none of them has its server TLS certificate's public key"
    )]
    NotAConsenter(usize),
    #[error(
        "the Raft log of the channel is missing ({0}), and the ledger has blocks that Raft ordered: a consenter that has forgotten its votes must not vote"
    )]
    LogMissing(String),
    #[error("the channel has blocks that were not ordered by Raft, and {0} consenters: each would begin another log")]
    OtherEngine(usize),
    #[error(transparent)]
    Log(#[from] RaftLogError),
    #[error("remove the file of the block that the channel was joined with: {0}")]
    JoinBlock(std::io::Error),
    #[error("read the ledger")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Chain(#[from] ChainFailed),
}

impl OpenChainError {
    /// Returns the exit reason of a chain that fails with this error.
    pub(super) fn exit(&self) -> ExitReason {
        let cause = error_chain(self);
        match self {
            full if is_disk_full(full) => ExitReason::DiskFull(cause),
            Self::NotAConsenter(_) => ExitReason::NotOurs(cause),
            Self::LogMissing(_) | Self::Log(RaftLogError::Foreign { .. }) => {
                ExitReason::Unrecoverable { cause, action: RETURN_LOG }
            }
            Self::Log(RaftLogError::Damaged { .. }) | Self::Standing(_) | Self::Chain(_) => {
                ExitReason::Unrecoverable { cause, action: REPLACE_CONSENTER }
            }
            Self::OtherEngine(_) => ExitReason::Unrecoverable { cause, action: ACTION_ENGINE },
            Self::Log(_) | Self::JoinBlock(_) | Self::Read(_) => ExitReason::Failed(cause),
        }
    }
}

/// Returns the directory of a channel's Raft log.
pub(super) fn log_folder(ledger: &Ledger) -> DiskDirectory {
    DiskDirectory(ledger.path().parent().unwrap_or(Path::new(".")).to_owned())
}

/// Opens the Raft log of this node's consenter, which is found by the public keys of the node's TLS certificates, and
/// restores the chain from the log and the ledger.
pub(super) fn open(
    ledger: &Ledger,
    state: ChainResumePoint,
    keys: &[Bytes],
    settings: RaftSettings,
    seed: u64,
) -> Result<OpenedChain, OpenChainError> {
    let standing = ChainPosition::read(&state.snapshot, &state.last)?;
    let (place, id) = standing.own(keys).ok_or(OpenChainError::NotAConsenter(standing.members.len()))?;
    let ChainPosition { rules, metadata, members, .. } = standing;
    let options = consensus_metadata(&state.snapshot).and_then(|found| found.options.ok_or(ConsentersError::NoOptions));
    let options = options.map_err(ChainPositionError::from)?;
    let tick = settings.tick_interval_override.unwrap_or_else(|| tick_interval(&options));
    if settings.tick_interval_override.is_some() {
        tracing::info!(target: LOG, channel = %ledger.channel(),
            "TickIntervalOverride is set, overriding channel configuration tick interval to {tick:?}");
    }

    let begins = LogConditions {
        is_first: state.tip.number == BlockNumber::GENESIS,
        is_migration: state.last.is_config(),
        metadata: &metadata,
        members: &members,
    };
    let (log, contents, is_new) = open_log(&log_folder(ledger), ledger, id, &begins)?;
    let Contents { hard_state, snapshot, entries, .. } = contents;
    let snapshot_number = snapshot.as_ref().map_or(0, |snapshot| snapshot_block(snapshot).0);
    let pending = unordered(ledger, state.pending)?;
    let start = InitialState {
        channel: ledger.channel().clone(),
        number: state.tip.number,
        header_hash: state.tip.header_hash,
        metadata,
        rules,
        options,
        place,
        pending,
        next_sequence: state.next_sequence,
        acknowledge: settings.acknowledge,
        suspicion_ticks: ticks(settings.eviction_suspicion, tick),
        seed,
    };
    let machine = RaftMachine::restore(start, LogContents { hard_state, snapshot, entries }, is_new)?;
    Ok(OpenedChain { machine, log, tick, snapshot_block: snapshot_number })
}

/// Returns the number of the block in a snapshot; 0 if there is none.
pub(super) fn snapshot_block(snapshot: &Snapshot) -> BlockNumber {
    snapshot_header(snapshot).map_or(BlockNumber::GENESIS, |(number, _)| number)
}

/// Returns the number of the block in a snapshot and the hash of its header; `None` if the snapshot contains no block.
pub(super) fn snapshot_header(snapshot: &Snapshot) -> Option<(BlockNumber, Hash)> {
    let header = Block::decode(snapshot.data.clone()?).ok()?.header?;
    Some((BlockNumber(header.number), header_hash(header.number, &header.previous_hash, &header.data_hash)))
}

fn ticks(time: Duration, tick: Duration) -> u64 {
    u64::try_from(time.as_nanos() / tick.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// The facts that decide on the first contents of a missing Raft log.
struct LogConditions<'a> {
    is_first: bool,
    /// Whether the newest block is a config block, which may be the one that migrated the channel to Raft. The orderers
    /// that ordered the channel before have that block, too.
    is_migration: bool,
    metadata: &'a Bytes,
    members: &'a ConsenterSet,
}

/// Opens the log, or creates it if it is missing. Also returns whether the channel is new, so that its first leader has
/// to be elected.
fn open_log(
    folder: &DiskDirectory,
    ledger: &Ledger,
    id: u64,
    begins: &LogConditions<'_>,
) -> Result<(RaftLog, Contents, bool), OpenChainError> {
    let channel = ledger.channel();
    match RaftLog::open(folder.clone(), LOG_FILE, channel, id) {
        // a crash right after the log was created must not keep the channel from its first election
        Ok((log, contents)) => Ok((log, contents, begins.is_first)),
        Err(RaftLogError::Missing { .. }) => {
            let first = first_contents(ledger, begins)?;
            let log = RaftLog::create(folder.clone(), LOG_FILE, channel, id, &first)?;
            Ok((log, first, true))
        }
        // this node was removed and added again: under the new ID it has not voted yet
        Err(RaftLogError::Other { found_channel, found_node, .. })
            if found_channel == channel.as_str() && found_node != id =>
        {
            tracing::warn!(target: LOG, %channel, before = found_node, now = id,
                "this orderer is a different consenter of the channel than before; creating a new Raft log");
            let io = |cause| RaftLogError::Io { name: LOG_FILE.to_owned(), action: "put the log aside", cause };
            folder.rename(LOG_FILE, &format!("{LOG_FILE}{OLD_LOG_SUFFIX}")).map_err(io)?;
            let empty = Contents::default();
            let log = RaftLog::create(folder.clone(), LOG_FILE, channel, id, &empty)?;
            Ok((log, empty, false))
        }
        Err(error) => Err(error.into()),
    }
}

/// Creates the Raft log of a node that becomes a consenter of a channel that other orderers have ordered so far. The
/// log is empty, and the leader sends its contents. Performs blocking I/O.
pub(super) fn make_joining_log(ledger: &Ledger, id: u64) -> Result<(), OpenChainError> {
    let folder = log_folder(ledger);
    match RaftLog::open(folder.clone(), LOG_FILE, ledger.channel(), id) {
        Ok(_) => Ok(()),
        Err(RaftLogError::Missing { .. }) => {
            RaftLog::create(folder, LOG_FILE, ledger.channel(), id, &Contents::default())?;
            Ok(())
        }
        // a log of another ID of this node is moved aside when the chain opens it
        Err(RaftLogError::Other { found_channel, .. }) if found_channel == ledger.channel().as_str() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn first_contents(ledger: &Ledger, begins: &LogConditions<'_>) -> Result<Contents, OpenChainError> {
    if !begins.metadata.is_empty() {
        let path = ledger.path().with_file_name(LOG_FILE);
        return Err(OpenChainError::LogMissing(path.display().to_string()));
    }
    // a ledger that a node has written alone may contain blocks that other consenters do not have
    if !begins.is_first && !begins.is_migration && begins.members.len() > 1 {
        return Err(OpenChainError::OtherEngine(begins.members.len()));
    }
    let LogContents { hard_state, snapshot, entries } = first_log(begins.members);
    Ok(Contents { hard_state, snapshot, entries, ..Contents::default() })
}

/// Returns the acknowledged envelopes that are in none of the newest blocks. The search is needed because the pending
/// log records only the lowest pending sequence, and a block may contain an envelope with a higher one.
pub(super) fn unordered(ledger: &Ledger, pending: Vec<PendingEnvelope>) -> Result<Vec<SubmittedEnvelope>, ReadError> {
    let mut waiting: HashMap<_, usize> = HashMap::new();
    for envelope in &pending {
        *waiting.entry(sha256(&[&envelope.raw])).or_default() += 1;
    }
    let mut ordered = HashSet::new();
    let (mut number, mut bytes) = (ledger.height(), 0);
    let lowest = ledger.horizon().0.max(number.saturating_sub(LOOK_BACK_BLOCKS));
    while number > lowest && bytes < LOOK_BACK_BYTES && ordered.len() < waiting.len() {
        number -= 1;
        let Some(block) = ledger.block(BlockNumber(number))? else { break };
        bytes += block.size_bytes();
        let data = block.decode().data.unwrap_or_default().data;
        ordered.extend(data.iter().map(|raw| sha256(&[raw])).filter(|hash| waiting.contains_key(hash)));
    }
    let submission = |pending: PendingEnvelope| {
        if ordered.contains(&sha256(&[&pending.raw])) {
            return None;
        }
        let envelope = SignedEnvelope::parse(pending.raw).ok()?;
        let (validated_at, is_config) = (pending.validated_at, pending.is_config);
        Some(SubmittedEnvelope { envelope, validated_at, is_config, origin: EnvelopeOrigin::Local(pending.sequence) })
    };
    Ok(pending.into_iter().filter_map(submission).collect())
}
