//! Raft logs that come with an imported ledger, and leave with an exported one, while the node does not run.

use bytes::Bytes;
use orderer_core::block::EncodedBlock;
use orderer_core::config::ChannelSnapshot;
use orderer_core::ordering::raft::{LogContents, LogMismatch, check_imported};
use orderer_ledger::raft_log::{Contents, RaftLog, RaftLogError};
use orderer_ledger::{Ledger, ReadError};

use super::opening::{LOG_FILE, log_folder, snapshot_header, unordered};
use super::standing::{Standing, StandingError};

/// Why a log does not become that of a channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportLogError {
    /// The configuration, or the newest block, is none of a channel that Raft orders.
    #[error(transparent)]
    Standing(#[from] StandingError),
    /// The log and the newest block do not fit.
    #[error(transparent)]
    Mismatch(#[from] LogMismatch),
    /// The ledger was not read.
    #[error("read the ledger")]
    Read(#[from] ReadError),
    /// The log was not written.
    #[error(transparent)]
    Log(#[from] RaftLogError),
}

/// The consenter that the node is by the newest block and the configuration in force; `None` if it is none: it follows the channel.
///
/// # Errors
/// The configuration, or the newest block, is none of a channel that Raft orders.
pub fn own_consenter(
    snapshot: &ChannelSnapshot,
    last: &EncodedBlock,
    keys: &[Bytes],
) -> Result<Option<u64>, StandingError> {
    Ok(Standing::read(snapshot, last)?.own(keys).map(|(_, id)| id))
}

/// Whether a ledger has a Raft log.
pub fn has_log(ledger: &Ledger) -> bool {
    ledger.path().with_file_name(LOG_FILE).exists()
}

/// Makes the log of an imported ledger from that of the program which ordered the channel until now: the node goes on as the same
/// consenter, with its term and its vote. Gives back which one; `None` if it is none, and nothing was made. Blocks.
///
/// # Errors
/// The log ends before the ledger, or holds another block in the place of its newest one: it is not the log of this ledger, or an older
/// copy, and a node that went on with it could vote twice.
pub fn import_log(
    ledger: &Ledger,
    snapshot: &ChannelSnapshot,
    keys: &[Bytes],
    contents: Contents,
) -> Result<Option<u64>, ImportLogError> {
    let last = ledger.last_block();
    let standing = Standing::read(snapshot, &last)?;
    let Some((_, id)) = standing.own(keys) else { return Ok(None) };
    let index = standing.index;
    let Contents { hard_state, snapshot, entries, trimmed } = contents;
    let log = LogContents { hard_state, snapshot, entries };
    let of_snapshot = log.snapshot.as_ref().and_then(snapshot_header);
    let in_ledger = match &of_snapshot {
        Some((number, _)) if *number <= last.number() => ledger.block(*number)?,
        _ => None,
    };
    // one that is newer than the ledger is compared when the blocks before it have been fetched
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

/// What is in the log of a ledger, and whose it is; `None` if there is none. Blocks.
///
/// # Errors
/// It is damaged, or another channel's.
pub fn export_log(ledger: &Ledger) -> Result<Option<(u64, Contents)>, RaftLogError> {
    let Some(id) = RaftLog::consenter(&log_folder(ledger), LOG_FILE)? else { return Ok(None) };
    let (_, contents) = RaftLog::open(log_folder(ledger), LOG_FILE, ledger.channel(), id)?;
    Ok(Some((id, contents)))
}

/// How many envelopes were acknowledged here and are in none of the newest blocks: a program that goes on with the ledger elsewhere does
/// not know of them. Blocks.
///
/// # Errors
/// The ledger was not read.
pub fn waiting(ledger: &Ledger) -> Result<usize, ReadError> {
    Ok(unordered(ledger, ledger.pending()?)?.len())
}
