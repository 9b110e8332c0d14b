//! The solo consenter's actor: feeds its machine, and performs what the machine decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, SpawnHandle, WrapFuture as _,
};
use bytes::Bytes;
use orderer_core::channel::ConfigSequence;
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::solo::{Effect, Event, Machine, Ordered};
use orderer_core::processing::Refusal;
use orderer_ledger::PendingEnvelope;

use crate::block_writer::{Accepted, BlockWriter, Op, Write};
use crate::chain_state::ChainState;
use crate::channel::{Channel, NewChannel};
use crate::config_work::{Applied, apply, rechecked};
use crate::judging::on_own_thread;
use crate::mailbox::{Counted, Order, OrderRefusal, Pace, Reply, Room};
use crate::node_context::{Durability, NodeContext};
use crate::observe::CutReason;
use crate::status::{StatusCell, Task};
use crate::supervision::{Abandon, Exit, ExitGuard, Halt};

impl Ordered for Accepted {
    fn size_bytes(&self) -> usize {
        self.envelope.size_bytes()
    }
    fn checked_at(&self) -> ConfigSequence {
        self.checked_at
    }
    fn is_config(&self) -> bool {
        self.is_config
    }
}

/// Orders one channel's messages. Owns the cutter; a [`BlockWriter`] makes durable what it decides.
pub(super) struct SoloChain {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    writer: Counted<BlockWriter>,
    machine: Machine<Arc<Accepted>>,
    /// The configuration that the next message is ordered under; on the disk a moment later.
    snapshot: Arc<ChannelSnapshot>,
    next_sequence: u64,
    /// Pending envelopes of the last instance, before everything else.
    backlog: VecDeque<PendingEnvelope>,
    timer: Option<SpawnHandle>,
    /// Time at which the first pending envelope of the next block came.
    filling_since: Option<Instant>,
    status: Arc<StatusCell>,
    pace: Pace,
    guard: ExitGuard,
}

