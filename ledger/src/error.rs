//! The errors of a ledger, one enum for each kind of operation. Where an operator has to act, the text says how.

use std::any::Any;
use std::fmt::Write as _;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use orderer_core::block::BlockError;
use orderer_core::types::{BlockNumber, ChannelId};

/// An error below the ledger; the source of the other errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The database said so: input, output, a checksum.
    #[error("database")]
    Database(#[source] Box<redb::Error>),
    /// The database panicked, as it may when its file was changed by something else.
    #[error("the database panicked: {0}")]
    Panicked(String),
    /// The file of pending envelopes: input, output.
    #[error("pending log")]
    PendingLog(#[source] io::Error),
    /// The stored bytes are not a block.
    #[error("stored block")]
    Block(#[from] BlockError),
    /// The tables do not hold what the format says.
    #[error("{0}")]
    Layout(String),
}

/// The reason why a ledger was not opened or created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such file.
    #[error("ledger {}: no such file; was it moved, or its disk not mounted?", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A ledger was to be made where there is a file.
    #[error("ledger {}: the file exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file of another kind.
    #[error("ledger {}: not a ledger but {found}; move it out of the ledger folder", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The kind of file that it seems to be.
        found: String,
    },
    /// The ledger of another channel.
    #[error("ledger {}: holds channel {found}, not {expected}; was the file renamed or copied?", path.display())]
    OtherChannel {
        /// The file.
        path: PathBuf,
        /// The channel that was to be opened.
        expected: ChannelId,
        /// The channel the file names.
        found: String,
    },
    /// Written by a newer version of this program.
    #[error(
        "ledger {}: has format {found}, this program reads up to {known}; use the newer program that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Number of the file's format.
        found: u32,
        /// The newest format this program reads.
        known: u32,
    },
    /// Another process, or another part of this one, has the file open.
    #[error("ledger {}: in use by another process; stop that one first", path.display())]
    AlreadyOpen {
        /// The file.
        path: PathBuf,
    },
    /// The file is a ledger, but not whole.
    #[error("ledger {}: damaged; restore it from a backup or from another orderer of the channel", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The error that was found in it.
        #[source]
        cause: LedgerError,
    },
    /// An open ledger was opened again and had fewer blocks.
    #[error("ledger {}: had {had} blocks and has {has} now; was another file put in its place?", path.display())]
    Shrunk {
        /// The file.
        path: PathBuf,
        /// Number of blocks before.
        had: u64,
        /// Number of blocks now.
        has: u64,
    },
    /// The operating system reported an error.
    #[error("ledger {}: {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        action: &'static str,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// A new ledger cannot begin with this block.
    #[error("ledger {}: cannot begin with block {number}", path.display())]
    NotGenesis {
        /// The file.
        path: PathBuf,
        /// Number of the block given as the first.
        number: BlockNumber,
    },
}

/// The reason why a commit failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A block is not the next one. Nothing was written.
    #[error("channel {channel}: block {got} does not follow, block {expected} is next")]
    Gap {
        /// The channel.
        channel: ChannelId,
        /// The number that is next.
        expected: BlockNumber,
        /// The number of the block.
        got: BlockNumber,
    },
    /// A block is built on another block than the one before it. Nothing was written.
    #[error("channel {channel}: block {number} names previous hash {got}, the block before it has {expected}")]
    Fork {
        /// The channel.
        channel: ChannelId,
        /// The block.
        number: BlockNumber,
        /// Lowercase hex: hash of the header before it.
        expected: String,
        /// Lowercase hex: what the block says.
        got: String,
    },
    /// The permit to write that was passed is another ledger's. Nothing was written.
    #[error("channel {channel}: the permit to write is that of another ledger")]
    OtherLedger {
        /// The channel.
        channel: ChannelId,
    },
    /// The sequence numbers of pending envelopes do not increase. Nothing was written.
    #[error("channel {channel}: pending envelope {sequence} comes too late, {next} or above is next")]
    Sequence {
        /// The channel.
        channel: ChannelId,
        /// The number of the envelope.
        sequence: u64,
        /// The smallest number that would do.
        next: u64,
    },
    /// An envelope is too large for the pending log. Nothing was written.
    #[error("channel {channel}: envelope of {bytes} bytes exceeds what the pending log can hold")]
    TooLarge {
        /// The channel.
        channel: ChannelId,
        /// Its size in bytes.
        bytes: usize,
    },
    /// The disk, or the database on it, failed. Whether the commit is in the file is known only when it is opened again;
    /// until then every write is rejected.
    #[error("channel {channel}: commit at block {number}")]
    Append {
        /// The channel.
        channel: ChannelId,
        /// The next block's number when it happened.
        number: BlockNumber,
        /// The error below.
        #[source]
        cause: LedgerError,
    },
    /// A commit failed before. Nothing was written.
    #[error("channel {channel}: the ledger accepts no more writes until it is reopened, because: {reason}")]
    Refused {
        /// The channel.
        channel: ChannelId,
        /// The failure, with its causes.
        reason: String,
        /// Whether the disk was full then.
        is_disk_full: bool,
    },
}

/// Returns whether an error of this crate says that the disk is full, or the quota on it used up.
pub fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_io = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(of_io) {
            return true;
        }
        if let Some(CommitError::Refused { is_disk_full, .. }) = error.downcast_ref() {
            return *is_disk_full;
        }
        // redb's errors name no sources
        if let Some(LedgerError::Database(cause)) = error.downcast_ref()
            && let redb::Error::Io(cause) = &**cause
        {
            return of_io(cause);
        }
        next = error.source();
    }
    false
}

/// The reason why something stored could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A block.
    #[error("channel {channel}: read block {number}")]
    Block {
        /// The channel.
        channel: ChannelId,
        /// The block.
        number: BlockNumber,
        /// The error below.
        #[source]
        cause: LedgerError,
    },
    /// The pending log.
    #[error("channel {channel}: read pending envelopes")]
    Pending {
        /// The channel.
        channel: ChannelId,
        /// The error below.
        #[source]
        cause: LedgerError,
    },
    /// A named value.
    #[error("channel {channel}: read value {name}")]
    Value {
        /// The channel.
        channel: ChannelId,
        /// Its name.
        name: String,
        /// The error below.
        #[source]
        cause: LedgerError,
    },
}

impl LedgerError {
    /// Returns whether the database rejects work because of an earlier failure; it goes on until it is opened again.
    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self, Self::Database(e) if matches!(**e, redb::Error::PreviousIo | redb::Error::DatabaseClosed))
    }

    /// The text with those of its sources.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

macro_rules! database_faults {
    ($($error:ty),*) => { $(
        impl From<$error> for LedgerError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )* };
}
database_faults!(
    redb::CommitError,
    redb::CompactionError,
    redb::CursorError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

/// Runs what calls the database. redb may panic on a file that something else has changed; that costs this channel its
/// ledger, not the process a thread.
pub(crate) fn catch_database_panic<T>(work: impl FnOnce() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(LedgerError::Panicked(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}

/// Lowercase hex, for messages.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // writing to a string cannot fail
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_database_is_an_error() {
        let result: Result<(), LedgerError> = catch_database_panic(|| panic!("page {} is gone", 7));
        assert_eq!(result.map_err(|e| e.to_string()), Err("the database panicked: page 7 is gone".to_owned()));
    }
}
