//! Owns one channel: its chain and writer, their restarts, and its followers.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, MessageResult,
    WrapFuture as _,
};
use orderer_core::block::EncodedBlock;
use orderer_core::channel::BlockNumber;
use orderer_core::config::Engine;
use orderer_core::ordering::kafka::{LastBlock, consenter_metadata};
use orderer_core::own;
use orderer_core::supervision::{AfterDeath, Restarts};
use orderer_ledger::WriteRight;
use tokio::sync::oneshot;

use crate::block_writer::BlockWriter;
use crate::chain_state::{ChainState, chain_text};
use crate::channel::{Channel, ChannelState};
use crate::consensus::kafka::{self, KafkaChain};
use crate::consensus::solo::chain::{Halt, SoloChain};
use crate::mailbox::Counted;
use crate::membership::RestartError;
use crate::node_context::NodeContext;
use crate::registrar::{LookForChannels, Registrar};
use crate::status::{StatusCell, Task};
use crate::supervision::{ChildGone, Exit, ExitGuard};

/// What an operator can do about a channel that died too often.
const ACT_ON_RESTARTS: &str = "its ledger is intact: find the cause in the log, then restart the channel";
/// And about one whose disk failed.
const ACT_ON_DISK: &str = "see to the disk (space, health), then restart the channel";

/// And about one whose topic is not what it was.
const ACT_ON_TOPIC: &str = "see to the topic or the disk that the cause names, then restart the channel";
/// And about one that takes no blocks from this node.
const ACT_ON_OUR_PART: &str = "have this node sign as an orderer that the channel's BlockValidation accepts (General.LocalMSPID, General.LocalMSPDir; a new certificate of the same MSP is read while the node runs) and show its consenter's TLS certificate, or change the channel's configuration; then restart the channel";
/// And about one that is configured for something else.
const ACT_ON_CONFIGURATION: &str = "change the channel's configuration, or use a version that supports it";

/// See the module's description.
pub struct ChainSupport {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    registrar: Addr<Registrar>,
    /// Chain and writer live and die together: each holds half of what was decided.
    children: Option<Children>,
    generation: u64,
    restarts: Restarts,
    followers: BTreeMap<u64, String>,
    next_follower: u64,
    status: Arc<StatusCell>,
    guard: ExitGuard<orderer_core::channel::ChannelId>,
}

struct Children {
    chain: Consenter,
    writer: Counted<BlockWriter>,
    left: bool,
}

/// Who decides the order.
enum Consenter {
    Solo(Addr<SoloChain>),
    /// With its producer and consumer.
    Kafka(Addr<KafkaChain>),
}

impl Consenter {
    #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
    fn tell<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        SoloChain: Handler<M>,
        KafkaChain: Handler<M>,
    {
        match self {
            Self::Solo(chain) => chain.do_send(message),
            Self::Kafka(chain) => chain.do_send(message),
        }
    }
}

impl Children {
    /// Lets go of them without stopping them.
    fn leave(mut self) {
        self.left = true;
    }
}

/// Dropped because one of them died, or because ChainSupport itself did: the survivors have nobody to work for. What they
/// might still write, the ledger weighs against what their successors write.
impl Drop for Children {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.chain.tell(Abandon);
        self.writer.tell_once(Abandon);
    }
}

/// From a Deliver stream, when it begins to follow the channel. Answered at once.
#[derive(Message)]
#[rtype(result = "Following")]
pub struct Follow {
    /// Who, for people.
    pub client: String,
}

/// A place among the channel's followers, given back when dropped.
#[derive(Debug)]
pub struct Following {
    /// What is followed.
    pub channel: Arc<Channel>,
    id: u64,
    support: Addr<ChainSupport>,
}

impl Drop for Following {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "one a stream")]
        self.support.do_send(Unfollow(self.id));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Unfollow(u64);

/// From the Registrar at shutdown: stop the chain when all it took is durable, and answer then.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopChain {
    /// Told when the chain has stopped.
    pub done: oneshot::Sender<()>,
}

