//! The handle of an open ledger.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use orderer_core::types::ChannelId;
use redb::Database;
use tokio::sync::watch;

use crate::cache::{BlockCache, CachedBlocks};
use crate::database::Reader;
use crate::error::LedgerError;
use crate::horizon::Horizon;
use crate::idle::OpenDatabases;
use crate::pending::PendingLog;
use crate::recent_blocks::RecentBlocks;
use crate::recovery;
use crate::slot::DatabaseSlot;
use crate::write_permit::WritePermit;

/// Memory limits of a ledger.
#[derive(Clone, Debug)]
pub struct Options {
    /// A cache of blocks that were written or read lately, if ledgers share one.
    pub blocks: Option<BlockCache>,
    /// Maximum size of the ledger's own cache of blocks otherwise, in bytes.
    pub block_bytes: usize,
    /// Cache for pages of the database, in bytes; half of it bounds what a commit buffers before it writes. More than a few MiB
    /// gains nothing: 4, 16 and 64 MiB cost the same, since new blocks are cached elsewhere.
    pub page_cache_bytes: usize,
    /// Closes the database when it is idle and too many are open; without it, only [`Ledger::close_database`] does.
    pub open_databases: Option<OpenDatabases>,
}

impl Default for Options {
    fn default() -> Self {
        Self { blocks: None, block_bytes: 64 << 20, page_cache_bytes: 4 << 20, open_databases: None }
    }
}

/// The open ledger of one channel. Shared by `Arc`: one commits at a time, any number read. The file is locked for
/// other processes until this is dropped, also while the database in it is closed.
pub struct Ledger {
    pub(crate) channel: ChannelId,
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    /// The end of what was pruned, if anything was.
    pub(crate) horizon: Option<Horizon>,
    pub(crate) database: Arc<DatabaseSlot>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) newest: RwLock<RecentBlocks>,
    pub(crate) cached: CachedBlocks,
    pub(crate) heights: watch::Sender<u64>,
    /// A commit needs this lock; [`WritePermit`] is its guard.
    pub(crate) write_lock: Arc<tokio::sync::Mutex<()>>,
}

/// The state that a commit needs and changes.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) pending: PendingLog,
    /// Whether redb's map of free pages was stored with the last commit.
    pub(crate) settled: bool,
    /// The error after which nothing is written any more.
    pub(crate) failed: Option<WriteFailure>,
}

/// An error after which nothing is written any more.
#[derive(Clone, Debug)]
pub(crate) struct WriteFailure {
    /// The error with its causes.
    pub(crate) reason: String,
    pub(crate) is_disk_full: bool,
}

impl Ledger {
    /// Returns the ledger's channel.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the permit to commit, which one holder at a time has. Waiting callers get it in the order of their calls.
    ///
    /// # Cancel safety
    /// A dropped call gets nothing, and those behind it move up.
    pub async fn write_permit(&self) -> WritePermit {
        WritePermit::new(Arc::clone(&self.write_lock).lock_owned().await)
    }

    /// Returns the permit to commit, unless another holder has it.
    pub fn try_write_permit(&self) -> Option<WritePermit> {
        Arc::clone(&self.write_lock).try_lock_owned().ok().map(WritePermit::new)
    }

    /// Changes the database, which is opened for that if it is closed.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&Database) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.database.change(self.last_block().number(), change)
    }

    /// Reads from the database, which is opened for that if it is closed. After a failure redb rejects reads, too; what is on the
    /// disk is then read around it, so that a channel that accepts nothing any more can still be read.
    pub(crate) fn read<T>(&self, read: impl Fn(Reader<'_>) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.database.read(self.last_block().number(), read, || recovery::open(self))
    }

    /// Closes the database, unless it is in use or has failed. The next commit, or read of a block that is not in memory, opens it
    /// again. Performs blocking I/O.
    ///
    /// # Errors
    /// The disk failed. The database is closed, and commits fail until the ledger is [opened again](Self::reopen).
    pub fn close_database(&self) -> Result<(), LedgerError> {
        self.database.close_unused()
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("channel", &self.channel)
            .field("path", &self.path)
            .field("height", &self.height())
            .finish_non_exhaustive()
    }
}
