//! Ordering by etcdraft, Fabric's Raft: the part of a consenter that decides, without I/O.

mod active;
mod applying;
mod event;
mod leading;
mod machine;
mod members;
mod outbox;
mod restore;
#[cfg(test)]
mod tests;

pub use event::{ChainFailed, Effect, Event, Examined, LogWrite, NewBlock, Origin, Rules, Submission};
pub use machine::{ChainStatus, Machine};
pub use members::{Change, Members, MembersError, Step};
pub use restore::{LogContents, Start, first_candidate, first_log, snapshot_bytes, tick_interval};
