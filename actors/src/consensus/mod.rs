//! What orders a channel: the interface between the node and its consenters, each of which has a folder here.
//!
//! Nothing outside these folders names a consenter but the place where the node is built, which makes one of each kind and
//! gives them to the tree as [`Consenters`]. For every channel whose configuration it serves, a consenter starts a chain: an
//! actor, or several, below the channel's ChainSupport. A chain
//!
//! - continues where the ledger ends ([`ConsenterSupport`] has the newest block, the configuration in force, and what was
//!   acknowledged and is in no block);
//! - opens the channel's gate to the actor that takes envelopes, each with the configuration sequence that it was validated
//!   under, and closes it while it can take none;
//! - says how the channel stands (who is reached, why not yet) through its `Voice`;
//! - hands its decisions to the BlockWriter, with the metadata that it wants to find in its last block when it is started
//!   again;
//! - ends by itself through its [`ExitGuard`], which says whether it can be started again and what an operator has to do if
//!   it cannot, or because it is asked to through its [`ChainHandle`].
//!
//! A consenter is one value for the whole node: what the chains of all channels share (connections, settings, what comes from
//! other nodes for a channel) belongs to it and not to the interface.

pub mod kafka;
pub(crate) mod repair;
pub mod solo;

use std::fmt;
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Recipient};
use orderer_core::config::Engine;
use orderer_core::own::NotOrderedHere;

use crate::block_writer::BlockWriter;
use crate::chain_state::ChainState;
use crate::channel::{Channel, Voice};
use crate::mailbox::Counted;
use crate::node_context::NodeContext;
use crate::status::{StatusBoard, StatusCell};
#[cfg(test)]
use crate::supervision::Crash;
use crate::supervision::{Abandon, ChildGone, ExitGuard, Halt};

/// One way to order channels.
pub trait Consenter: Send + Sync {
    /// Whether channels that are ordered so are its own.
    fn serves(&self, engine: &Engine) -> bool;

    /// Starts the chain of one channel. Called on the channel's arbiter, with nothing of an earlier chain left that could
    /// write to the ledger; must not block.
    ///
    /// # Errors
    /// If no chain of this kind can go on where the ledger ends. The channel fails then, until an operator has acted.
    fn start(&self, engine: &Engine, support: ConsenterSupport) -> Result<ChainHandle, StartError>;
}

/// Why no chain is started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration asks for what this node does not do.
    #[error(transparent)]
    NotServed(#[from] NotOrderedHere),
    /// It was built without a consenter of this kind.
    #[error("this node has no consenter for channels that are ordered by {0:?}")]
    NoConsenter(Engine),
    /// What the ledger holds, or the configuration names, is not for this consenter.
    #[error("{0}")]
    Unsuitable(String),
}

/// The consenters of a node.
#[derive(Default)]
pub struct Consenters(Vec<Box<dyn Consenter>>);

impl Consenters {
    /// And this one.
    #[must_use]
    pub fn with(mut self, consenter: impl Consenter + 'static) -> Self {
        self.0.push(Box::new(consenter));
        self
    }

    /// Starts a chain with the first consenter that serves the engine.
    ///
    /// # Errors
    /// As of [`Consenter::start`], and if there is no such consenter.
    pub(crate) fn start(&self, engine: &Engine, support: ConsenterSupport) -> Result<ChainHandle, StartError> {
        match self.0.iter().find(|consenter| consenter.serves(engine)) {
            Some(consenter) => consenter.start(engine, support),
            None => Err(StartError::NoConsenter(engine.clone())),
        }
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
    /// Where the ledger ends.
    pub(crate) state: ChainState,
    /// Makes its decisions durable.
    pub(crate) writer: Counted<BlockWriter>,
    /// Its right to say how the channel stands.
    pub(crate) voice: Voice,
    /// For the actors that it consists of.
    pub(crate) children: Children,
}

/// Makes what every actor below a ChainSupport has: a cell to publish to and a guard that reports its end. An actor is named by
/// its path below the channel, such as `kafka-chain/kafka-producer`.
#[derive(Clone)]
pub struct Children {
    board: StatusBoard,
    channel: String,
    restarts: u64,
    parent: Recipient<ChildGone>,
    generation: u64,
}

impl Children {
    /// The `generation`th children of `parent`, which were started `restarts` times before.
    pub(crate) fn new(
        context: &NodeContext,
        channel: &Channel,
        restarts: u64,
        parent: Recipient<ChildGone>,
        generation: u64,
    ) -> Self {
        let channel = format!("registrar/{}", channel.id());
        Self { board: context.board.clone(), channel, restarts, parent, generation }
    }

    /// The actor's cell, at the beginning of another life.
    pub(crate) fn cell(&self, path: &str) -> Arc<StatusCell> {
        let cell = self.board.cell(&format!("{}/{path}", self.channel));
        cell.begin(self.restarts);
        cell
    }

    /// The actor's last field.
    pub(crate) fn guard(&self, path: &'static str) -> ExitGuard {
        ExitGuard::new(self.parent.clone(), path, self.generation)
    }
}

/// What the actor has that stands for a chain.
#[cfg(not(test))]
pub trait ChainActor: Actor<Context = Context<Self>> + Handler<Halt> + Handler<Abandon> {}
#[cfg(not(test))]
impl<A: Actor<Context = Context<Self>> + Handler<Halt> + Handler<Abandon>> ChainActor for A {}

/// The same, and that tests can have it panic.
#[cfg(test)]
pub trait ChainActor: Actor<Context = Context<Self>> + Handler<Halt> + Handler<Abandon> + Handler<Crash> {}
#[cfg(test)]
impl<A: Actor<Context = Context<Self>> + Handler<Halt> + Handler<Abandon> + Handler<Crash>> ChainActor for A {}

/// How ChainSupport ends a chain, whatever it is.
pub struct ChainHandle {
    halt: Recipient<Halt>,
    abandon: Recipient<Abandon>,
    #[cfg(test)]
    crash: Recipient<Crash>,
}

impl ChainHandle {
    /// Of the chain that this actor stands for. It ends with it: the chain's other actors are its own affair.
    pub fn new<A: ChainActor>(chain: &Addr<A>) -> Self {
        Self {
            halt: chain.clone().recipient(),
            abandon: chain.clone().recipient(),
            #[cfg(test)]
            crash: chain.clone().recipient(),
        }
    }

    /// Has the chain write what must not be lost, have its writer say when that is durable, and stop.
    #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
    pub(crate) fn halt(&self, halt: Halt) {
        self.halt.do_send(halt);
    }

    /// Has it stop at once.
    #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
    pub(crate) fn abandon(&self) {
        self.abandon.do_send(Abandon);
    }

    /// Tests only: has it panic.
    #[cfg(test)]
    #[expect(clippy::disallowed_methods, reason = "once in a test")]
    pub(crate) fn crash(&self) {
        self.crash.do_send(Crash);
    }
}
