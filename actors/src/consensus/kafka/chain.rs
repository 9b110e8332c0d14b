//! Follows the channel's topic: feeds its machine, and performs what the machine decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, SpawnHandle,
    WrapFuture as _,
};
use bytes::Bytes;
use orderer_core::channel::BlockNumber;
use orderer_core::config::{ChannelSnapshot, Engine};
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::kafka::{
    Effect, Event, KafkaMetadata, KafkaOffset, LastBlock, Machine, Record, Rules, SkipReason, Verdict,
};
use orderer_kafka::{Cluster, TopicSpec};
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinError;

use super::absence::Absence;
use super::connect::{ConnectError, Connected, connect};
use super::consumer::KafkaConsumer;
use super::following::{Following, Trouble};
use super::health::Watch;
use super::messages::{AskToCut, Delivery, Drain, Ingress, LinkChanged, LinkState, Resubmit, TimeToCutFailed};
use super::producer::KafkaProducer;
use super::retry::Retries;
use crate::block_writer::{BlockWriter, Op, Write};
use crate::chain_state::chain_text;
use crate::chain_support::Abandon;
use crate::channel::{Channel, ChannelState, Voice};
use crate::config_work::{Applied, apply, recheck};
use crate::consensus::solo::chain::Halt;
use crate::mailbox::Counted;
use crate::node_context::NodeContext;
use crate::observe::CutReason;
use crate::status::{StatusCell, Task};
use crate::supervision::{Exit, ExitGuard};

/// Blocks that are cut and not yet on the disk, in bytes of their envelopes. When they are more, no record is taken.
const UNWRITTEN_BYTES: u32 = 64 << 20;
/// So many events are taken in before the arbiter's other actors have their turn.
const EVENTS_A_TURN: usize = 64;
/// Room in a topic's largest message beside the channel's largest envelope.
const MESSAGE_OVERHEAD_BYTES: u32 = 64 << 10;
/// Why a chain ends whose producer ended before it.
const NOT_ACKNOWLEDGED: &str = "the producer ended before the brokers had acknowledged a message that is ordered again";
/// What producer and consumer are told apart by, in the tree of actors.
pub(crate) const PRODUCER: &str = "kafka-producer";
/// As above.
pub(crate) const CONSUMER: &str = "kafka-consumer";

/// See the module's description.
pub(crate) struct KafkaChain {
    channel: Arc<Channel>,
    voice: Voice,
    context: Arc<NodeContext>,
    writer: Counted<BlockWriter>,
    cluster: Arc<dyn Cluster>,
    last: LastBlock,
    /// The configuration that the next record is taken under; on the disk a moment later.
    snapshot: Arc<ChannelSnapshot>,
    /// For producer and consumer, when they are started.
    guards: Option<(ExitGuard, ExitGuard)>,
    following: Option<Following>,
    retries: Retries,
    absence: Absence,
    unwritten: Arc<Semaphore>,
    timer: Option<SpawnHandle>,
    /// When the first envelope was taken that waits for its block.
    filling_since: Option<Instant>,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

/// Where a chain goes on.
pub(crate) struct Origin {
    /// Its brokers.
    pub(crate) cluster: Arc<dyn Cluster>,
    /// The ledger's last block.
    pub(crate) last: LastBlock,
    /// The configuration in force there.
    pub(crate) snapshot: Arc<ChannelSnapshot>,
}

/// Guards of the chain, its producer and its consumer.
pub(crate) struct Guards {
    pub(crate) chain: ExitGuard,
    pub(crate) producer: ExitGuard,
    pub(crate) consumer: ExitGuard,
}

impl KafkaChain {
    /// A chain that goes on where its ledger ends.
    pub(crate) fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        writer: Counted<BlockWriter>,
        Origin { cluster, last, snapshot }: Origin,
        status: Arc<StatusCell>,
        guards: Guards,
    ) -> Self {
        Self {
            voice: channel.new_voice(),
            channel,
            context,
            writer,
            cluster,
            last,
            snapshot,
            guards: Some((guards.producer, guards.consumer)),
            following: None,
            retries: Retries::default(),
            absence: Absence::default(),
            unwritten: Arc::new(Semaphore::new(UNWRITTEN_BYTES as usize)),
            timer: None,
            filling_since: None,
            status,
            guard: guards.chain,
        }
    }

