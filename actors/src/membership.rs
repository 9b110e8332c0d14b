//! Joining channels, leaving them, and starting failed ones again: for those who are no actors.
//!
//! What is asked here goes to the Registrar as a message and is answered when it is on the disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::{Addr, Handler, Message};
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use orderer_core::block::EncodedBlock;
use orderer_core::channel::{BlockNumber, ChannelId};
use orderer_core::config::{ChannelSnapshot, NotServed};
use orderer_core::own::NotOrderedHere;
use tokio::sync::oneshot;

use crate::chain_state::chain_text;
use crate::channel::Channel;
use crate::node_context::NodeContext;
use crate::registrar::Registrar;
use crate::status::StatusCell;

/// Why a channel is not joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The block is of no use to any orderer.
    #[error("invalid join block: {0}")]
    Invalid(String),
    /// The block is good, and this node could not order the channel.
    #[error("cannot join: {0}")]
    NotServed(String),
    /// Only a genesis block has nothing before it.
    #[error(
        "cannot join: block {0} is not the channel's first, and this orderer fetches no blocks from others; join with block 0, an orderer on Kafka then reads the rest from the topic"
    )]
    NotGenesis(BlockNumber),
    /// Channels are created through it.
    #[error("cannot join: system channel exists")]
    SystemChannelExists,
    /// It is here already.
    #[error("cannot join: channel already exists")]
    ChannelExists,
    /// A system channel comes first or not at all.
    #[error("cannot join: application channels already exist")]
    OtherChannelsExist,
    /// Somebody else's request is being carried out.
    #[error("cannot join: channel pending {0}")]
    Pending(&'static str),
    /// Its ledger could not be made.
    #[error("cannot join: {0}")]
    Ledger(String),
    /// The node is stopping, or its Registrar restarts.
    #[error("cannot join: the orderer takes no such request now")]
    Unavailable,
}

/// Why a channel is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// Application channels are removed after it.
    #[error("cannot remove: system channel exists")]
    SystemChannelExists,
    /// It is not here.
    #[error("cannot remove: channel does not exist")]
    NoSuchChannel,
    /// Somebody else's request is being carried out.
    #[error("cannot remove: channel pending {0}")]
    Pending(&'static str),
    /// Its folder could not be removed; the channel is there as before, and stopped.
    #[error("cannot remove: {0}")]
    Ledger(String),
    /// The node is stopping, or its Registrar restarts.
    #[error("cannot remove: the orderer takes no such request now")]
    Unavailable,
}

/// Why a channel is not started again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// It is not here.
    #[error("cannot restart: channel does not exist")]
    NoSuchChannel,
    /// It needs no restart.
    #[error("cannot restart: the channel has not failed: {0}")]
    NotFailed(String),
    /// Its ledger is of no use.
    #[error("cannot restart: {0}")]
    Ledger(String),
    /// Somebody else's request is being carried out.
    #[error("cannot restart: channel pending {0}")]
    Pending(&'static str),
    /// The node is stopping, or its Registrar restarts.
    #[error("cannot restart: the orderer takes no such request now")]
    Unavailable,
}

/// A block that a channel can be joined with.
#[derive(Debug)]
pub struct JoinBlock {
    pub(crate) block: EncodedBlock,
    pub(crate) snapshot: ChannelSnapshot,
}

