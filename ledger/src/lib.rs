//! The ledger of one channel: its blocks in a redb database, and the envelopes acknowledged but not yet in a block in a
//! file beside it.
//!
//! ```text
//!  commit (one at a time) ──► redb, durable ──► pending log ──► newest blocks in memory ──► heights (watch)
//!  block(number) ◄── newest blocks in memory, else a redb read transaction
//! ```
//!
//! Everything that changes goes through [`Ledger::commit`], and what it changes is seen only once it is durable. To commit
//! takes a [`WritePermit`], of which there is one. Readers take no lock while they read the disk. Tables and rows are drawn in `docs/ledger-format.md`.
//!
//! Back of the envelope (2 cores, virtual disk): a commit of one pending envelope 0.11 ms, of one block of ten 1.3 KiB
//! envelopes 0.6 ms, of fifty such blocks 2.8 ms CPU a MiB; a block from memory 0.1 µs, from the disk 2 ms a MiB
//! (benches/commit.rs).

mod cache;
mod commit;
mod compact;
mod database;
mod error;
mod format;
mod horizon;
mod idle;
mod ledger;
mod open;
mod pending;
mod prune;
pub mod raft_log;
mod read;
mod recent_blocks;
mod recovery;
mod sealed;
mod slot;
mod stats;
mod storage;
pub mod transfer;
mod verify;
mod write_permit;

pub use cache::BlockCache;
pub use commit::CommitBatch;
pub use compact::{CompactError, Compacted};
pub use error::{CommitError, LedgerError, OpenError, ReadError, is_disk_full};
pub use format::FORMAT;
pub use idle::OpenDatabases;
pub use ledger::{Ledger, Options};
pub use pending::PendingEnvelope;
pub use prune::{PruneError, PruneStep};
pub use stats::{Space, Stats};
pub use verify::{LedgerVerifyError, VerifyReport};
pub use write_permit::WritePermit;
