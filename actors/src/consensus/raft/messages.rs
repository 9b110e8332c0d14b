//! Messages to a Raft chain.

use actix::Message;
use bytes::Bytes;
use fabric_proto::raftpb;
use orderer_core::ordering::raft::{Event, SubmittedEnvelope};
use tokio::sync::OwnedSemaphorePermit;

/// A Raft message from another consenter.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StepMessage {
    /// Raft ID of the sender, as its certificate proves.
    pub(super) from: u64,
    pub(super) message: Box<raftpb::Message>,
    pub(super) metadata: Bytes,
    /// Permit for bytes received from other consenters; released when the machine has processed the message.
    pub(super) _room: OwnedSemaphorePermit,
}

/// An envelope that another consenter forwards.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ForwardedEnvelope {
    pub(super) submission: SubmittedEnvelope,
    /// Permit for bytes of forwarded envelopes; held until the envelope has left the machine's intake.
    pub(super) room: OwnedSemaphorePermit,
}

/// The outcome of work on another thread or of a writer, or a report of the transport.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct EventOccurred(pub(super) Event);
