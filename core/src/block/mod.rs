//! Blocks: how they are hashed, made, and kept as bytes that nobody has to encode again.

mod assemble;
mod chain;
mod encoded;
mod header;
mod verify;

pub use assemble::{Contents, assemble};
pub use chain::{ChainCheck, ChainError};
pub use encoded::{BlockError, EncodedBlock, status_frame};
pub use header::{Hash, data_hash, header_bytes, header_hash};
pub use verify::{VerifyError, verify_signatures};

/// How many slots a block's metadata has.
pub const METADATA_SLOTS: usize = 5;