    fn connect(&mut self, ctx: &mut Context<Self>) {
        let largest = self.snapshot.orderer().batch_size.absolute_max_bytes;
        let spec = TopicSpec {
            name: self.channel.id().to_string(),
            replication_factor: self.context.kafka.replication_factor,
            max_message_bytes: Some(largest.saturating_add(MESSAGE_OVERHEAD_BYTES)),
        };
        let attempt = self.context.io.spawn(connect(Arc::clone(&self.cluster), spec, self.last));
        let connected = attempt.into_actor(self).map(|outcome, chain: &mut Self, ctx| match outcome {
            Ok(Ok(connected)) => chain.follow(connected, ctx),
            Ok(Err(error)) => chain.not_connected(&error, ctx),
            Err(panicked) => chain.stop_because(Exit::Panicked(panicked.to_string()), ctx),
        });
        ctx.spawn(connected);
    }

    fn not_connected(&mut self, error: &ConnectError, ctx: &mut Context<Self>) {
        let cause = chain_text(error);
        let (now, kafka) = (self.context.uptime(), &self.context.kafka);
        let again = match error {
            ConnectError::Kafka(error) if !self.absence.is_final(error, now, kafka.topic_grace) => {
                self.retries.after_failure(now, rand::random(), &kafka.retry)
            }
            _ => None,
        };
        let Some(pause) = again else {
            self.stop_because(Exit::Unrecoverable(cause), ctx);
            return;
        };
        self.status.failed(cause.clone());
        self.report_trouble(&Trouble { cause, attempt: self.retries.attempts(), pause, since: Instant::now() });
        ctx.run_later(pause, Self::connect);
    }

    fn follow(&mut self, connected: Connected, ctx: &mut Context<Self>) {
        self.retries.succeeded();
        self.absence.ended();
        let Some((producer_guard, consumer_guard)) = self.guards.take() else { return };
        let Connected { producer, consumer, from, end } = connected;
        let cell = |name: &str| self.context.board.cell(&format!("registrar/{}/kafka-chain/{name}", self.channel.id()));
        let (context, chain) = (&self.context, ctx.address());
        let producer_status = cell(PRODUCER);
        let producer = KafkaProducer::new(
            Arc::clone(&self.channel),
            Arc::clone(context),
            chain.clone(),
            producer,
            Arc::clone(&producer_status),
            producer_guard,
        )
        .start();
        let consumer_status = cell(CONSUMER);
        let consumer = KafkaConsumer::new(
            Arc::clone(context),
            Counted::new(chain, Arc::clone(&self.status)),
            consumer,
            from,
            consumer_status,
            consumer_guard,
        )
        .start();
        let machine = Machine::resume(self.last, Rules::of(&self.snapshot));
        if machine.ingress_blocked() {
            send_ingress(&producer, false);
        }
        tracing::info!(target: "orderer.kafka", channel = %self.channel.id(), from = %machine.next_offset(), %end,
            "following the topic");
        let watch = Watch::start(Arc::clone(&self.channel), Arc::clone(&self.cluster), &self.context.io);
        self.following = Some(Following {
            _watch: watch,
            machine,
            producer,
            producer_status,
            consumer,
            deliveries: VecDeque::new(),
            effects: VecDeque::new(),
            busy: false,
            end,
            caught_up: false,
            down: [None, None],
        });
        self.report();
        self.advance(ctx);
    }

