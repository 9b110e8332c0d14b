//! Chains that leave the ledger as files, and come into it: a plain file of blocks, and the folder of block files that
//! Fabric's orderers keep. Both are read and written block by block.

mod error;
pub mod etcd;
mod fabric_block;
mod import;
mod reader;
mod writer;

pub use error::TransferError;
pub use import::{Import, Imported};
pub use reader::{BlockFileSummary, BlockReader, TornTail};
pub use writer::BlockFileWriter;

/// How blocks lie in a file. In both each has its length before it, as a protobuf varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileLayout {
    /// Serialized `common.Block`s, in one file.
    Plain,
    /// Fabric's block files, which are numbered; a file gets no block that would make it larger than 64 MiB.
    Fabric,
}

/// Fabric's files are named so, with six digits at least behind it.
const BLOCK_FILE_PREFIX: &str = "blockfile_";
