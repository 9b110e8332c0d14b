//! Owns one channel: its chain and writer, their restarts, and its followers.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, MessageResult, Recipient,
    WrapFuture as _,
};
use orderer_core::config::NotServed;
use orderer_core::own::NotOrderedHere;
use orderer_core::supervision::{AfterDeath, Restarts};
use orderer_ledger::WritePermit;

use crate::block_writer::{ACT_ON_DISK, BlockWriter};
use crate::chain_state::{ChainState, chain_text};
use crate::channel::{
    Channel, ChannelState, Follow, Following, LookForChannels, NewChannel, RestartError, StopChain, SupportHandle,
    TryAgain, Unfollow,
};
use crate::consensus::{ChainHandle, Children, ConsenterSupport, Consenters, StartError, repair};
use crate::mailbox::Counted;
use crate::node_context::NodeContext;
use crate::status::{StatusCell, Task};
use crate::supervision::{Abandon, ChildGone, Exit, ExitGuard, Halt};

/// The writer, below the channel.
const WRITER: &str = "block-writer";
/// Action for the operator of a channel that failed too often.
const ACT_ON_RESTARTS: &str = "its ledger is intact: find the cause in the log, then restart the channel";
/// Action for the operator of a channel whose configuration accepts no blocks from this node.
const ACT_ON_OUR_PART: &str = "have this node sign as an orderer that the channel's BlockValidation accepts (General.LocalMSPID, General.LocalMSPDir; a new certificate of the same MSP is read while the node runs) and show its consenter's TLS certificate, or change the channel's configuration; then restart the channel";
/// Action for the operator of a channel whose configuration contradicts itself about its consenters, so that no orderer can
/// serve it.
const ACT_ON_METADATA: &str = "send a config update that mends it, by which this node alone orders the channel (osnadmin channel update, or Broadcast), or remove the channel";
/// Action for the operator of a channel whose configuration this version does not support.
const ACT_ON_CONFIGURATION: &str = "change the channel's configuration, or use a version that supports it";

/// The addresses through which a ChainSupport reports to the Registrar.
pub(crate) struct RegistrarOfChannels {
    /// A channel was created.
    pub(crate) new_channel: Recipient<NewChannel>,
    /// A channel may have been created that the Registrar does not know.
    pub(crate) look_for_channels: Recipient<LookForChannels>,
}

/// The actor that owns one channel. It starts the channel's chain and writer, starts them again when they fail, and keeps the
/// list of Deliver streams that follow the channel.
pub struct ChainSupport {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    consenters: Arc<Consenters>,
    registrar: RegistrarOfChannels,
    /// Chain and writer live and die together: each holds half of what was decided.
    halves: Option<Halves>,
    generation: u64,
    restarts: Restarts,
    followers: BTreeMap<u64, String>,
    next_follower: u64,
    status: Arc<StatusCell>,
    guard: ExitGuard<orderer_core::channel::ChannelId>,
}

struct Halves {
    chain: ChainHandle,
    writer: Counted<BlockWriter>,
    left: bool,
}

impl Halves {
    /// Lets go of them without stopping them.
    fn leave(mut self) {
        self.left = true;
    }
}

/// Runs when one of the actors failed, or ChainSupport itself did: the other one is stopped, because nothing uses its work any
/// more. A late commit is rejected by the ledger if a newer instance has already written that block number.
impl Drop for Halves {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.chain.abandon();
        self.writer.tell_once(Abandon);
    }
}

