//! The requests of a chain to its writer.

use std::sync::Arc;

use actix::Message;
use bytes::Bytes;
use orderer_core::block::{EncodedBlock, Hash};
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::types::{ChannelId, ConfigSequence};
use tokio::sync::OwnedSemaphorePermit;

use crate::channel::ChannelCreated;
use crate::mailbox::Reply;

/// A message with its place in the pending log.
#[derive(Debug)]
pub struct PendingMessage {
    pub(crate) envelope: SignedEnvelope,
    pub(crate) validated_at: ConfigSequence,
    pub(crate) is_config: bool,
    pub(crate) sequence: u64,
}

/// One decision of the chain.
#[derive(Debug)]
pub enum WriteOp {
    /// The message waits for its block: into the pending log.
    AppendPending(Arc<PendingMessage>),
    /// A block.
    WriteBlock {
        /// Its envelopes, in their order.
        envelopes: Vec<SignedEnvelope>,
        /// Messages of the pending log that come before this sequence are in a block now.
        pending_below: u64,
        /// Metadata for the block, which the chain finds in its last block when it is built again.
        consenter_metadata: Bytes,
        /// The hash of the header that the block must get, if the consenters have agreed on one.
        header_hash: Option<Hash>,
    },
    /// A block with one config message alone.
    WriteConfigBlock {
        /// CONFIG or ORDERER_TRANSACTION.
        envelope: SignedEnvelope,
        /// Messages of the pending log that come before this sequence are in a block now.
        pending_below: u64,
        /// Metadata for the block, which the chain finds in its last block when it is built again.
        consenter_metadata: Bytes,
        /// The hash of the header that the block must get, if the consenters have agreed on one.
        header_hash: Option<Hash>,
        /// The configuration that is in force from this block on.
        next: Option<Arc<ChannelSnapshot>>,
        /// The channel that exists from this block on.
        created: Option<Box<ChannelCreated>>,
    },
    /// A block that another orderer has signed, as it is. The sender of the request has verified it.
    CopyBlock {
        /// The next one.
        block: EncodedBlock,
        /// The configuration that is in force from this block on.
        next: Option<Arc<ChannelSnapshot>>,
    },
}

/// A chain's request for the messages that it accepts. The replies are sent when the ops, and all before them, are durable.
#[derive(Default, Message)]
#[rtype(result = "()")]
pub struct WriteRequest {
    /// The decisions, in their order.
    pub ops: Vec<WriteOp>,
    /// Replies for the messages that caused them, if their senders wait for one.
    pub replies: Vec<Reply>,
    /// Permits that the chain acquired for them, released when they are durable.
    pub rooms: Vec<OwnedSemaphorePermit>,
}

impl WriteOp {
    /// Returns whether there is another configuration behind it.
    pub(super) fn configures(&self) -> bool {
        matches!(self, Self::WriteConfigBlock { next: Some(_), .. } | Self::CopyBlock { next: Some(_), .. })
    }

    /// Returns whether this node signs it.
    pub(super) fn signs(&self) -> bool {
        matches!(self, Self::WriteBlock { .. } | Self::WriteConfigBlock { .. })
    }

    /// The channel that exists from this block on.
    pub(super) fn creates(&self) -> Option<ChannelId> {
        match self {
            Self::WriteConfigBlock { created: Some(created), .. } => Some(created.ledger.channel().clone()),
            _ => None,
        }
    }
}
