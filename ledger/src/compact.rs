//! Giving back to the file system what a ledger's file holds and does not use.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use orderer_core::types::ChannelId;

use crate::error::LedgerError;
use crate::ledger::Ledger;

/// The reason why a file could not be compacted. It is as good as before.
#[derive(Debug, thiserror::Error)]
#[error("channel {channel}: compact the ledger")]
pub struct CompactError {
    /// The channel.
    pub channel: ChannelId,
    /// The error below.
    #[source]
    pub cause: LedgerError,
}

/// The size of a file on the disk, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before_bytes: u64,
    /// After.
    pub after_bytes: u64,
}

impl Ledger {
    /// Moves what is in the database to the front of its file and cuts the file off behind it, in transactions: a crash
    /// undoes the last of them. First finishes a removal of blocks that was interrupted. Blocks, for about as long as it
    /// takes to write the file anew; readers wait.
    pub fn compact(&self) -> Result<Compacted, CompactError> {
        let failed = |cause| CompactError { channel: self.channel.clone(), cause };
        let io = |cause: io::Error| failed(LedgerError::Database(Box::new(redb::Error::Io(cause))));
        let mut writer = self.lock_writer();
        let before_bytes = space_taken(&self.path).map_err(io)?;
        self.remove_pruned(&mut |_| {}).map_err(failed)?;
        self.database.compact(self.last_block().number()).map_err(failed)?;
        writer.settled = false;
        let after_bytes = space_taken(&self.path).map_err(io)?;
        Ok(Compacted { before_bytes, after_bytes })
    }
}

/// Returns the size of a file on the disk: without its holes, other than its length. Zero if it does not exist.
pub(crate) fn space_taken(path: &Path) -> io::Result<u64> {
    /// A file's blocks are counted in these, whatever the file system's are.
    const UNIT_BYTES: u64 = 512;
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        metadata => Ok(metadata?.blocks() * UNIT_BYTES),
    }
}