impl ChainSupport {
    /// Creates the support of `channel`, whose chain is not yet built.
    pub(crate) fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        consenters: Arc<Consenters>,
        registrar: RegistrarOfChannels,
        guard: ExitGuard<orderer_core::channel::ChannelId>,
    ) -> Self {
        let status = context.board.cell(&format!("registrar/{}", channel.id()));
        Self {
            channel,
            context,
            consenters,
            registrar,
            halves: None,
            generation: 0,
            restarts: Restarts::default(),
            followers: BTreeMap::new(),
            next_follower: 0,
            status,
            guard,
        }
    }

    /// Reads where the ledger stands, once no commit is in flight any more, and builds chain and writer from it.
    fn build_chain(&mut self, ctx: &mut Context<Self>) {
        let (channel, context) = (Arc::clone(&self.channel), Arc::clone(&self.context));
        let load = async move {
            // until the writer of before has ended, whatever it still has in hand
            let right = channel.ledger().write_right().await;
            // a thousand channels that start together do not want a thousand threads
            let turn = Arc::clone(&context.loading).acquire_owned().await;
            let io = context.io.clone();
            io.spawn_blocking(move || {
                let state = ChainState::load(channel.ledger(), channel.configured(), &context.catalog);
                let state = state.map_err(|e| Exit::Failed(chain_text(&e)))?;
                drop(turn);
                let ours = context.check_own_part(&context.signer.own(), &state.snapshot);
                ours.map_err(|e| Exit::NotOurs(chain_text(&e)))?;
                Ok((state, right))
            })
            .await
            .unwrap_or_else(|panicked| Err(Exit::Panicked(panicked.to_string())))
        };
        let starting = self.status.wait_for(Task::Start);
        let loaded = load.into_actor(self).map(move |loaded, support, ctx| {
            drop(starting);
            match loaded {
                Ok((state, right)) => support.start_children(state, right, ctx),
                Err(exit) => support.chain_died(&exit, ctx),
            }
        });
        ctx.spawn(loaded);
    }

    fn start_children(&mut self, state: ChainState, right: WritePermit, ctx: &mut Context<Self>) {
        self.generation += 1;
        self.channel.gauges().reset();
        self.channel.configure(state.tip.last_config, Arc::clone(&state.snapshot));
        if self.generation > 1 && state.snapshot.is_system_channel() {
            // the commit that its chain died of may have created a channel
            #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
            self.registrar.look_for_channels.do_send(LookForChannels);
        }
        let children = self.children(ctx);
        let writer_status = children.cell(WRITER);
        let writer = BlockWriter::new(
            Arc::clone(&self.channel),
            Arc::clone(&self.context),
            self.registrar.new_channel.clone(),
            state.tip,
            state.next_sequence,
            right,
            Arc::clone(&writer_status),
            children.guard(WRITER),
        );
        let writer = Counted::new(writer.start(), writer_status);
        match self.start_consenter(state, &writer, children) {
            Ok(chain) => {
                self.halves = Some(Halves { chain, writer, left: false });
            }
            Err(error) => {
                self.generation += 1;
                writer.tell_once(Abandon);
                self.fail(&error.to_string(), ACT_ON_CONFIGURATION);
            }
        }
    }

    fn start_consenter(
        &self,
        state: ChainState,
        writer: &Counted<BlockWriter>,
        children: Children,
    ) -> Result<ChainHandle, StartError> {
        let engine = self.context.engine(&state.snapshot);
        let support = ConsenterSupport {
            channel: Arc::clone(&self.channel),
            context: Arc::clone(&self.context),
            state,
            writer: writer.clone(),
            voice: self.channel.new_voice(),
            children,
        };
        match engine {
            Ok(engine) => {
                let chain = self.consenters.start(&engine, support)?;
                self.status.enter("running", "");
                Ok(chain)
            }
            // the channel has failed, and takes the update that mends it
            Err(not_served @ NotOrderedHere::NotServed(NotServed::Consenters(_))) => {
                let cause = not_served.to_string();
                let chain = repair::start(support, cause.clone());
                self.fail(&cause, ACT_ON_METADATA);
                Ok(chain)
            }
            Err(not_served) => Err(not_served.into()),
        }
    }

    /// Returns the factory of status cells and guards for the actors of this generation.
    fn children(&self, ctx: &mut Context<Self>) -> Children {
        let parent = ctx.address().recipient();
        Children::new(&self.context, &self.channel, self.restarts.total(), parent, self.generation)
    }

    fn note_panic(&self, gone: &ChildGone) {
        if let Exit::Panicked(text) = &gone.exit {
            let path = format!("registrar/{}/{}", self.channel.id(), gone.child);
            self.context.board.cell(&path).panicked(text);
        }
    }

    /// Closes the gate, and lets go of the children.
    fn let_go(&mut self) {
        self.channel.gate().close();
        self.generation += 1;
        self.halves = None;
    }

    /// Closes the gate, lets go of the children, and starts them again after a pause, or not at all.
    fn chain_died(&mut self, exit: &Exit, ctx: &mut Context<Self>) {
        self.let_go();
        let cause = exit.to_string();
        self.status.failed(cause.clone());
        if matches!(exit, Exit::NotOurs(_)) {
            self.fail(&cause, ACT_ON_OUR_PART);
            return;
        }
        if let Exit::Unrecoverable { action, .. } = exit {
            self.fail(&cause, action);
            return;
        }
        let random = rand::random::<f64>();
        match self.restarts.after_death(self.context.uptime(), random, &self.context.channel_restarts) {
            AfterDeath::RestartIn(pause) => {
                let attempt = self.restarts.in_window();
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::error!(target: "orderer.chain", channel = %self.channel.id(), %cause, attempt, pause_ms,
                    "chain died, it is built again from the ledger");
                self.status.enter("restarting", cause.clone());
                self.channel.enter(ChannelState::Restarting { attempt, cause, pause_ms });
                ctx.run_later(pause, Self::build_chain);
            }
            AfterDeath::GiveUp => {
                let limit = self.context.channel_restarts.limit;
                self.fail(&format!("its chain died more than {limit} times, last of: {cause}"), ACT_ON_RESTARTS);
            }
        }
    }

    fn fail(&self, cause: &str, action: &str) {
        // whoever reads the log finds it so
        self.status.enter("failed", cause);
        self.channel.enter(ChannelState::Failed { cause: cause.to_owned(), action: action.to_owned() });
        tracing::error!(target: "orderer.chain", channel = %self.channel.id(), %cause, %action,
            "channel has failed, it can still be read");
    }
}

