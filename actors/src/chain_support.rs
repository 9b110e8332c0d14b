//! Owns one channel: its chain and writer, their restarts, and its followers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, MessageResult, Recipient,
    WrapFuture as _,
};
use orderer_core::config::{ConsenterKind, UnsupportedConsensus};
use orderer_core::own::ChannelNotServed;
use orderer_core::supervision::{RestartDecision, RestartHistory};
use orderer_ledger::{WritePermit, is_disk_full};
use tokio::sync::oneshot;

use crate::block_writer::{ACTION_DISK, BlockWriter};
use crate::chain_state::{ChainResumePoint, error_chain};
use crate::channel::{
    ChainSupportHandle, Channel, ChannelCreated, ChannelState, RestartChain, RestartError, ScanForChannels, StopChain,
    Subscribe, SubscriptionGuard, Unsubscribe,
};
use crate::consensus::{ChainHandle, ChildActors, ConsenterSupport, Consenters, StartError, repair};
use crate::disk_space;
use crate::mailbox::CountedAddr;
use crate::node_context::NodeContext;
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ChildExited, ExitGuard, ExitReason, Halt, StopNow};

/// The writer, below the channel.
const WRITER: &str = "block-writer";
/// Action for the operator of a channel that failed too often.
const ACTION_RESTARTS: &str = "its ledger is intact: find the cause in the log, then restart the channel";
/// Action for the operator of a channel whose configuration accepts no blocks from this node.
const ACTION_OUR_PART: &str = "have this node sign as an orderer that the channel's BlockValidation accepts (General.LocalMSPID, General.LocalMSPDir; a new certificate of the same MSP is read while the node runs) and show its consenter's TLS certificate, or change the channel's configuration; then restart the channel";
/// Action for the operator of a channel whose configuration contradicts itself about its consenters, so that no orderer can
/// serve it.
const ACTION_METADATA: &str = "send a config update that repairs it, by which this node alone orders the channel (osnadmin channel update, or Broadcast), or remove the channel";
/// Action for the operator of a channel whose configuration this version does not support.
const ACTION_CONFIGURATION: &str = "change the channel's configuration, or use a version that supports it";

/// Action for the operator of a channel whose signer failed for a moment.
const ACTION_TOKEN: &str = "no action is needed unless this repeats";
/// Action for the operator of a channel whose disk is full.
const ACTION_SPACE: &str =
    "free space there, or remove old blocks (orderer ledger prune); the channel is restarted when there is space";
/// Interval between two looks at the space on a full disk.
const SPACE_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5_000 });
/// Pause before a chain is built after the token came back.
const SIGNER_PAUSE: Duration = Duration::from_millis(100);

/// The addresses through which a ChainSupport reports to the Registrar.
pub(crate) struct RegistrarRecipients {
    /// A channel was created.
    pub(crate) new_channel: Recipient<ChannelCreated>,
    /// A channel may have been created that the Registrar does not know.
    pub(crate) look_for_channels: Recipient<ScanForChannels>,
}

/// The actor that owns one channel. It starts the channel's chain and writer, starts them again when they fail, and keeps the
/// list of Deliver streams that follow the channel.
pub struct ChainSupport {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    consenters: Arc<Consenters>,
    registrar: RegistrarRecipients,
    /// Chain and writer live and die together: each holds half of what was decided.
    parts: Option<ChainParts>,
    generation: u64,
    restarts: RestartHistory,
    followers: BTreeMap<u64, String>,
    next_follower: u64,
    status: Arc<StatusCell>,
    guard: ExitGuard<orderer_core::types::ChannelId>,
}

struct ChainParts {
    chain: ChainHandle,
    writer: CountedAddr<BlockWriter>,
    detached: bool,
}

impl ChainParts {
    /// Lets go of them without stopping them.
    fn detach(mut self) {
        self.detached = true;
    }
}

/// Runs when one of the actors failed, or ChainSupport itself did: the other one is stopped, because nothing uses its work any
/// more. A late commit is rejected by the ledger if a newer instance has already written that block number.
impl Drop for ChainParts {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        self.chain.abandon();
        self.writer.send_uncounted(StopNow);
    }
}