    /// Takes in what there is, until something has to be waited for.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..EVENTS_A_TURN {
            let Some(following) = &mut self.following else { return };
            if following.busy {
                return;
            }
            if let Some(effect) = following.effects.pop_front() {
                self.perform(effect, ctx);
                continue;
            }
            let Some(event) = following.next_event() else {
                self.report_position();
                return;
            };
            let caught_up = matches!(event, Event::CaughtUp);
            self.step(event);
            if caught_up {
                self.report();
            }
        }
        self.report_position();
        // the others' turn
        self.wait_for(tokio::task::yield_now(), |(), _, _| {}, ctx);
    }

    /// Takes nothing in until the future is done; `then` may add effects.
    fn wait_for<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
        then: impl FnOnce(T, &mut Self, &mut Context<Self>) + 'static,
        ctx: &mut Context<Self>,
    ) {
        if let Some(following) = &mut self.following {
            following.busy = true;
        }
        let done = future.into_actor(self).map(|outcome, chain: &mut Self, ctx| {
            if let Some(following) = &mut chain.following {
                following.busy = false;
            }
            then(outcome, chain, ctx);
            chain.advance(ctx);
        });
        ctx.spawn(done);
    }

    fn step(&mut self, event: Event) {
        let Some(following) = &mut self.following else { return };
        let observed = self.channel.observed();
        let mut timed = false;
        if let Event::Record { offset, record } = &event {
            let envelope = if let Record::Regular(message) = record { Some(&message.envelope) } else { None };
            observed.consumed(envelope, offset.0);
            timed = matches!(record, Record::TimeToCut(_));
        }
        let effects = following.machine.step(event);
        let (machine, limits) = (&following.machine, self.snapshot.orderer().batch_size.limits());
        let before_config = effects.iter().any(|effect| matches!(effect, Effect::WriteConfig { .. }));
        for effect in &effects {
            match effect {
                Effect::Write { envelopes, .. } => {
                    let reason = match envelopes.len() {
                        _ if before_config => CutReason::Config,
                        _ if timed => CutReason::Timer,
                        count if count >= limits.max_message_count => CutReason::Count,
                        _ => CutReason::Bytes,
                    };
                    observed.cut(reason, envelopes.len(), self.filling_since.take());
                }
                Effect::WriteConfig { .. } => observed.cut(CutReason::Config, 1, None),
                _ => {}
            }
        }
        if machine.pending() > 0 {
            self.filling_since.get_or_insert_with(Instant::now);
        }
        observed.pending(machine.pending(), machine.pending_bytes());
        following.effects.extend(effects);
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let Some(following) = &self.following else { return };
        match effect {
            Effect::Recheck { envelope, is_config } => self.recheck(envelope, is_config, ctx),
            Effect::Write { number, envelopes, metadata } => self.write(number, envelopes, metadata, ctx),
            Effect::WriteConfig { number, envelope, metadata } => self.apply(number, envelope, metadata, ctx),
            Effect::Resubmit(message) => {
                let (done, acknowledged) = oneshot::channel();
                #[expect(clippy::disallowed_methods, reason = "one at a time")]
                following.producer.do_send(Resubmit { message, done });
                // no block that is decided later may be durable before the broker has it; a producer that is gone has
                // not said so
                let then = |acknowledged: Result<(), RecvError>, chain: &mut Self, ctx: &mut Context<Self>| {
                    if acknowledged.is_err() {
                        chain.stop_because(Exit::Failed(NOT_ACKNOWLEDGED.to_owned()), ctx);
                    }
                };
                self.wait_for(acknowledged, then, ctx);
            }
            Effect::TimeToCut(block) => {
                #[expect(clippy::disallowed_methods, reason = "one a batch timer")]
                following.producer.do_send(AskToCut(block));
            }
            Effect::BlockIngress => {
                tracing::info!(target: "orderer.kafka", channel = %self.channel.id(),
                    "a config message is ordered again: Broadcast waits for it");
                send_ingress(&following.producer, false);
            }
            Effect::UnblockIngress => send_ingress(&following.producer, true),
            Effect::ArmTimer => {
                let timeout = self.snapshot.orderer().batch_timeout;
                self.channel.gauges().timer(Some(timeout));
                self.timer = Some(ctx.run_later(timeout, |chain, ctx| {
                    chain.timer = None;
                    chain.channel.gauges().timer(None);
                    chain.step(Event::Timer);
                    chain.advance(ctx);
                }));
            }
            Effect::DisarmTimer => {
                if let Some(timer) = self.timer.take() {
                    self.channel.gauges().timer(None);
                    ctx.cancel_future(timer);
                }
            }
            Effect::Skip { offset, reason } => self.report_skip(offset, &reason),
            Effect::Fail(failure) => self.stop_because(Exit::Unrecoverable(failure.to_string()), ctx),
        }
    }

    fn recheck(&mut self, envelope: SignedEnvelope, is_config: bool, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let judged = self.context.io.spawn_blocking(move || recheck(&snapshot, &context, &envelope, is_config));
        let then = |outcome, chain: &mut Self, ctx: &mut Context<Self>| match outcome {
            Ok(Ok((envelope, sequence))) => chain.step(Event::Rechecked(Verdict::Valid { envelope, sequence })),
            Ok(Err(refusal)) => chain.step(Event::Rechecked(Verdict::Invalid(refusal))),
            Err(panicked) => chain.stop_because(Exit::Panicked(JoinError::to_string(&panicked)), ctx),
        };
        self.wait_for(judged, then, ctx);
    }

    fn write(
        &mut self,
        number: BlockNumber,
        envelopes: Vec<SignedEnvelope>,
        metadata: KafkaMetadata,
        ctx: &mut Context<Self>,
    ) {
        let bytes: usize = envelopes.iter().map(|envelope| envelope.raw().len()).sum();
        let op = Op::Block { envelopes, pending_below: 0, consenter_metadata: metadata.encode() };
        self.hand_over(number, op, bytes, ctx);
    }

    /// A message that the other orderers could apply and this one cannot must not be passed over: the chain ends.
    fn apply(
        &mut self,
        number: BlockNumber,
        envelope: SignedEnvelope,
        metadata: KafkaMetadata,
        ctx: &mut Context<Self>,
    ) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let of_thread = envelope.clone();
        let applied = self.context.io.spawn_blocking(move || apply(&snapshot, &context, &of_thread));
        let then = move |outcome, chain: &mut Self, ctx: &mut Context<Self>| {
            let bytes = envelope.raw().len();
            let (next, created) = match outcome {
                Ok(Ok(Applied::Config(next))) => (Some(next), None),
                Ok(Ok(Applied::Created(created))) => (None, created),
                Ok(Err(refusal)) => {
                    let cause = format!("the config message of block {number} cannot be applied: {refusal}");
                    return chain.stop_because(Exit::Unrecoverable(cause), ctx);
                }
                Err(panicked) => return chain.stop_because(Exit::Panicked(JoinError::to_string(&panicked)), ctx),
            };
            let mut consenter_metadata = metadata.encode();
            if let Some(next) = &next {
                if !matches!(chain.context.serving.engine(next), Ok(Engine::Kafka { .. })) {
                    // another engine goes on from here, which would not know what to make of an offset
                    consenter_metadata = Bytes::new();
                    tracing::warn!(target: "orderer.kafka", channel = %chain.channel.id(),
                        to = %next.orderer().consensus_type, "the channel moves away from Kafka: restart the orderer");
                }
                chain.snapshot = Arc::clone(next);
                tracing::info!(target: "orderer.chain", channel = %chain.channel.id(), sequence = %next.sequence(),
                    "configuration updated");
                chain.step(Event::Configured(Rules::of(next)));
            }
            let op = Op::ConfigBlock { envelope, pending_below: 0, consenter_metadata, next, created };
            chain.hand_over(number, op, bytes, ctx);
        };
        self.wait_for(applied, then, ctx);
    }

    /// To the writer, when there is room.
    fn hand_over(&mut self, number: BlockNumber, op: Op, bytes: usize, ctx: &mut Context<Self>) {
        tracing::trace!(target: "orderer.kafka", channel = %self.channel.id(), block = %number, "block cut");
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(UNWRITTEN_BYTES);
        if let Ok(room) = Arc::clone(&self.unwritten).try_acquire_many_owned(bytes) {
            send_write(&self.writer, op, room);
            return;
        }
        let room = Arc::clone(&self.unwritten).acquire_many_owned(bytes);
        let then = |room, chain: &mut Self, _: &mut Context<Self>| {
            // never closed
            if let Ok(room) = room {
                send_write(&chain.writer, op, room);
            }
        };
        self.wait_for(room, then, ctx);
    }

    /// Says how the channel stands, and opens or closes its gate accordingly.
    fn report(&self) {
        let Some(following) = self.following.as_ref().filter(|_| self.channel.hears(self.voice)) else { return };
        if let Some(trouble) = following.down.iter().flatten().next() {
            self.report_trouble(trouble);
            return;
        }
        if !following.caught_up {
            let (next, end) = (following.machine.next_offset(), following.end);
            self.status.enter("catching up", format!("offset {next} of {end}"));
            self.channel.enter_as(self.voice, ChannelState::CatchingUp { offset: next.0, end: end.0 });
            return;
        }
        if self.channel.gate().is_open() {
            return;
        }
        self.status.enter("running", "");
        self.channel.gate().open(following.producer.clone().recipient(), Arc::clone(&following.producer_status));
        self.channel.enter_as(self.voice, ChannelState::Running);
        tracing::info!(target: "orderer.chain", channel = %self.channel.id(), height = following.machine.last_cut().0 + 1,
            "chain is running");
    }

    fn report_trouble(&self, Trouble { cause, attempt, pause, since }: &Trouble) {
        if !self.channel.hears(self.voice) {
            return;
        }
        self.channel.gate().close();
        let pause = pause.saturating_sub(since.elapsed());
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        // said at once, and then more and more seldom: a thousand channels may try again every second
        if attempt.is_power_of_two() {
            tracing::warn!(target: "orderer.kafka", channel = %self.channel.id(), %cause, attempt, pause_ms,
                action = "see to the brokers: orderer kafka check asks them",
                "the Kafka cluster does not serve the channel, it is tried again");
        } else {
            tracing::debug!(target: "orderer.kafka", channel = %self.channel.id(), %cause, attempt, pause_ms,
                "the Kafka cluster still does not serve the channel");
        }
        self.status.enter("retrying", cause.clone());
        let (cause, attempt) = (cause.clone(), *attempt as usize);
        self.channel.enter_as(self.voice, ChannelState::Retrying { attempt, cause, pause_ms });
    }

    fn report_position(&self) {
        let Some(following) = &self.following else { return };
        if following.caught_up {
            self.status.enter("running", format!("offset {}", following.machine.next_offset()));
        }
    }

    fn report_skip(&self, offset: KafkaOffset, reason: &SkipReason) {
        let channel = self.channel.id();
        match reason {
            SkipReason::AlreadyTaken | SkipReason::StaleTimeToCut { .. } | SkipReason::SeenBefore { .. } => {
                tracing::debug!(target: "orderer.kafka", %channel, %offset, %reason, "record skipped");
            }
            _ => tracing::warn!(target: "orderer.kafka", %channel, %offset, %reason, "record skipped"),
        }
    }

    fn stop_because(&mut self, exit: Exit, ctx: &mut Context<Self>) {
        self.guard.will_exit(exit);
        self.stop(ctx);
    }

    fn stop(&mut self, ctx: &mut Context<Self>) {
        self.following = None;
        // of producer and consumer that were never started
        if let Some((mut producer, mut consumer)) = self.guards.take() {
            producer.will_exit(Exit::Asked);
            consumer.will_exit(Exit::Asked);
        }
        ctx.stop();
    }
}

