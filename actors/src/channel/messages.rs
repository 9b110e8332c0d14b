//! Messages to a channel's ChainSupport, and reports to the Registrar about channels. Senders depend on these messages
//! and not on the actors.

use std::fmt;
use std::sync::Arc;

use actix::{Actor, Addr, Handler, Message, Recipient};
use orderer_core::config::ChannelSnapshot;
use orderer_ledger::Ledger;
use tokio::sync::oneshot;

/// Message of a Deliver stream that subscribes to the channel. Its response is immediate.
#[derive(Message)]
#[rtype(result = "SubscriptionGuard")]
pub struct Subscribe {
    /// The subscriber's address, for logs and views.
    pub client: String,
}

/// An entry in the channel's list of subscribers, removed when it is dropped.
pub struct SubscriptionGuard {
    id: u64,
    support: Recipient<Unsubscribe>,
}

impl SubscriptionGuard {
    /// Creates the entry `id` in the list of the channel that `support` owns.
    pub(crate) fn new(id: u64, support: Recipient<Unsubscribe>) -> Self {
        Self { id, support }
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "one a stream")]
        self.support.do_send(Unsubscribe(self.id));
    }
}

/// Message of a dropped subscription: its entry is removed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unsubscribe(pub(crate) u64);

/// Message of the Registrar at shutdown: stop the chain when everything that it accepted is durable, and respond then.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopChain {
    /// Receives `()` when the chain has stopped.
    pub done: oneshot::Sender<()>,
}

/// Message of the Registrar on an operator's request, which implies that the cause is resolved. The response is sent
/// when the ledger is open again; the chain may still be starting then.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RestartChain {
    pub(crate) reply: oneshot::Sender<Result<(), RestartError>>,
}

/// The reason why a channel is not restarted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// The channel does not exist.
    #[error("cannot restart: channel does not exist")]
    NoSuchChannel,
    /// The channel has not failed.
    #[error("cannot restart: the channel has not failed: {0}")]
    NotFailed(String),
    /// The ledger cannot be opened.
    #[error("cannot restart: {0}")]
    Ledger(String),
    /// Another request for this channel is pending.
    #[error("cannot restart: channel pending {0}")]
    OperationPending(&'static str),
    /// The node is stopping, or its Registrar restarts.
    #[error("cannot restart: the orderer accepts no such request now")]
    Unavailable,
}

/// Reports that a channel's ledger was created. Sent by a BlockWriter when the block that creates the channel is
/// durable.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ChannelCreated {
    /// The ledger with its genesis block.
    pub ledger: Arc<Ledger>,
    /// Its configuration.
    pub snapshot: Arc<ChannelSnapshot>,
}

/// Message of the system channel's support when its chain is restarted: search the disk for unknown channels.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ScanForChannels;

/// The actor that owns a channel's chain, for holders of the channel.
pub struct ChainSupportHandle {
    follow: Recipient<Subscribe>,
    stop: Recipient<StopChain>,
    try_again: Recipient<RestartChain>,
    #[cfg(test)]
    kill: Recipient<KillActor>,
}

impl ChainSupportHandle {
    /// Creates the handle of this actor.
    #[cfg(not(test))]
    pub(crate) fn new<A>(support: &Addr<A>) -> Self
    where
        A: Actor<Context = actix::Context<A>> + Handler<Subscribe> + Handler<StopChain> + Handler<RestartChain>,
    {
        let support = support.clone();
        Self { follow: support.clone().recipient(), stop: support.clone().recipient(), try_again: support.recipient() }
    }

    /// Creates the handle of this actor.
    #[cfg(test)]
    pub(crate) fn new<A>(support: &Addr<A>) -> Self
    where
        A: Actor<Context = actix::Context<A>>
            + Handler<Subscribe>
            + Handler<StopChain>
            + Handler<RestartChain>
            + Handler<KillActor>,
    {
        let support = support.clone();
        Self {
            follow: support.clone().recipient(),
            stop: support.clone().recipient(),
            try_again: support.clone().recipient(),
            kill: support.recipient(),
        }
    }

    /// Subscribes this client to the channel; `None` if the actor is gone.
    ///
    /// # Cancel safety
    /// If the call is dropped before the response, the subscription is removed.
    pub async fn follow(&self, client: String) -> Option<SubscriptionGuard> {
        self.follow.send(Subscribe { client }).await.ok()
    }

    /// Requests that the chain stops. A report is sent on `done` when it has stopped.
    pub(crate) fn stop(&self, done: oneshot::Sender<()>) {
        #[expect(clippy::disallowed_methods, reason = "once in the life of a support")]
        self.stop.do_send(StopChain { done });
    }

    /// Requests that a failed chain is restarted.
    pub(crate) fn try_again(&self, reply: oneshot::Sender<Result<(), RestartError>>) {
        #[expect(clippy::disallowed_methods, reason = "a person asked")]
        self.try_again.do_send(RestartChain { reply });
    }

    /// Tests only: terminates one of the channel's actors.
    #[cfg(test)]
    pub(crate) async fn kill(&self, kill: KillActor) {
        let _ = self.kill.send(kill).await;
    }
}

impl fmt::Debug for ChainSupportHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainSupportHandle").finish_non_exhaustive()
    }
}

/// Tests only: terminates one of the channel's actors by a panic in its handler.
#[cfg(test)]
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) enum KillActor {
    Chain,
    Writer,
    Support,
}
