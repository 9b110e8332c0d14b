//! The interface between the node and its consenters, which order channels, each of which has a folder here.
//!
//! Nothing outside these folders names a consenter but the place where the node is built, which makes one of each kind and
//! gives them to the tree as [`Consenters`]. For every channel whose configuration it serves, a consenter starts a chain: an
//! actor, or several, below the channel's ChainSupport. A chain
//!
//! - continues where the ledger ends ([`ConsenterSupport`] has the newest block, the configuration in force, and what was
//!   acknowledged and is in no block);
//! - opens the channel's gate to the actor that takes envelopes, each with the configuration sequence that it was validated
//!   under, and closes it while it can take none;
//! - publishes the channel's state (connected or not, and the cause) through its `StateLease`;
//! - hands its decisions to the BlockWriter, with the metadata that it wants to find in its last block when it is started
//!   again;
//! - ends by itself through its [`ExitGuard`], which says whether it can be started again and what an operator has to do if
//!   it cannot, or because it is asked to through its [`ChainHandle`].
//!
//! A consenter is one value for the whole node: what the chains of all channels share (connections, settings, what comes from
//! other nodes for a channel) belongs to it and not to the interface.

pub mod kafka;
pub mod raft;
pub(crate) mod repair;
pub mod solo;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use futures_util::future::BoxFuture;
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, ConsenterKind};
use orderer_core::own::ChannelNotServed;

use crate::block_writer::BlockWriter;
use crate::chain_state::ChainResumePoint;
use crate::channel::{Channel, StateLease};
use crate::mailbox::CountedAddr;
use crate::node_context::NodeContext;
use crate::status::{StatusBoard, StatusCell};
#[cfg(test)]
use crate::supervision::PanicNow;
use crate::supervision::{ChildExited, ExitGuard, Halt, StopNow};

/// One way to order channels.
pub trait Consenter: Send + Sync {
    /// Returns whether channels that are ordered so are its own.
    fn serves(&self, engine: &ConsenterKind) -> bool;

    /// Starts the chain of one channel. Called on the channel's arbiter, with nothing of an earlier chain left that could
    /// write to the ledger; must not block.
    ///
    /// # Errors
    /// If no chain of this kind can go on where the ledger ends. The channel fails then, until an operator has acted.
    fn start(&self, engine: &ConsenterKind, support: ConsenterSupport) -> Result<ChainHandle, StartError>;

    /// Gets the first block of a channel from the orderers that a later configuration of it names; the chain, when it
    /// is started, gets those behind it. `None`: chains of this kind get no blocks from other orderers.
    ///
    /// Dropping the future ends it. It fails after `limit`, with what each orderer has answered.
    fn first_block(&self, _later: &Arc<ChannelSnapshot>, _limit: Duration) -> Option<FirstBlock> {
        None
    }
}

/// The first block of a channel, or why there is none.
pub type FirstBlock = BoxFuture<'static, Result<EncodedBlock, String>>;

/// The reason why no chain is started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration asks for what this node does not do.
    #[error(transparent)]
    NotServed(#[from] ChannelNotServed),
    /// It was built without a consenter of this kind.
    #[error("this node has no consenter for channels that are ordered by {0:?}")]
    NoConsenter(ConsenterKind),
    /// The ledger's contents or the configuration are unsuitable for this consenter.
    #[error("{0}")]
    Unsuitable(String),
}

/// The consenters of a node.
#[derive(Default)]
pub struct Consenters(Vec<Box<dyn Consenter>>);

impl Consenters {
    /// Adds a consenter.
    #[must_use]
    pub fn with(mut self, consenter: impl Consenter + 'static) -> Self {
        self.0.push(Box::new(consenter));
        self
    }

    /// Starts a chain with the first consenter that serves the engine.
    ///
    /// # Errors
    /// The errors of [`Consenter::start`], and [`StartError::NoConsenter`].
    pub(crate) fn start(&self, engine: &ConsenterKind, support: ConsenterSupport) -> Result<ChainHandle, StartError> {
        match self.0.iter().find(|consenter| consenter.serves(engine)) {
            Some(consenter) => consenter.start(engine, support),
            None => Err(StartError::NoConsenter(engine.clone())),
        }
    }
}