impl SoloChain {
    /// A chain that goes on where `state` says.
    pub(super) fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        writer: Counted<BlockWriter>,
        state: ChainState,
        status: Arc<StatusCell>,
        guard: ExitGuard,
    ) -> Self {
        let limits = state.snapshot.orderer().batch_size.limits();
        Self {
            machine: Machine::new(state.snapshot.sequence(), limits),
            snapshot: state.snapshot,
            next_sequence: state.next_sequence,
            backlog: state.pending.into(),
            timer: None,
            filling_since: None,
            pace: Pace::default(),
            channel,
            context,
            writer,
            status,
            guard,
        }
    }

    /// Orders what the last instance had acknowledged, until one envelope has to be revalidated on another thread.
    fn order_backlog(&mut self, ctx: &mut Context<Self>) {
        while let Some(pending) = self.backlog.pop_front() {
            let Ok(envelope) = SignedEnvelope::parse(pending.raw) else { continue };
            let accepted = Accepted {
                envelope,
                checked_at: pending.checked_at,
                is_config: pending.is_config,
                sequence: pending.sequence,
            };
            if self.feed(accepted, None, ctx).is_waiting() {
                return;
            }
        }
    }

    fn feed(&mut self, message: Accepted, reply: Option<Reply>, ctx: &mut Context<Self>) -> Fed {
        let effects = self.machine.step(Event::Order(Arc::new(message)));
        self.perform(effects, CutBy::Message, reply, ctx)
    }

    /// Performs effects in their order. The reply of the message that caused them goes along to the writer, which
    /// answers when everything before it is durable.
    fn perform(
        &mut self,
        effects: Vec<Effect<Arc<Accepted>>>,
        by: CutBy,
        mut reply: Option<Reply>,
        ctx: &mut Context<Self>,
    ) -> Fed {
        let mut ops = Vec::with_capacity(effects.len());
        let mut thinking = None;
        let before_config = effects.iter().any(|effect| matches!(effect, Effect::WriteConfig(_)));
        for effect in effects {
            match effect {
                Effect::Hold(message) => {
                    self.filling_since.get_or_insert_with(Instant::now);
                    ops.push(Op::Hold(message));
                }
                Effect::Write(batch) => {
                    let reason = if before_config { CutReason::Config } else { self.cut_reason(by, batch.len()) };
                    self.channel.observed().cut(reason, batch.len(), self.filling_since.take());
                    ops.push(Op::Block {
                        pending_below: batch.last().map_or(0, |message| message.sequence + 1),
                        envelopes: batch.iter().map(|message| message.envelope.clone()).collect(),
                        consenter_metadata: Bytes::new(),
                        header_hash: None,
                    });
                }
                Effect::ArmTimer => self.arm_timer(ctx),
                Effect::DisarmTimer => self.disarm_timer(ctx),
                Effect::Recheck(message) => thinking = Some(Thought::Recheck(message)),
                Effect::WriteConfig(message) => thinking = Some(Thought::Apply(message)),
            }
        }
        self.channel.observed().pending(self.machine.pending(), self.machine.pending_bytes());
        let Some(thought) = thinking else {
            let mut room = None;
            if self.context.durability == Durability::Memory
                && let Some(reply) = reply.take()
            {
                // what is acknowledged stays in memory until it is written: clients wait when the disk is slower than they are
                room = reply.send_early(Ok(()));
            }
            self.write(ops, reply, room);
            return Fed::Done;
        };
        self.write(ops, None, None);
        match thought {
            Thought::Recheck(message) => self.recheck(&message, reply, ctx),
            Thought::Apply(message) => self.apply(message, reply, ctx),
        }
        Fed::Waiting
    }

    fn cut_reason(&self, by: CutBy, envelopes: usize) -> CutReason {
        match by {
            CutBy::Timer => CutReason::Timer,
            CutBy::Message if envelopes >= self.snapshot.orderer().batch_size.limits().max_message_count => {
                CutReason::Count
            }
            CutBy::Message => CutReason::Bytes,
        }
    }

    fn write(&self, ops: Vec<Op>, reply: Option<Reply>, room: Option<Room>) {
        if ops.is_empty() && reply.is_none() {
            return;
        }
        // bounded by the room that each reply holds at the gate
        self.writer.tell(Write { ops, reply, rooms: room.into_iter().collect() });
    }

    /// Revalidates a message on another thread, because the configuration changed since it was validated. Meanwhile no other
    /// message is processed.
    fn recheck(&mut self, message: &Accepted, reply: Option<Reply>, ctx: &mut Context<Self>) {
        let (is_config, sequence) = (message.is_config, message.sequence);
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let work = rechecked(snapshot, context, message.envelope.clone(), is_config);
        let waiting = self.status.wait_for(Task::Recheck);
        let resume = work.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok((envelope, checked_at))) => {
                    chain.feed(Accepted { envelope, checked_at, is_config, sequence }, reply, ctx);
                }
                Ok(Err(refusal)) => chain.refuse(&refusal, reply),
                Err(panicked) => chain.stop_because(Exit::Panicked(panicked.to_string()), ctx),
            }
            chain.order_backlog(ctx);
        });
        ctx.wait(resume);
    }

    /// Builds the configuration, or the channel, that a config message makes. Meanwhile no other message is processed: it might
    /// be validated under the wrong configuration.
    fn apply(&mut self, message: Arc<Accepted>, reply: Option<Reply>, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let of_thread = Arc::clone(&message);
        let work = on_own_thread(move || apply(&snapshot, &context, &of_thread.envelope));
        let waiting = self.status.wait_for(Task::Apply);
        let resume = work.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok(Applied::Config(next))) => {
                    chain.channel.observed().cut(CutReason::Config, 1, None);
                    chain.snapshot = Arc::clone(&next);
                    let limits = next.orderer().batch_size.limits();
                    let effects = chain.machine.step(Event::Configured { sequence: next.sequence(), limits });
                    chain.perform(effects, CutBy::Message, None, ctx);
                    tracing::info!(target: "orderer.chain", channel = %chain.channel.id(), sequence = %next.sequence(),
                        "configuration updated");
                    chain.write(vec![config_block(&message, Some(next), None)], reply, None);
                }
                Ok(Ok(Applied::Created(created))) => {
                    chain.channel.observed().cut(CutReason::Config, 1, None);
                    chain.write(vec![config_block(&message, None, created)], reply, None);
                }
                Ok(Err(refusal)) => chain.refuse(&refusal, reply),
                Err(panicked) => chain.stop_because(Exit::Panicked(panicked.to_string()), ctx),
            }
            chain.order_backlog(ctx);
        });
        ctx.wait(resume);
    }

    fn refuse(&self, refusal: &Refusal, reply: Option<Reply>) {
        let text = refusal.to_string();
        tracing::warn!(target: "orderer.chain", channel = %self.channel.id(), reason = %text,
            "message is no longer valid under the new configuration, it is dropped");
        if let Some(reply) = reply {
            reply.send(Err(OrderRefusal::NoLongerValid { kind: refusal.kind(), text }));
        }
    }

    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        let timeout: Duration = self.snapshot.orderer().batch_timeout;
        self.channel.gauges().timer(Some(timeout));
        self.timer = Some(ctx.run_later(timeout, |chain, ctx| {
            chain.timer = None;
            let effects = chain.machine.step(Event::Timer);
            chain.channel.gauges().timer(None);
            chain.perform(effects, CutBy::Timer, None, ctx);
        }));
    }

    fn disarm_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            self.channel.gauges().timer(None);
            ctx.cancel_future(timer);
        }
    }

    fn stop_because(&mut self, exit: Exit, ctx: &mut Context<Self>) {
        self.guard.will_exit(exit);
        ctx.stop();
    }
}

/// The trigger of a cut.
#[derive(Clone, Copy)]
enum CutBy {
    Message,
    Timer,
}

fn config_block(message: &Accepted, next: Option<Arc<ChannelSnapshot>>, created: Option<Box<NewChannel>>) -> Op {
    Op::ConfigBlock {
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
enum Fed {
    Done,
    Waiting,
}

impl Fed {
    fn is_waiting(self) -> bool {
        self == Self::Waiting
    }
}

enum Thought {
    Recheck(Arc<Accepted>),
    Apply(Arc<Accepted>),
}

impl Actor for SoloChain {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let _taken = self.status.wait_for(Task::Start);
        self.status.enter("running", "");
        if !self.backlog.is_empty() {
            tracing::info!(target: "orderer.chain", channel = %self.channel.id(), envelopes = self.backlog.len(),
                "ordering what was acknowledged before the restart");
        }
        self.order_backlog(ctx);
    }
}

impl Handler<Order> for SoloChain {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Order);
        let Order { submission, reply } = order;
        let message = Accepted {
            envelope: submission.envelope,
            checked_at: submission.checked_at,
            is_config: submission.is_config,
            sequence: self.next_sequence,
        };
        self.next_sequence += 1;
        self.feed(message, Some(reply), ctx);
        self.pace.after_one(ctx);
    }
}

impl Handler<Halt> for SoloChain {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Halt);
        self.disarm_timer(ctx);
        if self.context.durability == Durability::Memory {
            // acknowledged and nowhere but here
            let effects = self.machine.step(Event::Timer);
            self.perform(effects, CutBy::Timer, None, ctx);
        }
        self.writer.tell_once(halt);
        self.stop_because(Exit::Asked, ctx);
    }
}

impl Handler<Abandon> for SoloChain {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        ctx.stop();
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::Crash> for SoloChain {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::Crash, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