impl ChainSupport {
    /// Support for `channel`, whose chain is not yet built.
    pub fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        registrar: Addr<Registrar>,
        guard: ExitGuard<orderer_core::channel::ChannelId>,
    ) -> Self {
        let status = context.board.cell(&format!("registrar/{}", channel.id()));
        Self {
            channel,
            context,
            registrar,
            children: None,
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

    fn start_children(&mut self, state: ChainState, right: WriteRight, ctx: &mut Context<Self>) {
        self.generation += 1;
        self.channel.gauges().reset();
        self.channel.configure(state.tip.last_config, Arc::clone(&state.snapshot));
        if self.generation > 1 && state.snapshot.is_system_channel() {
            // the commit that its chain died of may have created a channel
            #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
            self.registrar.do_send(LookForChannels);
        }
        self.warn_of_other_orderers(&state);
        let engine = self.context.engine(&state.snapshot);
        let writer_status = self.cell("block-writer");
        let writer = BlockWriter::new(
            Arc::clone(&self.channel),
            Arc::clone(&self.context),
            self.registrar.clone(),
            state.tip,
            state.next_sequence,
            right,
            Arc::clone(&writer_status),
            self.guard("block-writer", ctx),
        );
        let writer = Counted::new(writer.start(), writer_status);
        let chain = match engine {
            Ok(Engine::Solo) => Ok(self.start_solo(state, &writer, ctx)),
            Ok(Engine::Kafka { brokers }) => self.start_kafka(state, &brokers, &writer, ctx),
            Err(not_served) => Err(not_served.to_string()),
        };
        match chain {
            Ok(chain) => self.children = Some(Children { chain, writer, left: false }),
            Err(cause) => {
                self.generation += 1;
                writer.tell_once(Abandon);
                self.fail(&cause, ACT_ON_CONFIGURATION);
            }
        }
    }

    /// Nobody knows which of the orderers that a solo channel names serve it: each would make a chain of its own.
    fn warn_of_other_orderers(&self, state: &ChainState) {
        if let Some(addresses) = own::others_of_solo(&state.snapshot) {
            let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
            tracing::warn!(target: "orderer.chain", channel = %self.channel.id(), %addresses, "{}", own::WARNING_SOLO);
        }
    }

    fn start_solo(&self, state: ChainState, writer: &Counted<BlockWriter>, ctx: &mut Context<Self>) -> Consenter {
        let height = state.tip.number.0 + 1;
        let status = self.cell("solo-chain");
        let chain = SoloChain::new(
            Arc::clone(&self.channel),
            Arc::clone(&self.context),
            writer.clone(),
            state,
            Arc::clone(&status),
            self.guard("solo-chain", ctx),
        )
        .start();
        // opened after the chain was started: what was acknowledged before a restart is ordered first
        self.channel.gate().open(chain.clone().recipient(), status);
        self.channel.enter(ChannelState::Running);
        self.status.enter("running", "");
        tracing::info!(target: "orderer.chain", channel = %self.channel.id(), height, "chain is running");
        Consenter::Solo(chain)
    }

    /// The chain says itself when it runs.
    fn start_kafka(
        &self,
        state: ChainState,
        brokers: &[String],
        writer: &Counted<BlockWriter>,
        ctx: &mut Context<Self>,
    ) -> Result<Consenter, String> {
        check_engine_before(&state.last, &state)?;
        let last = LastBlock::read(&state.last).map_err(|e| chain_text(&e))?;
        let cluster = (self.context.kafka.connector)(brokers).map_err(|e| chain_text(&e))?;
        for child in [kafka::PRODUCER, kafka::CONSUMER] {
            self.cell(&format!("kafka-chain/{child}"));
        }
        let guards = kafka::Guards {
            chain: self.guard("kafka-chain", ctx),
            producer: self.guard(kafka::PRODUCER, ctx),
            consumer: self.guard(kafka::CONSUMER, ctx),
        };
        let chain = KafkaChain::new(
            Arc::clone(&self.channel),
            Arc::clone(&self.context),
            writer.clone(),
            kafka::Origin { cluster, last, snapshot: state.snapshot },
            self.cell("kafka-chain"),
            guards,
        );
        self.status.enter("running", "");
        Ok(Consenter::Kafka(chain.start()))
    }

    /// A child's cell, at the beginning of another life.
    fn cell(&self, child: &str) -> Arc<StatusCell> {
        let cell = self.context.board.cell(&format!("registrar/{}/{child}", self.channel.id()));
        cell.begin(self.restarts.total());
        cell
    }

    fn guard(&self, child: &'static str, ctx: &mut Context<Self>) -> ExitGuard {
        ExitGuard::new(ctx.address().recipient(), child, self.generation)
    }

    fn note_panic(&self, gone: &ChildGone) {
        if let Exit::Panicked(text) = &gone.exit {
            let parent = if [kafka::PRODUCER, kafka::CONSUMER].contains(&gone.child) { "kafka-chain/" } else { "" };
            let path = format!("registrar/{}/{parent}{}", self.channel.id(), gone.child);
            self.context.board.cell(&path).panicked(text);
        }
    }

    /// Closes the gate, lets go of the children, and starts them again after a pause, or not at all.
    fn chain_died(&mut self, exit: &Exit, ctx: &mut Context<Self>) {
        self.channel.gate().close();
        self.generation += 1;
        self.children = None;
        let cause = exit.to_string();
        self.status.failed(cause.clone());
        if matches!(exit, Exit::NotOurs(_)) {
            self.fail(&cause, ACT_ON_OUR_PART);
            return;
        }
        if matches!(exit, Exit::Unrecoverable(_)) {
            let engine = self.context.engine(&self.channel.snapshot());
            let is_kafka = matches!(engine, Ok(Engine::Kafka { .. }));
            self.fail(&cause, if is_kafka { ACT_ON_TOPIC } else { ACT_ON_DISK });
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

/// Whether a topic can go on where the ledger ends. It cannot behind what solo has ordered: no block says how much of the
/// topic is in the chain, and what solo acknowledged is in no topic.
fn check_engine_before(last: &EncodedBlock, state: &ChainState) -> Result<(), String> {
    const BACK: &str = "the channel was ordered by solo before, and a topic cannot go on from there: set Consensus.Serve.etcdraft back to solo";
    if !state.pending.is_empty() {
        return Err(format!("{BACK} ({} acknowledged envelopes are in no block yet)", state.pending.len()));
    }
    let is_plain = last.number() > BlockNumber::GENESIS && !last.is_config();
    let has_none = consenter_metadata(&last.decode()).is_ok_and(|metadata| metadata.is_empty());
    if is_plain && has_none && state.snapshot.orderer().consensus_type == "etcdraft" {
        return Err(format!("{BACK} (block {} names no offset of a topic)", last.number()));
    }
    Ok(())
}

/// From the Registrar, because a person asked: the cause is said to be gone. Answered when the ledger is open again; the
/// chain may still be starting then.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TryAgain {
    pub(crate) reply: oneshot::Sender<Result<(), RestartError>>,
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

/// To chain and writer when the other one, or their parent, died.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Abandon;

impl Handler<Abandon> for SoloChain {
    type Result = ();
    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        ctx.stop();
    }
}

impl Handler<Abandon> for BlockWriter {
    type Result = ();
    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        ctx.stop();
    }
}

impl Actor for ChainSupport {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.channel.support.store(Some(Arc::new(ctx.address())));
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
        MessageResult(Following { channel: Arc::clone(&self.channel), id, support: ctx.address() })
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
        match self.children.take() {
            Some(children) => {
                children.chain.tell(Halt { done: stop.done });
                // they stop by themselves, when all is written
                children.leave();
            }
            None => {
                let _ = stop.done.send(());
            }
        }
        self.guard.will_exit(Exit::Asked);
        ctx.stop();
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

#[cfg(test)]
impl Handler<Kill> for ChainSupport {
    type Result = ();
    fn handle(&mut self, kill: Kill, _: &mut Context<Self>) {
        match (kill, &self.children) {
            (Kill::Chain, Some(children)) => children.chain.tell(crate::consensus::solo::chain::Crash),
            (Kill::Writer, Some(children)) => children.writer.tell_once(crate::consensus::solo::chain::Crash),
            (Kill::Support, _) => panic!("killed by a test"),
            _ => {}
        }
    }
}
