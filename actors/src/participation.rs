//! Channel participation: joins channels, removes them, and restarts failed ones, for callers outside the actor tree.
//!
//! A request goes to the Registrar as a message and is answered when its effect is durable.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::{Actor, Addr, Handler, Message, Recipient};
use arc_swap::{ArcSwap, ArcSwapOption};
use orderer_core::block::EncodedBlock;
use orderer_core::config::ChannelSnapshot;
use orderer_core::types::{BlockNumber, ChannelId};
use tokio::sync::oneshot;

use crate::channel::Channel;
use crate::status::StatusCell;

pub use crate::channel::RestartError;

/// The reason why a channel is not joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The block is of no use to any orderer.
    #[error("invalid join block: {0}")]
    Invalid(String),
    /// The block is good, and this node could not order the channel.
    #[error("cannot join: {0}")]
    Unsupported(String),
    /// Only a genesis block has nothing before it, and the others cannot be fetched.
    #[error(
        "cannot join: block {0} is not the channel's first, and those before it are fetched from other orderers only for channels that are ordered by Raft; join with block 0, an orderer on Kafka then reads the rest from the topic"
    )]
    NotGenesis(BlockNumber),
    /// Channels are created through it.
    #[error("cannot join: system channel exists")]
    SystemChannelExists,
    /// The channel exists already.
    #[error("cannot join: channel already exists")]
    ChannelExists,
    /// A system channel comes first or not at all.
    #[error("cannot join: application channels already exist")]
    ApplicationChannelsExist,
    /// Another request for this channel is pending.
    #[error("cannot join: channel pending {0}")]
    OperationPending(&'static str),
    /// The ledger could not be created.
    #[error("cannot join: {0}")]
    Ledger(String),
    /// The node is stopping, or its Registrar restarts.
    #[error("cannot join: the orderer accepts no such request now")]
    Unavailable,
}

/// The reason why a channel is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// Application channels are removed after it.
    #[error("cannot remove: system channel exists")]
    SystemChannelExists,
    /// The channel does not exist.
    #[error("cannot remove: channel does not exist")]
    NoSuchChannel,
    /// Another request for this channel is pending.
    #[error("cannot remove: channel pending {0}")]
    OperationPending(&'static str),
    /// The directory could not be removed; the channel is there as before, and stopped.
    #[error("cannot remove: {0}")]
    Ledger(String),
    /// The node is stopping, or its Registrar restarts.
    #[error("cannot remove: the orderer accepts no such request now")]
    Unavailable,
}

/// A block that a channel can be joined with.
#[derive(Debug)]
pub struct JoinBlock {
    pub(crate) block: EncodedBlock,
    pub(crate) snapshot: ChannelSnapshot,
}

impl JoinBlock {
    /// The channel.
    pub fn channel(&self) -> &ChannelId {
        self.snapshot.channel()
    }
}

/// The way to the Registrar for requests to join, remove and restart channels. It outlives the Registrar.
#[derive(Default)]
pub struct ChannelParticipation {
    registrar: ArcSwapOption<RegistrarHandle>,
    status: ArcSwapOption<StatusCell>,
    removing: ArcSwap<BTreeSet<ChannelId>>,
}

/// Asks the Registrar to create this channel.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Join {
    pub(crate) block: JoinBlock,
    pub(crate) reply: oneshot::Sender<Result<Arc<Channel>, JoinError>>,
}

/// Asks the Registrar to stop this channel and to remove it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Remove {
    pub(crate) id: ChannelId,
    pub(crate) reply: oneshot::Sender<Result<(), RemoveError>>,
}

/// Asks the Registrar to start this failed channel again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Restart {
    pub(crate) id: ChannelId,
    pub(crate) reply: oneshot::Sender<Result<(), RestartError>>,
}

/// The Registrar, as far as it is asked here.
pub(crate) struct RegistrarHandle {
    join: Recipient<Join>,
    remove: Recipient<Remove>,
    restart: Recipient<Restart>,
}

impl RegistrarHandle {
    /// Creates the handle of this actor.
    pub(crate) fn new<A>(registrar: &Addr<A>) -> Self
    where
        A: Actor<Context = actix::Context<A>> + Handler<Join> + Handler<Remove> + Handler<Restart>,
    {
        let registrar = registrar.clone();
        Self {
            join: registrar.clone().recipient(),
            remove: registrar.clone().recipient(),
            restart: registrar.recipient(),
        }
    }
}

impl ChannelParticipation {
    /// Creates the channel of this block and starts it. Returns when the ledger is durable; the chain may still be starting
    /// then.
    ///
    /// # Cancel safety
    /// A dropped call does not cancel the request.
    pub async fn join(&self, block: JoinBlock) -> Result<Arc<Channel>, JoinError> {
        self.ask(|to| &to.join, |reply| Join { block, reply }).await.unwrap_or(Err(JoinError::Unavailable))
    }

    /// Stops the channel and removes it from the disk. Its subscribers are answered that it is gone. A topic stays as it is.
    ///
    /// # Cancel safety
    /// A dropped call does not cancel the request.
    pub async fn remove(&self, id: ChannelId) -> Result<(), RemoveError> {
        self.ask(|to| &to.remove, |reply| Remove { id, reply }).await.unwrap_or(Err(RemoveError::Unavailable))
    }

    /// Starts a failed channel again, with all its restarts before it.
    pub async fn restart(&self, id: ChannelId) -> Result<(), RestartError> {
        self.ask(|to| &to.restart, |reply| Restart { id, reply }).await.unwrap_or(Err(RestartError::Unavailable))
    }

    /// Channels that are being removed now.
    pub fn pending_removals(&self) -> Arc<BTreeSet<ChannelId>> {
        self.removing.load_full()
    }

    pub(crate) fn set_pending_removals(&self, removing: &BTreeSet<ChannelId>) {
        self.removing.store(Arc::new(removing.clone()));
    }

    pub(crate) fn set_registrar(&self, registrar: Option<RegistrarHandle>, status: &Arc<StatusCell>) {
        self.status.store(Some(Arc::clone(status)));
        self.registrar.store(registrar.map(Arc::new));
    }

    async fn ask<M, T>(
        &self,
        to: impl FnOnce(&RegistrarHandle) -> &Recipient<M>,
        message: impl FnOnce(oneshot::Sender<T>) -> M,
    ) -> Option<T>
    where
        M: Message<Result = ()> + Send + 'static,
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
            to(registrar.as_ref()?).do_send(message(reply));
        }
        answer.await.ok()
    }
}