impl ChainSupport {
    /// Creates the support of `channel`, whose chain is not yet built.
    pub(crate) fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        consenters: Arc<Consenters>,
        registrar: RegistrarRecipients,
        guard: ExitGuard<orderer_core::types::ChannelId>,
    ) -> Self {
        let status = context.status_board.cell(&format!("registrar/{}", channel.id()));
        Self {
            channel,
            context,
            consenters,
            registrar,
            parts: None,
            generation: 0,
            restarts: RestartHistory::default(),
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
            let permit = channel.ledger().write_permit().await;
            // a thousand channels that start together do not want a thousand threads
            let turn = Arc::clone(&context.ledger_open_permits).acquire_owned().await;
            let io = context.blocking_runtime.clone();
            io.spawn_blocking(move || {
                let state = ChainResumePoint::load(channel.ledger(), channel.current_config(), &context.catalog);
                let mut state = state.map_err(|e| ExitReason::Failed(error_chain(&e)))?;
                if let Ok(ConsenterKind::Kafka { .. }) = context.engine(&state.snapshot) {
                    let read = state.read_whole_block(channel.ledger());
                    read.map_err(|e| ExitReason::Failed(error_chain(&e)))?;
                }
                drop(turn);
                let ours = context.check_own_part(&context.signer.own(), &state.snapshot);
                ours.map_err(|e| {
                    let exit = if e.is_temporary() { ExitReason::SignerAway } else { ExitReason::NotOurs };
                    exit(error_chain(&e))
                })?;
                Ok((state, permit))
            })
            .await
            .unwrap_or_else(|panicked| Err(ExitReason::Panicked(panicked.to_string())))
        };
        let starting = self.status.begin_background(ActivityKind::Start);
        let loaded = load.into_actor(self).map(move |loaded, support, ctx| {
            drop(starting);
            match loaded {
                Ok((state, permit)) => support.start_children(state, permit, ctx),
                Err(exit) => support.on_chain_exit(&exit, ctx),
            }
        });
        ctx.spawn(loaded);
    }

    fn start_children(&mut self, state: ChainResumePoint, permit: WritePermit, ctx: &mut Context<Self>) {
        self.generation += 1;
        self.channel.gauges().reset();
        self.channel.apply_config(state.tip.last_config, Arc::clone(&state.snapshot));
        if self.generation > 1 && state.snapshot.is_system_channel() {
            // the commit that its chain died of may have created a channel
            #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
            self.registrar.look_for_channels.do_send(ScanForChannels);
        }
        let children = self.children(ctx);
        let writer_status = children.cell(WRITER);
        let writer = BlockWriter::new(
            Arc::clone(&self.channel),
            Arc::clone(&self.context),
            self.registrar.new_channel.clone(),
            state.tip,
            state.next_sequence,
            permit,
            Arc::clone(&writer_status),
            children.guard(WRITER),
        );
        let writer = CountedAddr::new(writer.start(), writer_status);
        match self.start_consenter(state, &writer, children) {
            Ok(chain) => {
                self.parts = Some(ChainParts { chain, writer, detached: false });
            }
            Err(error) => {
                self.generation += 1;
                writer.send_uncounted(StopNow);
                self.set_failed(&error.to_string(), ACTION_CONFIGURATION);
            }
        }
    }

    fn start_consenter(
        &self,
        state: ChainResumePoint,
        writer: &CountedAddr<BlockWriter>,
        children: ChildActors,
    ) -> Result<ChainHandle, StartError> {
        let engine = self.context.engine(&state.snapshot);
        let support = ConsenterSupport {
            channel: Arc::clone(&self.channel),
            context: Arc::clone(&self.context),
            state,
            writer: writer.clone(),
            lease: self.channel.acquire_state_lease(),
            children,
        };
        match engine {
            Ok(engine) => {
                let chain = self.consenters.start(&engine, support)?;
                self.status.set_state("running", "");
                Ok(chain)
            }
            // the channel has failed, and takes the update that mends it
            Err(not_served @ ChannelNotServed::NotServed(UnsupportedConsensus::Consenters(_))) => {
                let cause = not_served.to_string();
                let chain = repair::start(support, cause.clone());
                self.set_failed(&cause, ACTION_METADATA);
                Ok(chain)
            }
            Err(not_served) => Err(not_served.into()),
        }
    }

    /// Returns the factory of status cells and guards for the actors of this generation.
    fn children(&self, ctx: &mut Context<Self>) -> ChildActors {
        let parent = ctx.address().recipient();
        ChildActors::new(&self.context, &self.channel, self.restarts.total(), parent, self.generation)
    }

    fn record_panic(&self, gone: &ChildExited) {
        if let ExitReason::Panicked(text) = &gone.exit {
            let path = format!("registrar/{}/{}", self.channel.id(), gone.child);
            self.context.status_board.cell(&path).record_panic(text);
        }
    }

    /// Closes the gate, and lets go of the children.
    fn let_go(&mut self) {
        self.channel.gate().close();
        self.generation += 1;
        self.parts = None;
    }

    /// Closes the gate, lets go of the children, and starts them again after a pause, or not at all.
    fn on_chain_exit(&mut self, exit: &ExitReason, ctx: &mut Context<Self>) {
        self.let_go();
        let cause = exit.to_string();
        self.status.record_error(cause.clone());
        if matches!(exit, ExitReason::NotOurs(_)) {
            self.set_failed(&cause, ACTION_OUR_PART);
            return;
        }
        if matches!(exit, ExitReason::SignerAway(_)) {
            self.await_signer(&cause, ctx);
            return;
        }
        if let ExitReason::Unrecoverable { action, .. } = exit {
            self.set_failed(&cause, action);
            return;
        }
        if matches!(exit, ExitReason::DiskFull(_)) {
            self.set_failed(&cause, ACTION_SPACE);
            self.await_space(ctx);
            return;
        }
        let random = rand::random::<f64>();
        match self.restarts.on_exit(self.context.uptime(), random, &self.context.channel_restarts) {
            RestartDecision::RestartIn(pause) => {
                let attempt = self.restarts.in_window();
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                self.status.set_state("restarting", cause.clone());
                self.channel.set_state(ChannelState::Restarting { attempt, cause: cause.clone(), pause_ms });
                // whoever reads the log finds it so, here and below
                tracing::error!(target: "orderer.chain", channel = %self.channel.id(), %cause, attempt, pause_ms,
                    "chain terminated; restarting it from the ledger");
                ctx.run_later(pause, Self::build_chain);
            }
            RestartDecision::GiveUp => {
                let limit = self.context.channel_restarts.limit;
                self.set_failed(&format!("its chain died more than {limit} times, last of: {cause}"), ACTION_RESTARTS);
            }
        }
    }

    /// Builds the chain again when the token signs. The chain is not at fault, so this counts as no failure of it.
    fn await_signer(&mut self, cause: &str, ctx: &mut Context<Self>) {
        let away = self.context.token.as_ref().and_then(|token| token.status().away);
        let action = away.map_or(ACTION_TOKEN, |away| away.action).to_owned();
        self.status.set_state("waiting", cause);
        self.channel.set_state(ChannelState::AwaitingKey { cause: cause.to_owned(), action: action.clone() });
        tracing::error!(target: "orderer.chain", channel = %self.channel.id(), %cause, %action,
            "chain waits for the key to sign with; it can still be read");
        let (generation, token) = (self.generation, self.context.token.clone());
        let ready = async move {
            if let Some(token) = token {
                token.ready().await;
            }
            // many channels do not begin at the same moment, and a token that fails at once is not asked without a pause
            tokio::time::sleep(SIGNER_PAUSE.mul_f64(1.0 + rand::random::<f64>())).await;
        };
        ctx.spawn(ready.into_actor(self).map(move |(), support, ctx| {
            if support.generation == generation {
                support.build_chain(ctx);
            }
        }));
    }

    /// Restarts the channel, which has failed, when its disk has space again.
    fn await_space(&self, ctx: &mut Context<Self>) {
        let (generation, channel) = (self.generation, Arc::clone(&self.channel));
        let io = self.context.blocking_runtime.clone();
        let looked = async move {
            tokio::time::sleep(SPACE_INTERVAL).await;
            io.spawn_blocking(move || disk_space::is_sufficient(channel.ledger().path())).await.unwrap_or(false)
        };
        ctx.spawn(looked.into_actor(self).map(move |is_sufficient, support, ctx| {
            // the operator may have restarted it meanwhile
            if support.generation != generation || !matches!(support.channel.state(), ChannelState::Failed { .. }) {
                return;
            }
            if is_sufficient {
                tracing::info!(target: "orderer.chain", channel = %support.channel.id(),
                    "the disk has space again; restarting the channel");
                support.restart_failed(None, ctx);
            } else {
                support.await_space(ctx);
            }
        }));
    }

    /// Opens the ledger of a failed channel again, and starts its chain.
    fn restart_failed(&mut self, reply: Option<oneshot::Sender<Result<(), RestartError>>>, ctx: &mut Context<Self>) {
        // one may wait for an update
        self.let_go();
        self.channel.set_state(ChannelState::Starting);
        self.restarts = RestartHistory::default();
        let channel = Arc::clone(&self.channel);
        let opening = self.context.blocking_runtime.spawn_blocking(move || {
            channel.ledger().reopen().map_err(|error| (error_chain(&error), is_disk_full(&error)))
        });
        let opened = opening.into_actor(self).map(|opened, support, ctx| {
            let opened = opened.unwrap_or_else(|panicked| Err((panicked.to_string(), false)));
            match &opened {
                Ok(()) => support.build_chain(ctx),
                Err((cause, true)) => {
                    support.set_failed(cause, ACTION_SPACE);
                    support.await_space(ctx);
                }
                Err((cause, false)) => support.set_failed(cause, ACTION_DISK),
            }
            if let Some(reply) = reply {
                let _ = reply.send(opened.map_err(|(cause, _)| RestartError::Ledger(cause)));
            }
        });
        ctx.spawn(opened);
    }

    fn set_failed(&self, cause: &str, action: &str) {
        self.status.set_state("failed", cause);
        self.channel.set_state(ChannelState::Failed { cause: cause.to_owned(), action: action.to_owned() });
        tracing::error!(target: "orderer.chain", channel = %self.channel.id(), %cause, %action,
            "channel has failed; its blocks can still be read");
    }
}

