//! Ordering by etcdraft, Fabric's Raft: the part of a consenter that makes decisions and performs no I/O.

mod acknowledge;
mod active_nodes;
mod applying;
mod consensus_update;
mod consenter_set;
mod event;
mod forwarding;
mod leader_state;
mod machine;
mod outbox;
mod restore;
mod suspicion;
#[cfg(test)]
mod tests;

pub use acknowledge::AcknowledgePoint;
pub use consenter_set::{ConsenterSet, ConsenterSetChange, ConsenterSetError, MembershipStep};
pub use event::{
    ChainFailed, Effect, EnvelopeOrigin, Event, LogWrite, NewBlock, OrderingConfig, RevalidationResult,
    SubmittedEnvelope,
};
pub use machine::{ChainStatus, RaftMachine};
pub use orderer_raft::Role;
pub use restore::{
    InitialState, LogContents, LogMismatch, check_imported, first_candidate, first_log, snapshot_bytes, tick_interval,
};
