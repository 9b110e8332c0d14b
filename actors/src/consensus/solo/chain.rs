//! The solo consenter's actor: feeds its machine, and performs what the machine decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, SpawnHandle, WrapFuture as _,
};
use bytes::Bytes;
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::solo::{Effect, Event, OrderableMessage, SoloMachine};
use orderer_core::processing::Rejection;
use orderer_core::types::ConfigSequence;
use orderer_ledger::PendingEnvelope;

use crate::block_writer::{BlockWriter, PendingMessage, WriteOp, WriteRequest};
use crate::chain_state::ChainResumePoint;
use crate::channel::{Channel, ChannelCreated};
use crate::config_processor::{ConfigOutcome, apply_config, rechecked};
use crate::mailbox::{CooperativeYield, CountedAddr, Order, OrderBatch, OrderError, Reply};
use crate::node_context::{Durability, NodeContext};
use crate::observer::CutReason;
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, Halt, StopNow};
use crate::validation_queue::on_own_thread;

impl OrderableMessage for PendingMessage {
    fn size_bytes(&self) -> usize {
        self.envelope.size_bytes()
    }
    fn validated_at(&self) -> ConfigSequence {
        self.validated_at
    }
    fn is_config(&self) -> bool {
        self.is_config
    }
}

/// Orders one channel's messages. Owns the cutter; a [`BlockWriter`] makes durable what it decides.
pub(super) struct SoloChain {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    writer: CountedAddr<BlockWriter>,
    machine: SoloMachine<Arc<PendingMessage>>,
    /// The configuration that the next message is ordered under; on the disk a moment later.
    snapshot: Arc<ChannelSnapshot>,
    next_sequence: u64,
    /// Pending envelopes of the last instance, before everything else.
    replay_queue: VecDeque<PendingEnvelope>,
    /// Orders of the message that is being handled; some wait here while one before them is on another thread.
    orders: VecDeque<Order>,
    /// Decisions that are not sent to the writer yet: those of one message go together.
    outbox: WriteRequest,
    timer: Option<SpawnHandle>,
    /// Time at which the first pending envelope of the next block came.
    batch_started_at: Option<Instant>,
    status: Arc<StatusCell>,
    pace: CooperativeYield,
    guard: ExitGuard,
}