fn send_ingress(producer: &Addr<KafkaProducer>, open: bool) {
    #[expect(clippy::disallowed_methods, reason = "one a config update that another overtook")]
    producer.do_send(Ingress { open });
}

fn send_write(writer: &Counted<BlockWriter>, op: Op, room: tokio::sync::OwnedSemaphorePermit) {
    // bounded by the room that each block holds
    writer.tell(Write { ops: vec![op], reply: None, room: Some(room) });
}

impl Actor for KafkaChain {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.status.enter("connecting", "");
        self.channel.enter_as(self.voice, ChannelState::Connecting);
        self.connect(ctx);
    }
}

impl Handler<Delivery> for KafkaChain {
    type Result = ();

    fn handle(&mut self, delivery: Delivery, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Delivery);
        self.channel.observed().topic_ends(delivery.end);
        if let Some(following) = &mut self.following {
            following.deliveries.push_back(delivery);
        }
        self.advance(ctx);
    }
}

impl Handler<LinkChanged> for KafkaChain {
    type Result = ();

    fn handle(&mut self, LinkChanged { link, state }: LinkChanged, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::LinkChanged);
        let Some(following) = &mut self.following else { return };
        let told = following.down.iter().position(Option::is_some);
        let trouble = match state {
            LinkState::Up => {
                tracing::info!(target: "orderer.kafka", channel = %self.channel.id(), ?link, "the Kafka cluster serves the channel again");
                None
            }
            LinkState::Down { cause, attempt, pause } => Some(Trouble { cause, attempt, pause, since: Instant::now() }),
            LinkState::Lost(cause) => return self.stop_because(Exit::Unrecoverable(cause), ctx),
        };
        let is_down = trouble.is_some();
        following.down[link as usize] = trouble;
        // both suffer from the same cluster: one tells of it
        if !is_down || told.is_none_or(|told| told == link as usize) {
            self.report();
        }
    }
}

impl Handler<TimeToCutFailed> for KafkaChain {
    type Result = ();

    fn handle(&mut self, TimeToCutFailed(block): TimeToCutFailed, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::TimeToCutFailed);
        self.step(Event::TimeToCutFailed(block));
        self.advance(ctx);
    }
}

impl Handler<Halt> for KafkaChain {
    type Result = ();

    /// What was produced is in the topic, and will be in the chain whenever it is read; only what Broadcast still waits
    /// for is worth a moment.
    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Halt);
        let (drained, answered) = oneshot::channel();
        if let Some(following) = &self.following {
            #[expect(clippy::disallowed_methods, reason = "once in the life of the actor")]
            following.producer.do_send(Drain(drained));
        }
        let then = answered.into_actor(self).map(|_, chain: &mut Self, ctx| {
            chain.writer.tell_once(halt);
            chain.stop_because(Exit::Asked, ctx);
        });
        ctx.spawn(then);
    }
}

impl Handler<Abandon> for KafkaChain {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        self.stop(ctx);
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::consensus::solo::chain::Crash> for KafkaChain {
    type Result = ();
    fn handle(&mut self, _: crate::consensus::solo::chain::Crash, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
