//! Blocks: hashing, assembly, verification, and an encoded form that is shared without encoding it
//! again.

mod assemble;
mod chain;
mod encoded;
mod header;
mod metadata;
mod verify;

pub use assemble::{BlockContents, assemble};
pub use chain::{ChainTip, ChainVerifier, ChainVerifyError};
pub use encoded::{BlockError, EncodedBlock, status_frame};
pub use header::{Hash, data_hash, header_bytes, header_hash};
pub use metadata::consenter_metadata;
pub use verify::{BLOCK_VALIDATION, BlockSignatureError, block_signers, verify_block_signatures};

/// Number of slots in a block's metadata.
pub const METADATA_SLOTS: usize = 5;