impl SoloChain {
    /// A chain that goes on where `state` says.
    pub(super) fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        writer: CountedAddr<BlockWriter>,
        state: ChainResumePoint,
        status: Arc<StatusCell>,
        guard: ExitGuard,
    ) -> Self {
        let limits = state.snapshot.orderer().batch_size.limits();
        Self {
            machine: SoloMachine::new(state.snapshot.sequence(), limits),
            snapshot: state.snapshot,
            next_sequence: state.next_sequence,
            replay_queue: state.pending.into(),
            orders: VecDeque::new(),
            outbox: WriteRequest::default(),
            timer: None,
            batch_started_at: None,
            pace: CooperativeYield::default(),
            channel,
            context,
            writer,
            status,
            guard,
        }
    }

    /// Goes on with what the last instance had acknowledged, then with the orders at hand, until one envelope is processed on
    /// another thread.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if !self.replay_pending(ctx).is_waiting() {
            while let Some(Order { submission, reply }) = self.orders.pop_front() {
                let message = PendingMessage {
                    envelope: submission.envelope,
                    validated_at: submission.validated_at,
                    is_config: submission.is_config,
                    sequence: self.next_sequence,
                };
                self.next_sequence += 1;
                if self.process(message, Some(reply), ctx).is_waiting() {
                    break;
                }
            }
        }
        self.flush();
    }

    /// Orders what the last instance had acknowledged, until one envelope is processed on another thread.
    fn replay_pending(&mut self, ctx: &mut Context<Self>) -> Progress {
        while let Some(pending) = self.replay_queue.pop_front() {
            let Ok(envelope) = SignedEnvelope::parse(pending.raw) else { continue };
            let accepted = PendingMessage {
                envelope,
                validated_at: pending.validated_at,
                is_config: pending.is_config,
                sequence: pending.sequence,
            };
            if self.process(accepted, None, ctx).is_waiting() {
                return Progress::Blocked;
            }
        }
        Progress::Ready
    }

    fn process(&mut self, message: PendingMessage, reply: Option<Reply>, ctx: &mut Context<Self>) -> Progress {
        let effects = self.machine.step(Event::Order(Arc::new(message)));
        self.perform(effects, CutTrigger::Message, reply, ctx)
    }

    /// Performs effects in their order. The reply of the message that caused them goes along to the writer, which
    /// answers when everything before it is durable.
    fn perform(
        &mut self,
        effects: Vec<Effect<Arc<PendingMessage>>>,
        by: CutTrigger,
        mut reply: Option<Reply>,
        ctx: &mut Context<Self>,
    ) -> Progress {
        let mut deferred = None;
        let before_config = effects.iter().any(|effect| matches!(effect, Effect::WriteConfigBlock(_)));
        for effect in effects {
            match effect {
                Effect::Append(message) => {
                    self.batch_started_at.get_or_insert_with(Instant::now);
                    self.outbox.ops.push(WriteOp::AppendPending(message));
                }
                Effect::WriteBlock(batch) => {
                    let reason = if before_config { CutReason::Config } else { self.cut_reason(by, batch.len()) };
                    self.channel.observer().cut(reason, batch.len(), self.batch_started_at.take());
                    self.outbox.ops.push(WriteOp::WriteBlock {
                        pending_below: batch.last().map_or(0, |message| message.sequence + 1),
                        envelopes: batch.iter().map(|message| message.envelope.clone()).collect(),
                        consenter_metadata: Bytes::new(),
                        header_hash: None,
                    });
                }
                Effect::ArmTimer => self.arm_timer(ctx),
                Effect::DisarmTimer => self.disarm_timer(ctx),
                Effect::Revalidate(message) => deferred = Some(Deferred::Revalidate(message)),
                Effect::WriteConfigBlock(message) => deferred = Some(Deferred::ApplyConfig(message)),
            }
        }
        self.channel.observer().pending(self.machine.pending(), self.machine.pending_bytes());
        let Some(deferred) = deferred else {
            if self.context.durability == Durability::Memory
                && let Some(reply) = reply.take()
            {
                // what is acknowledged stays in memory until it is written: clients wait when the disk is slower than they are
                self.outbox.rooms.extend(reply.send_early(Ok(())));
            }
            self.outbox.replies.extend(reply);
            return Progress::Ready;
        };
        self.flush();
        match deferred {
            Deferred::Revalidate(message) => self.recheck(&message, reply, ctx),
            Deferred::ApplyConfig(message) => self.apply(message, reply, ctx),
        }
        Progress::Blocked
    }

    fn cut_reason(&self, by: CutTrigger, envelopes: usize) -> CutReason {
        match by {
            CutTrigger::Timer => CutReason::Timer,
            CutTrigger::Message if envelopes >= self.snapshot.orderer().batch_size.limits().max_message_count => {
                CutReason::Count
            }
            CutTrigger::Message => CutReason::Bytes,
        }
    }

    /// Sends to the writer what was decided since the last call.
    fn flush(&mut self) {
        let WriteRequest { ops, replies, .. } = &self.outbox;
        if !ops.is_empty() || !replies.is_empty() {
            // bounded by the room that each reply holds at the gate
            self.writer.send(std::mem::take(&mut self.outbox));
        }
    }

    /// Sends a config block to the writer, by itself: what comes behind it is written under the next configuration.
    fn write_config(&mut self, op: WriteOp, reply: Option<Reply>) {
        self.flush();
        self.outbox.ops.push(op);
        self.outbox.replies.extend(reply);
        self.flush();
    }

    /// Revalidates a message on another thread, because the configuration changed since it was validated. Meanwhile no other
    /// message is processed.
    fn recheck(&mut self, message: &PendingMessage, reply: Option<Reply>, ctx: &mut Context<Self>) {
        let (is_config, sequence) = (message.is_config, message.sequence);
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let work = rechecked(snapshot, context, message.envelope.clone(), is_config);
        let waiting = self.status.begin_background(ActivityKind::Recheck);
        let resume = work.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok((envelope, validated_at))) => {
                    let message = PendingMessage { envelope, validated_at, is_config, sequence };
                    if chain.process(message, reply, ctx).is_waiting() {
                        return;
                    }
                }
                Ok(Err(refusal)) => chain.refuse(&refusal, reply),
                Err(not_done) => return chain.exit_with(not_done.into(), ctx),
            }
            chain.proceed(ctx);
        });
        ctx.wait(resume);
    }

    /// Builds the configuration, or the channel, that a config message makes. Meanwhile no other message is processed: it might
    /// be validated under the wrong configuration.
    fn apply(&mut self, message: Arc<PendingMessage>, reply: Option<Reply>, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let (envelope, status) = (message.envelope.clone(), Arc::clone(&self.status));
        let work = on_own_thread(move || {
            status.fail_point_on_thread(ActivityKind::Apply);
            apply_config(&snapshot, &context, &envelope)
        });
        let waiting = self.status.begin_background(ActivityKind::Apply);
        let resume = work.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok(ConfigOutcome::Config(next))) => {
                    chain.channel.observer().cut(CutReason::Config, 1, None);
                    chain.snapshot = Arc::clone(&next);
                    let limits = next.orderer().batch_size.limits();
                    let effects = chain.machine.step(Event::Configured { sequence: next.sequence(), limits });
                    chain.perform(effects, CutTrigger::Message, None, ctx);
                    tracing::info!(target: "orderer.chain", channel = %chain.channel.id(), sequence = %next.sequence(),
                        "configuration updated");
                    chain.write_config(config_block(&message, Some(next), None), reply);
                }
                Ok(Ok(ConfigOutcome::Created(created))) => {
                    chain.channel.observer().cut(CutReason::Config, 1, None);
                    chain.write_config(config_block(&message, None, created), reply);
                }
                Ok(Err(refusal)) => chain.refuse(&refusal, reply),
                Err(not_done) => return chain.exit_with(not_done.into(), ctx),
            }
            chain.proceed(ctx);
        });
        ctx.wait(resume);
    }

    fn refuse(&self, refusal: &Rejection, reply: Option<Reply>) {
        let text = refusal.to_string();
        tracing::warn!(target: "orderer.chain", channel = %self.channel.id(), reason = %text,
            "message rejected: no longer valid under the updated configuration");
        if let Some(reply) = reply {
            reply.send(Err(OrderError::NoLongerValid { kind: refusal.kind(), text }));
        }
    }

    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        let timeout: Duration = self.snapshot.orderer().batch_timeout;
        self.channel.gauges().timer(Some(timeout));
        self.timer = Some(ctx.run_later(timeout, |chain, ctx| {
            chain.timer = None;
            let effects = chain.machine.step(Event::Timer);
            chain.channel.gauges().timer(None);
            chain.perform(effects, CutTrigger::Timer, None, ctx);
            chain.flush();
        }));
    }

    fn disarm_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            self.channel.gauges().timer(None);
            ctx.cancel_future(timer);
        }
    }

    fn exit_with(&mut self, exit: ExitReason, ctx: &mut Context<Self>) {
        self.guard.set_exit_reason(exit);
        ctx.stop();
    }
}

