//! Ordering by etcdraft, Fabric's Raft: the part of a consenter that makes decisions and performs no I/O.

mod acknowledge;
mod active;
mod applying;
mod consensus_update;
mod event;
mod leading;
mod machine;
mod members;
mod outbox;
mod restore;
#[cfg(test)]
mod tests;

pub use acknowledge::Acknowledge;
pub use event::{ChainFailed, Effect, Event, Examined, LogWrite, NewBlock, Origin, Rules, Submission};
pub use machine::{ChainStatus, Machine};
pub use members::{Change, Members, MembersError, Step};
pub use orderer_raft::Role;
pub use restore::{
    LogContents, LogMismatch, Start, check_imported, first_candidate, first_log, snapshot_bytes, tick_interval,
};
