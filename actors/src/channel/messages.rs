//! What a channel's ChainSupport is told and asked, and what the Registrar is told of channels. Whoever sends one of these
//! knows the message and not the actor.

use std::fmt;
use std::sync::Arc;

use actix::{Actor, Addr, Handler, Message, Recipient};
use orderer_core::config::ChannelSnapshot;
use orderer_ledger::Ledger;
use tokio::sync::oneshot;

/// From a Deliver stream, when it begins to follow the channel. Answered at once.
#[derive(Message)]
#[rtype(result = "Following")]
pub struct Follow {
    /// The subscriber's address, for logs and views.
    pub client: String,
}

/// A place among the channel's followers, given back when dropped.
pub struct Following {
    id: u64,
    support: Recipient<Unfollow>,
}

impl Following {
    /// The place `id` of the channel that `support` owns.
    pub(crate) fn new(id: u64, support: Recipient<Unfollow>) -> Self {
        Self { id, support }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "one a stream")]
        self.support.do_send(Unfollow(self.id));
    }
}

/// From a follower's place: it is free again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unfollow(pub(crate) u64);

/// From the Registrar at shutdown: stop the chain when all it took is durable, and answer then.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopChain {
    /// Told when the chain has stopped.
    pub done: oneshot::Sender<()>,
}

/// From the Registrar, because a person asked: the cause is said to be gone. Answered when the ledger is open again; the
/// chain may still be starting then.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TryAgain {
    pub(crate) reply: oneshot::Sender<Result<(), RestartError>>,
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

/// A channel whose ledger was just made: by a BlockWriter, when the block that creates it is durable.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct NewChannel {
    /// With its genesis block in it.
    pub ledger: Arc<Ledger>,
    /// Its configuration.
    pub snapshot: Arc<ChannelSnapshot>,
}

/// From the system channel's support, when its chain is built again: are there channels on the disk that are not known?
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LookForChannels;

/// The actor that owns a channel's chain, for those who know the channel.
pub struct SupportHandle {
    follow: Recipient<Follow>,
    stop: Recipient<StopChain>,
    try_again: Recipient<TryAgain>,
    #[cfg(test)]
    kill: Recipient<Kill>,
}

impl SupportHandle {
    /// Of this actor.
    #[cfg(not(test))]
    pub(crate) fn new<A>(support: &Addr<A>) -> Self
    where
        A: Actor<Context = actix::Context<A>> + Handler<Follow> + Handler<StopChain> + Handler<TryAgain>,
    {
        let support = support.clone();
        Self { follow: support.clone().recipient(), stop: support.clone().recipient(), try_again: support.recipient() }
    }

    /// Of this actor.
    #[cfg(test)]
    pub(crate) fn new<A>(support: &Addr<A>) -> Self
    where
        A: Actor<Context = actix::Context<A>>
            + Handler<Follow>
            + Handler<StopChain>
            + Handler<TryAgain>
            + Handler<Kill>,
    {
        let support = support.clone();
        Self {
            follow: support.clone().recipient(),
            stop: support.clone().recipient(),
            try_again: support.clone().recipient(),
            kill: support.recipient(),
        }
    }

    /// A place among the channel's followers for this client; none if the actor is gone.
    ///
    /// # Cancel safety
    /// Dropped before it is answered, the place is given back.
    pub async fn follow(&self, client: String) -> Option<Following> {
        self.follow.send(Follow { client }).await.ok()
    }

    /// Has the chain stopped.
    pub(crate) fn stop(&self, done: oneshot::Sender<()>) {
        #[expect(clippy::disallowed_methods, reason = "once in the life of a support")]
        self.stop.do_send(StopChain { done });
    }

    /// Has a failed chain started again.
    pub(crate) fn try_again(&self, reply: oneshot::Sender<Result<(), RestartError>>) {
        #[expect(clippy::disallowed_methods, reason = "a person asked")]
        self.try_again.do_send(TryAgain { reply });
    }

    /// Tests only: has one of the channel's actors die.
    #[cfg(test)]
    pub(crate) async fn kill(&self, kill: Kill) {
        let _ = self.kill.send(kill).await;
    }
}

impl fmt::Debug for SupportHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupportHandle").finish_non_exhaustive()
    }
}

/// Tests only: kills one of the channel's actors by a panic in its handler.
#[cfg(test)]
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) enum Kill {
    Chain,
    Writer,
    Support,
}