impl JoinBlock {
    /// Reads and judges a block. Parses certificates: call it on a blocking thread.
    pub fn read(bytes: &Bytes, context: &NodeContext) -> Result<Self, JoinError> {
        let invalid = |e: &dyn std::error::Error| JoinError::Invalid(chain_text(e));
        let block = EncodedBlock::parse(bytes).map_err(|e| invalid(&e))?;
        let decoded = block.decode();
        let snapshot = ChannelSnapshot::from_config_block(&decoded, &context.catalog).map_err(|e| invalid(&e))?;
        if !snapshot.is_system_channel() && !snapshot.is_application_channel() {
            let text = "invalid config: must have at least one of application or consortiums";
            return Err(JoinError::Invalid(text.to_owned()));
        }
        if block.number() != BlockNumber::GENESIS {
            return Err(JoinError::NotGenesis(block.number()));
        }
        if !block.previous_hash().is_empty() {
            return Err(JoinError::Invalid("block 0 names a block before it".to_owned()));
        }
        snapshot.check_supported().map_err(|e| JoinError::NotServed(chain_text(&e)))?;
        context.engine(&snapshot).map_err(|e| match e {
            // Fabric's words
            NotOrderedHere::NotServed(NotServed::Consenters(_)) => {
                JoinError::NotServed(format!("failed to determine cluster membership from join-block: {e}"))
            }
            other => JoinError::NotServed(other.to_string()),
        })?;
        let ours = context.check_own_part(&context.signer.own(), &snapshot);
        ours.map_err(|e| JoinError::NotServed(chain_text(&e)))?;
        Ok(Self { block, snapshot })
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelId {
        self.snapshot.channel()
    }
}

/// See the module's description. It outlives the Registrar.
#[derive(Default)]
pub struct Membership {
    registrar: ArcSwapOption<Addr<Registrar>>,
    status: ArcSwapOption<StatusCell>,
    removing: ArcSwap<BTreeSet<ChannelId>>,
}

/// To the Registrar: make this channel.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Join {
    pub(crate) block: JoinBlock,
    pub(crate) reply: oneshot::Sender<Result<Arc<Channel>, JoinError>>,
}

/// To the Registrar: stop this channel and forget it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Remove {
    pub(crate) id: ChannelId,
    pub(crate) reply: oneshot::Sender<Result<(), RemoveError>>,
}

/// To the Registrar: try this failed channel again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Restart {
    pub(crate) id: ChannelId,
    pub(crate) reply: oneshot::Sender<Result<(), RestartError>>,
}

impl Membership {
    /// Makes the channel of this block and starts it. Answered when the ledger is on the disk; the chain may still be
    /// starting then. Not cancelled by who stops waiting.
    pub async fn join(&self, block: JoinBlock) -> Result<Arc<Channel>, JoinError> {
        self.ask(|reply| Join { block, reply }).await.unwrap_or(Err(JoinError::Unavailable))
    }

    /// Stops the channel and removes it from the disk. Who follows it is told that it is gone. A topic stays as it is.
    /// Not cancelled by who stops waiting.
    pub async fn remove(&self, id: ChannelId) -> Result<(), RemoveError> {
        self.ask(|reply| Remove { id, reply }).await.unwrap_or(Err(RemoveError::Unavailable))
    }

    /// Starts a failed channel again, with all its restarts before it.
    pub async fn restart(&self, id: ChannelId) -> Result<(), RestartError> {
        self.ask(|reply| Restart { id, reply }).await.unwrap_or(Err(RestartError::Unavailable))
    }

    /// Channels that are being removed now.
    pub fn removing(&self) -> Arc<BTreeSet<ChannelId>> {
        self.removing.load_full()
    }

    pub(crate) fn set_removing(&self, removing: &BTreeSet<ChannelId>) {
        self.removing.store(Arc::new(removing.clone()));
    }

    pub(crate) fn registrar_is(&self, registrar: Option<Addr<Registrar>>, status: &Arc<StatusCell>) {
        self.status.store(Some(Arc::clone(status)));
        self.registrar.store(registrar.map(Arc::new));
    }

    async fn ask<M, T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> M) -> Option<T>
    where
        M: Message<Result = ()> + Send + 'static,
        Registrar: Handler<M>,
    {
        let (reply, answer) = oneshot::channel();
        {
            let registrar = self.registrar.load();
            if let Some(status) = self.status.load().as_ref() {
                status.count_sent();
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a person asks, through an endpoint that bounds how many do"
            )]
            registrar.as_ref()?.do_send(message(reply));
        }
        answer.await.ok()
    }
}