impl Handler<RestartChain> for ChainSupport {
    type Result = ();

    fn handle(&mut self, RestartChain { reply }: RestartChain, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::TryAgain);
        let state = self.channel.state();
        if !matches!(state, ChannelState::Failed { .. }) {
            let _ = reply.send(Err(RestartError::NotFailed(state.to_string())));
            return;
        }
        tracing::info!(target: "orderer.chain", channel = %self.channel.id(), "restarting the failed channel, as requested");
        self.restart_failed(Some(reply), ctx);
    }
}

impl Actor for ChainSupport {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.channel.support.store(Some(Arc::new(ChainSupportHandle::new(&ctx.address()))));
        self.channel.set_state(ChannelState::Starting);
        self.build_chain(ctx);
    }
}

impl Handler<ChildExited> for ChainSupport {
    type Result = ();

    fn handle(&mut self, gone: ChildExited, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::ChildGone);
        if gone.generation != self.generation {
            return; // an older child's report, or the second of a pair
        }
        self.record_panic(&gone);
        match gone.exit {
            ExitReason::Requested => {}
            ExitReason::Replaced => {
                self.let_go();
                self.restarts = RestartHistory::default();
                self.channel.set_state(ChannelState::Starting);
                self.build_chain(ctx);
            }
            exit => self.on_chain_exit(&exit, ctx),
        }
    }
}