impl Handler<TryAgain> for ChainSupport {
    type Result = ();

    fn handle(&mut self, TryAgain { reply }: TryAgain, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::TryAgain);
        let state = self.channel.state();
        if !matches!(state, ChannelState::Failed { .. }) {
            let _ = reply.send(Err(RestartError::NotFailed(state.to_string())));
            return;
        }
        tracing::info!(target: "orderer.chain", channel = %self.channel.id(), "failed channel is started again, as asked");
        // one may wait for an update
        self.let_go();
        self.channel.enter(ChannelState::Starting);
        self.restarts = Restarts::default();
        let channel = Arc::clone(&self.channel);
        let opening = self.context.io.spawn_blocking(move || channel.ledger().reopen().map_err(|e| chain_text(&e)));
        let opened = opening.into_actor(self).map(|opened, support, ctx| {
            let opened = opened.unwrap_or_else(|panicked| Err(panicked.to_string()));
            match &opened {
                Ok(()) => support.build_chain(ctx),
                Err(cause) => support.fail(cause, ACT_ON_DISK),
            }
            let _ = reply.send(opened.map_err(RestartError::Ledger));
        });
        ctx.spawn(opened);
    }
}

impl Actor for ChainSupport {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.channel.support.store(Some(Arc::new(SupportHandle::new(&ctx.address()))));
        self.channel.enter(ChannelState::Starting);
        self.build_chain(ctx);
    }
}

impl Handler<ChildGone> for ChainSupport {
    type Result = ();

    fn handle(&mut self, gone: ChildGone, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::ChildGone);
        if gone.generation != self.generation {
            return; // an older child's report, or the second of a pair
        }
        self.note_panic(&gone);
        match gone.exit {
            Exit::Asked => {}
            Exit::Replaced => {
                self.let_go();
                self.restarts = Restarts::default();
                self.channel.enter(ChannelState::Starting);
                self.build_chain(ctx);
            }
            exit => self.chain_died(&exit, ctx),
        }
    }
}

impl Handler<Follow> for ChainSupport {
    type Result = MessageResult<Follow>;

    fn handle(&mut self, follow: Follow, ctx: &mut Context<Self>) -> Self::Result {
        let _taken = self.status.take(Task::Follow);
        let id = self.next_follower;
        self.next_follower += 1;
        self.followers.insert(id, follow.client);
        MessageResult(Following::new(id, ctx.address().recipient()))
    }
}

impl Handler<Unfollow> for ChainSupport {
    type Result = ();

    fn handle(&mut self, Unfollow(id): Unfollow, _: &mut Context<Self>) {
        let _taken = self.status.take(Task::Unfollow);
        self.followers.remove(&id);
    }
}

impl Handler<StopChain> for ChainSupport {
    type Result = ();

    fn handle(&mut self, stop: StopChain, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::StopChain);
        self.channel.gate().close();
        self.channel.enter(ChannelState::Stopped);
        self.status.enter("stopped", "");
        // later reports of the children mean nothing any more
        self.generation += 1;
        match self.halves.take() {
            Some(halves) => {
                halves.chain.halt(Halt { done: stop.done });
                // they stop by themselves, when all is written
                halves.leave();
            }
            None => {
                let _ = stop.done.send(());
            }
        }
        self.guard.will_exit(Exit::Asked);
        ctx.stop();
    }
}

#[cfg(test)]
impl Handler<crate::channel::Kill> for ChainSupport {
    type Result = ();
    fn handle(&mut self, kill: crate::channel::Kill, _: &mut Context<Self>) {
        use crate::channel::Kill;
        match (kill, &self.halves) {
            (Kill::Chain, Some(halves)) => halves.chain.crash(),
            (Kill::Writer, Some(halves)) => halves.writer.tell_once(crate::supervision::Crash),
            (Kill::Support, _) => panic!("killed by a test"),
            _ => {}
        }
    }
}
