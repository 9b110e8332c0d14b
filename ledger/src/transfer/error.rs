//! The errors of files of blocks.

use std::io;
use std::path::PathBuf;

use orderer_core::block::{BlockError, ChainVerifyError};

use crate::error::{CommitError, OpenError, ReadError};

/// The reason why blocks were not exported or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The operating system reported an error.
    #[error("{action} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        action: &'static str,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// A file ends in the middle of a block.
    #[error("{}: torn, it ends within the block that begins at byte {offset}; copy or export it again", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Start of the block, in bytes from the beginning of the file.
        offset: u64,
    },
    /// The bytes are not a block.
    #[error("{}: at byte {offset}: no block", path.display())]
    Block {
        /// The file.
        path: PathBuf,
        /// Start of the block, in bytes from the beginning of the file.
        offset: u64,
        /// The error that was found.
        #[source]
        cause: BlockError,
    },
    /// The bytes are not laid out as a block is.
    #[error("{}: at byte {offset}: no block: {problem}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Start of the block, in bytes from the beginning of the file.
        offset: u64,
        /// The error that was found.
        problem: &'static str,
    },
    /// There is nothing to read.
    #[error("{}: holds no block", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// One of the numbered files is missing.
    #[error("{}: no such file, though there are later ones; copy the folder again", path.display())]
    Gap {
        /// The file.
        path: PathBuf,
    },
    /// A ledger that a peer made of a snapshot: its first blocks are somewhere else.
    #[error("{}: began with a snapshot, its first blocks are not there", path.display())]
    Snapshot {
        /// The folder.
        path: PathBuf,
    },
    /// Something is there that would be written over.
    #[error("{}: exists already; move it away, or choose another place", path.display())]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// The blocks are no chain.
    #[error("{}: not the chain of a channel", path.display())]
    Chain {
        /// The source of the blocks.
        path: PathBuf,
        /// The error that was found.
        #[source]
        cause: Box<ChainVerifyError>,
    },
    /// The ledger that is being made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A later commit to the ledger failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The ledger that is read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
