//! Imports and exports Raft logs together with their ledgers, while the node does not run.

use bytes::Bytes;
use orderer_core::block::EncodedBlock;
use orderer_core::config::ChannelSnapshot;
use orderer_core::ordering::raft::{LogContents, LogMismatch, check_imported};
use orderer_ledger::raft_log::{Contents, RaftLog, RaftLogError};
use orderer_ledger::{Ledger, ReadError};

use super::opening::{LOG_FILE, log_folder, snapshot_header, unordered};
use super::position::{ChainPosition, ChainPositionError};

/// A log cannot be imported for a ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportLogError {
    /// The configuration or the newest block does not belong to a channel of type etcdraft.
    #[error(transparent)]
    Standing(#[from] ChainPositionError),
    /// The log and the ledger contradict each other.
    #[error(transparent)]
    Mismatch(#[from] LogMismatch),
    /// Reading the ledger failed.
    #[error("read the ledger")]
    Read(#[from] ReadError),
    /// Writing the log failed.
    #[error(transparent)]
    Log(#[from] RaftLogError),
}

/// Returns the Raft ID of the node by the newest block and the current configuration; `None` if it is not a consenter
/// and follows the channel.
///
/// # Errors
/// Fails if the configuration or the newest block does not belong to a channel of type etcdraft.
pub fn own_consenter(
    snapshot: &ChannelSnapshot,
    last: &EncodedBlock,
    keys: &[Bytes],
) -> Result<Option<u64>, ChainPositionError> {
    Ok(ChainPosition::read(snapshot, last)?.own(keys).map(|(_, id)| id))
}

/// Whether a ledger has a Raft log.
pub fn has_log(ledger: &Ledger) -> bool {
    ledger.path().with_file_name(LOG_FILE).exists()
}

/// Creates the Raft log of an imported ledger from the log of the program that ordered the channel before, so that the
/// node continues as the same consenter, with its term and its vote. Returns its Raft ID; `None` if the node is not a
/// consenter, in which case no log is created. Performs blocking I/O.
///
/// # Errors
/// Fails if the log ends before the ledger, or contains another block in the position of the ledger's newest one: it is
/// an older copy, or belongs to another ledger, and a node that continued with it could vote twice.
pub fn import_log(
    ledger: &Ledger,
    snapshot: &ChannelSnapshot,
    keys: &[Bytes],
    contents: Contents,
) -> Result<Option<u64>, ImportLogError> {
    let last = ledger.last_block();
    let standing = ChainPosition::read(snapshot, &last)?;
    let Some((_, id)) = standing.own(keys) else { return Ok(None) };
    let index = standing.index;
    let Contents { hard_state, snapshot, entries, trimmed } = contents;
    let log = LogContents { hard_state, snapshot, entries };
    let of_snapshot = log.snapshot.as_ref().and_then(snapshot_header);
    let in_ledger = match &of_snapshot {
        Some((number, _)) if *number <= last.number() => ledger.block(*number)?,
        _ => None,
    };
    // the block of a snapshot that is newer than the ledger is compared once the blocks before it are replicated
    if let (Some((_, hash)), Some(block)) = (of_snapshot, in_ledger)
        && hash != *block.header_hash()
    {
        return Err(LogMismatch::OtherBlocks { written: index }.into());
    }
    check_imported(&log, index, last.header_hash())?;
    let LogContents { hard_state, snapshot, entries } = log;
    let contents = Contents { hard_state, snapshot, entries, trimmed };
    RaftLog::create(log_folder(ledger), LOG_FILE, ledger.channel(), id, &contents)?;
    Ok(Some(id))
}

/// Returns the contents of a ledger's Raft log and the Raft ID that it belongs to; `None` if there is no log. Performs
/// blocking I/O.
///
/// # Errors
/// Fails if the log is damaged, or belongs to another channel.
pub fn export_log(ledger: &Ledger) -> Result<Option<(u64, Contents)>, RaftLogError> {
    let Some(id) = RaftLog::consenter(&log_folder(ledger), LOG_FILE)? else { return Ok(None) };
    let (_, contents) = RaftLog::open(log_folder(ledger), LOG_FILE, ledger.channel(), id)?;
    Ok(Some((id, contents)))
}

/// Returns the number of envelopes that were acknowledged here and are in none of the newest blocks. A program that
/// continues with the ledger elsewhere does not know of them. Performs blocking I/O.
///
/// # Errors
/// Fails if the ledger cannot be read.
pub fn waiting(ledger: &Ledger) -> Result<usize, ReadError> {
    Ok(unordered(ledger, ledger.pending()?)?.len())
}