/// The trigger of a cut.
#[derive(Clone, Copy)]
enum CutTrigger {
    Message,
    Timer,
}

fn config_block(
    message: &PendingMessage,
    next: Option<Arc<ChannelSnapshot>>,
    created: Option<Box<ChannelCreated>>,
) -> WriteOp {
    WriteOp::WriteConfigBlock {
        envelope: message.envelope.clone(),
        pending_below: message.sequence + 1,
        consenter_metadata: Bytes::new(),
        header_hash: None,
        next,
        created,
    }
}

/// Whether the actor waits for another thread now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Ready,
    Blocked,
}

impl Progress {
    fn is_waiting(self) -> bool {
        self == Self::Blocked
    }
}

enum Deferred {
    Revalidate(Arc<PendingMessage>),
    ApplyConfig(Arc<PendingMessage>),
}

impl Actor for SoloChain {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_background(ActivityKind::Start);
        self.status.set_state("running", "");
        if !self.replay_queue.is_empty() {
            tracing::info!(target: "orderer.chain", channel = %self.channel.id(), envelopes = self.replay_queue.len(),
                "ordering envelopes that were acknowledged before the restart");
        }
        self.proceed(ctx);
    }
}

impl Handler<OrderBatch> for SoloChain {
    type Result = ();

    fn handle(&mut self, batch: OrderBatch, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Order);
        let count = batch.orders.len();
        // those of the message before are done: the actor handles no message while one of them waits
        self.orders.extend(batch.orders);
        self.proceed(ctx);
        self.pace.after_messages(count, ctx);
    }
}

impl Handler<Halt> for SoloChain {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Halt);
        self.disarm_timer(ctx);
        if self.context.durability == Durability::Memory {
            // acknowledged and nowhere but here
            let effects = self.machine.step(Event::Timer);
            self.perform(effects, CutTrigger::Timer, None, ctx);
            self.flush();
        }
        self.writer.send_uncounted(halt);
        self.exit_with(ExitReason::Requested, ctx);
    }
}

impl Handler<StopNow> for SoloChain {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        ctx.stop();
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::PanicNow> for SoloChain {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::PanicNow, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