impl Handler<Subscribe> for ChainSupport {
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, follow: Subscribe, ctx: &mut Context<Self>) -> Self::Result {
        let _activity = self.status.begin_message(ActivityKind::Follow);
        let id = self.next_follower;
        self.next_follower += 1;
        self.followers.insert(id, follow.client);
        MessageResult(SubscriptionGuard::new(id, ctx.address().recipient()))
    }
}

impl Handler<Unsubscribe> for ChainSupport {
    type Result = ();

    fn handle(&mut self, Unsubscribe(id): Unsubscribe, _: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Unfollow);
        self.followers.remove(&id);
    }
}

impl Handler<StopChain> for ChainSupport {
    type Result = ();

    fn handle(&mut self, stop: StopChain, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::StopChain);
        self.channel.gate().close();
        self.channel.set_state(ChannelState::Stopped);
        self.status.set_state("stopped", "");
        // later reports of the children mean nothing any more
        self.generation += 1;
        match self.parts.take() {
            Some(parts) => {
                parts.chain.halt(Halt { done: stop.done });
                // they stop by themselves, when all is written
                parts.detach();
            }
            None => {
                let _ = stop.done.send(());
            }
        }
        self.guard.set_exit_reason(ExitReason::Requested);
        ctx.stop();
    }
}

#[cfg(test)]
impl Handler<crate::channel::KillActor> for ChainSupport {
    type Result = ();
    fn handle(&mut self, kill: crate::channel::KillActor, _: &mut Context<Self>) {
        use crate::channel::KillActor;
        match (kill, &self.parts) {
            (KillActor::Chain, Some(parts)) => parts.chain.crash(),
            (KillActor::Writer, Some(parts)) => parts.writer.send_uncounted(crate::supervision::PanicNow),
            (KillActor::Support, _) => panic!("killed by a test"),
            _ => {}
        }
    }
}