impl Consenters {
    /// Gets the first block of a channel through the first consenter that serves the engine; see [`Consenter::first_block`].
    pub(crate) fn first_block(
        &self,
        engine: &ConsenterKind,
        later: &Arc<ChannelSnapshot>,
        limit: Duration,
    ) -> Option<FirstBlock> {
        self.0.iter().find(|consenter| consenter.serves(engine))?.first_block(later, limit)
    }
}

impl fmt::Debug for Consenters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consenters").field("kinds", &self.0.len()).finish()
    }
}

/// All that a chain is given. Nothing in it names a consenter.
pub struct ConsenterSupport {
    /// Its channel: ledger, gate, what is counted and published.
    pub(crate) channel: Arc<Channel>,
    /// The node.
    pub(crate) context: Arc<NodeContext>,
    /// The state at the end of the ledger.
    pub(crate) state: ChainResumePoint,
    /// Makes its decisions durable.
    pub(crate) writer: CountedAddr<BlockWriter>,
    /// Its right to set the channel's state.
    pub(crate) lease: StateLease,
    /// Factory of status cells and guards for the chain's actors.
    pub(crate) children: ChildActors,
}

/// Creates the status cell that an actor below a ChainSupport publishes to, and the guard that reports its end. An actor is
/// named by its path below the channel, such as `kafka-chain/kafka-producer`.
#[derive(Clone)]
pub struct ChildActors {
    board: StatusBoard,
    channel: String,
    restarts: u64,
    parent: Recipient<ChildExited>,
    generation: u64,
}

impl ChildActors {
    /// The `generation`th children of `parent`, which were started `restarts` times before.
    pub(crate) fn new(
        context: &NodeContext,
        channel: &Channel,
        restarts: u64,
        parent: Recipient<ChildExited>,
        generation: u64,
    ) -> Self {
        let channel = format!("registrar/{}", channel.id());
        Self { board: context.status_board.clone(), channel, restarts, parent, generation }
    }

    /// The actor's cell, at the beginning of another life.
    pub(crate) fn cell(&self, path: &str) -> Arc<StatusCell> {
        let cell = self.board.cell(&format!("{}/{path}", self.channel));
        cell.begin_instance(self.restarts);
        cell
    }

    /// The actor's last field.
    pub(crate) fn guard(&self, path: &'static str) -> ExitGuard {
        ExitGuard::new(self.parent.clone(), path, self.generation)
    }
}

/// The messages that a chain's actor handles.
#[cfg(not(test))]
pub trait ChainActor: Actor<Context = Context<Self>> + Handler<Halt> + Handler<StopNow> {}
#[cfg(not(test))]
impl<A: Actor<Context = Context<Self>> + Handler<Halt> + Handler<StopNow>> ChainActor for A {}

/// The messages that a chain's actor handles; tests can have it panic, too.
#[cfg(test)]
pub trait ChainActor: Actor<Context = Context<Self>> + Handler<Halt> + Handler<StopNow> + Handler<PanicNow> {}
#[cfg(test)]
impl<A: Actor<Context = Context<Self>> + Handler<Halt> + Handler<StopNow> + Handler<PanicNow>> ChainActor for A {}

/// How ChainSupport ends a chain, whatever it is.
pub struct ChainHandle {
    halt: Recipient<Halt>,
    abandon: Recipient<StopNow>,
    #[cfg(test)]
    crash: Recipient<PanicNow>,
}

impl ChainHandle {
    /// Creates the handle of a chain by its main actor. That actor ends with the chain, and ends the chain's other actors
    /// itself.
    pub fn new<A: ChainActor>(chain: &Addr<A>) -> Self {
        Self {
            halt: chain.clone().recipient(),
            abandon: chain.clone().recipient(),
            #[cfg(test)]
            crash: chain.clone().recipient(),
        }
    }

    /// Asks the chain to write what must not be lost and to stop; its writer reports when all is durable.
    #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
    pub(crate) fn halt(&self, halt: Halt) {
        self.halt.do_send(halt);
    }

    /// Asks the chain to stop at once.
    #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
    pub(crate) fn abandon(&self) {
        self.abandon.do_send(StopNow);
    }

    /// Tests only: has it panic.
    #[cfg(test)]
    #[expect(clippy::disallowed_methods, reason = "once in a test")]
    pub(crate) fn crash(&self) {
        self.crash.do_send(PanicNow);
    }
}
