//! What a Raft chain is told.

use actix::Message;
use bytes::Bytes;
use fabric_proto::raftpb;
use orderer_core::ordering::raft::{Event, Submission};
use tokio::sync::OwnedSemaphorePermit;

/// From another consenter: a message of the protocol.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Step {
    /// The sender, by its certificate.
    pub(super) from: u64,
    pub(super) message: Box<raftpb::Message>,
    pub(super) metadata: Bytes,
    /// Room among what other consenters have sent, until the machine has it.
    pub(super) _room: OwnedSemaphorePermit,
}

/// From another consenter: an envelope that it forwards.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Forwarded {
    pub(super) submission: Submission,
    /// Room among forwarded envelopes, until it has its place in a block or is with another consenter.
    pub(super) room: OwnedSemaphorePermit,
}

/// Work that was done elsewhere, or by one of the writers, has this outcome.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Happened(pub(super) Event);
