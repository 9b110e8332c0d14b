//! What a chain asks of its writer.

use std::sync::Arc;

use actix::Message;
use bytes::Bytes;
use orderer_core::channel::{ChannelId, ConfigSequence};
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::SignedEnvelope;
use tokio::sync::OwnedSemaphorePermit;

use crate::channel::NewChannel;
use crate::mailbox::Reply;

/// A message with its place in the pending log.
#[derive(Debug)]
pub struct Accepted {
    pub(crate) envelope: SignedEnvelope,
    pub(crate) checked_at: ConfigSequence,
    pub(crate) is_config: bool,
    pub(crate) sequence: u64,
}

/// One decision of the chain.
#[derive(Debug)]
pub enum Op {
    /// The message waits for its block: into the pending log.
    Hold(Arc<Accepted>),
    /// A block.
    Block {
        /// Of these.
        envelopes: Vec<SignedEnvelope>,
        /// Messages of the pending log that come before this sequence are in a block now.
        pending_below: u64,
        /// What the chain wants to find in its last block when it is built again.
        consenter_metadata: Bytes,
    },
    /// A block with one config message alone.
    ConfigBlock {
        /// CONFIG or ORDERER_TRANSACTION.
        envelope: SignedEnvelope,
        /// As of a block.
        pending_below: u64,
        /// As of a block.
        consenter_metadata: Bytes,
        /// The configuration that is in force from this block on.
        next: Option<Arc<ChannelSnapshot>>,
        /// The channel that exists from this block on.
        created: Option<Box<NewChannel>>,
    },
}

/// From the chain, for every message it takes. The reply is sent when the ops, and all before them, are durable.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Write {
    /// In their order.
    pub ops: Vec<Op>,
    /// Of the message that caused them, if somebody waits.
    pub reply: Option<Reply>,
    /// Room that the chain took for them, given back when they are durable.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Op {
    /// The channel that exists from this block on.
    pub(super) fn creates(&self) -> Option<ChannelId> {
        match self {
            Self::ConfigBlock { created: Some(created), .. } => Some(created.ledger.channel().clone()),
            _ => None,
        }
    }
}
