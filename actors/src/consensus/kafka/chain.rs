//! Follows the channel's topic: feeds its machine, and performs what the machine decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, SpawnHandle, WrapFuture as _,
};
use orderer_core::config::ChannelSnapshot;
use orderer_core::ordering::kafka::{Effect, Event, KafkaMachine, LastBlock, OrderingConfig, Record};
use orderer_kafka::{Cluster, TopicSpec};
use tokio::sync::{Semaphore, oneshot};

use super::connect::{ConnectError, TopicConnection, connect};
use super::consumer::KafkaConsumer;
use super::context::KafkaContext;
use super::health::TopicMonitor;
use super::messages::{
    ActorEntry, ChainRecipients, ConnectionChanged, ConnectionState, Drain, FetchedBatch, SetIngress, TimeToCutFailed,
};
use super::producer::KafkaProducer;
use super::retry::Backoff;
use super::topic_absence::TopicAbsence;
use super::topic_session::{LinkOutage, TopicSession};
use crate::block_writer::BlockWriter;
use crate::chain_state::error_chain;
use crate::channel::{Channel, ChannelState, StateLease};
use crate::consensus::{ChildActors, ConsenterSupport};
use crate::mailbox::CountedAddr;
use crate::node_context::NodeContext;
use crate::observer::CutReason;
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, Halt, StopNow};

/// Maximum size of blocks that are cut and not yet durable, in bytes of their envelopes. Above it no record is consumed.
pub(crate) const UNWRITTEN_BYTES: u32 = 8 << 20;
/// The maximum number of events that the chain processes before the arbiter's other actors have their turn.
const EVENTS_PER_TURN: usize = 64;
/// Room in a topic's largest message beside the channel's largest envelope.
const MESSAGE_OVERHEAD_BYTES: u32 = 64 << 10;
/// The chain, below the channel.
const CHAIN: &str = "kafka-chain";
/// Paths of the chain's other actors.
const PRODUCER: &str = "kafka-chain/kafka-producer";
const CONSUMER: &str = "kafka-chain/kafka-consumer";
/// Action for the operator of a channel whose topic has changed or lost records.
const ACTION_TOPIC: &str = "check the topic or the disk that the cause names, then restart the channel";

/// The actor that orders one channel by its topic. The producer and the consumer of the topic are its children.
pub(super) struct KafkaChain {
    pub(super) channel: Arc<Channel>,
    pub(super) lease: StateLease,
    pub(super) context: Arc<NodeContext>,
    kafka: Arc<KafkaContext>,
    pub(super) writer: CountedAddr<BlockWriter>,
    cluster: Arc<dyn Cluster>,
    last: LastBlock,
    /// The configuration under which the next record is consumed; durable a moment later.
    pub(super) snapshot: Arc<ChannelSnapshot>,
    /// Status cells and guards for producer and consumer, until they are started.
    links: Option<ChainChildren>,
    pub(super) following: Option<TopicSession>,
    retries: Backoff,
    absence: TopicAbsence,
    pub(super) unwritten: Arc<Semaphore>,
    pub(super) timer: Option<SpawnHandle>,
    /// Time at which the first pending envelope of the next block was consumed.
    batch_started_at: Option<Instant>,
    pub(super) status: Arc<StatusCell>,
    guard: ExitGuard,
}

/// Status cells and guards for the next producer and consumer.
struct ChainChildren {
    producer: ActorEntry,
    consumer: ActorEntry,
}

impl ChainChildren {
    fn new(children: &ChildActors) -> Self {
        let place = |path| ActorEntry { status: children.cell(path), guard: children.guard(path) };
        Self { producer: place(PRODUCER), consumer: place(CONSUMER) }
    }
}

impl KafkaChain {
    /// A chain that goes on behind `last`, the newest block of its ledger.
    pub(super) fn new(
        support: ConsenterSupport,
        kafka: Arc<KafkaContext>,
        cluster: Arc<dyn Cluster>,
        last: LastBlock,
    ) -> Self {
        let ConsenterSupport { channel, context, state, writer, lease, children } = support;
        let (status, guard) = (children.cell(CHAIN), children.guard(CHAIN));
        Self {
            channel,
            lease,
            context,
            kafka,
            writer,
            cluster,
            last,
            snapshot: state.snapshot,
            links: Some(ChainChildren::new(&children)),
            following: None,
            retries: Backoff::default(),
            absence: TopicAbsence::default(),
            unwritten: Arc::new(Semaphore::new(UNWRITTEN_BYTES as usize)),
            timer: None,
            batch_started_at: None,
            status,
            guard,
        }
    }

    fn connect(&mut self, ctx: &mut Context<Self>) {
        let largest = self.snapshot.orderer().batch_size.absolute_max_bytes;
        let spec = TopicSpec {
            name: self.channel.id().to_string(),
            replication_factor: self.kafka.replication_factor,
            max_message_bytes: Some(largest.saturating_add(MESSAGE_OVERHEAD_BYTES)),
        };
        let attempt = self.context.blocking_runtime.spawn(connect(Arc::clone(&self.cluster), spec, self.last));
        let connected = attempt.into_actor(self).map(|outcome, chain: &mut Self, ctx| match outcome {
            Ok(Ok(connected)) => chain.follow(connected, ctx),
            Ok(Err(error)) => chain.not_connected(&error, ctx),
            Err(panicked) => chain.exit_with(ExitReason::Panicked(panicked.to_string()), ctx),
        });
        ctx.spawn(connected);
    }

    fn not_connected(&mut self, error: &ConnectError, ctx: &mut Context<Self>) {
        let cause = error_chain(error);
        let (now, kafka) = (self.context.uptime(), &self.kafka);
        let again = match error {
            ConnectError::Kafka(error) if !self.absence.is_permanent(error, now, kafka.topic_grace) => {
                self.retries.next_delay(now, rand::random(), &kafka.retry)
            }
            _ => None,
        };
        let Some(pause) = again else {
            self.give_up(cause, ctx);
            return;
        };
        self.status.record_error(cause.clone());
        self.report_trouble(&LinkOutage { cause, attempt: self.retries.attempts(), pause, since: Instant::now() });
        ctx.run_later(pause, Self::connect);
    }

    fn follow(&mut self, connected: TopicConnection, ctx: &mut Context<Self>) {
        self.retries.succeeded();
        self.absence.ended();
        let Some(links) = self.links.take() else { return };
        let TopicConnection { producer, consumer, from, end } = connected;
        let chain = ChainRecipients::new(&ctx.address(), &self.status);
        let producer_status = Arc::clone(&links.producer.status);
        let producer = KafkaProducer::new(
            Arc::clone(&self.channel),
            Arc::clone(&self.context),
            Arc::clone(&self.kafka),
            chain.clone(),
            producer,
            links.producer,
        )
        .start();
        let consumer = KafkaConsumer::new(
            Arc::clone(&self.context),
            Arc::clone(&self.kafka),
            chain,
            consumer,
            from,
            links.consumer,
        )
        .start();
        let machine = KafkaMachine::resume(self.last, OrderingConfig::of(&self.snapshot));
        if machine.ingress_blocked() {
            #[expect(clippy::disallowed_methods, reason = "once in the life of a chain")]
            producer.do_send(SetIngress { open: false });
        }
        tracing::info!(target: "orderer.kafka", channel = %self.channel.id(), from = %machine.next_offset(), %end,
            "consuming the topic");
        let watch =
            TopicMonitor::start(Arc::clone(&self.channel), Arc::clone(&self.cluster), &self.context.blocking_runtime);
        self.following = Some(TopicSession {
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
        self.drive(ctx);
    }

    /// Takes in what there is, until something has to be waited for.
    pub(super) fn drive(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..EVENTS_PER_TURN {
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

    /// Consumes nothing until the future is done; `then` may add effects.
    pub(super) fn wait_for<T: 'static>(
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
            chain.drive(ctx);
        });
        ctx.spawn(done);
    }

    pub(super) fn step(&mut self, event: Event) {
        let Some(following) = &mut self.following else { return };
        let observer = self.channel.observer();
        let mut timed = false;
        if let Event::Record { offset, record } = &event {
            let envelope = if let Record::Regular(message) = record { Some(&message.envelope) } else { None };
            observer.consumed(envelope, offset.0);
            timed = matches!(record, Record::TimeToCut(_));
        }
        let effects = following.machine.step(event);
        let (machine, limits) = (&following.machine, self.snapshot.orderer().batch_size.limits());
        let before_config = effects.iter().any(|effect| matches!(effect, Effect::WriteConfigBlock { .. }));
        for effect in &effects {
            match effect {
                Effect::WriteBlock { envelopes, .. } => {
                    let reason = match envelopes.len() {
                        _ if before_config => CutReason::Config,
                        _ if timed => CutReason::Timer,
                        count if count >= limits.max_message_count => CutReason::Count,
                        _ => CutReason::Bytes,
                    };
                    observer.cut(reason, envelopes.len(), self.batch_started_at.take());
                }
                Effect::WriteConfigBlock { .. } => observer.cut(CutReason::Config, 1, None),
                _ => {}
            }
        }
        if machine.pending() > 0 {
            self.batch_started_at.get_or_insert_with(Instant::now);
        }
        observer.pending(machine.pending(), machine.pending_bytes());
        following.effects.extend(effects);
    }

    /// Ends for good: the topic is not what it was, or cannot be followed.
    pub(super) fn give_up(&mut self, cause: String, ctx: &mut Context<Self>) {
        self.exit_with(ExitReason::Unrecoverable { cause, action: ACTION_TOPIC }, ctx);
    }

    pub(super) fn exit_with(&mut self, exit: ExitReason, ctx: &mut Context<Self>) {
        self.guard.set_exit_reason(exit);
        self.stop(ctx);
    }

    fn stop(&mut self, ctx: &mut Context<Self>) {
        self.following = None;
        // of producer and consumer that were never started
        if let Some(ChainChildren { mut producer, mut consumer }) = self.links.take() {
            producer.guard.set_exit_reason(ExitReason::Requested);
            consumer.guard.set_exit_reason(ExitReason::Requested);
        }
        ctx.stop();
    }
}

impl Actor for KafkaChain {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.status.set_state("connecting", "");
        self.channel.set_state_with_lease(self.lease, ChannelState::Connecting);
        self.connect(ctx);
    }
}

impl Handler<FetchedBatch> for KafkaChain {
    type Result = ();

    fn handle(&mut self, delivery: FetchedBatch, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Delivery);
        self.channel.observer().topic_ends(delivery.end);
        if let Some(following) = &mut self.following {
            following.deliveries.push_back(delivery);
        }
        self.drive(ctx);
    }
}

impl Handler<ConnectionChanged> for KafkaChain {
    type Result = ();

    fn handle(&mut self, ConnectionChanged { link, state }: ConnectionChanged, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::LinkChanged);
        let Some(following) = &mut self.following else { return };
        let reported = following.down.iter().position(Option::is_some);
        let trouble = match state {
            ConnectionState::Up => {
                tracing::info!(target: "orderer.kafka", channel = %self.channel.id(), ?link, "Kafka cluster is available again for the channel");
                None
            }
            ConnectionState::Down { cause, attempt, pause } => {
                Some(LinkOutage { cause, attempt, pause, since: Instant::now() })
            }
            ConnectionState::Failed(cause) => return self.give_up(cause, ctx),
        };
        let is_down = trouble.is_some();
        following.down[link as usize] = trouble;
        // both connections fail with the same cluster: only one is reported
        if !is_down || reported.is_none_or(|reported| reported == link as usize) {
            self.report();
        }
    }
}

impl Handler<TimeToCutFailed> for KafkaChain {
    type Result = ();

    fn handle(&mut self, TimeToCutFailed(block): TimeToCutFailed, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::TimeToCutFailed);
        self.step(Event::TimeToCutFailed(block));
        self.drive(ctx);
    }
}

impl Handler<Halt> for KafkaChain {
    type Result = ();

    /// Drains the producer before the chain stops. What was produced is in the topic and will be consumed later; only
    /// messages whose senders wait on Broadcast are worth a moment.
    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Halt);
        let (drained, answered) = oneshot::channel();
        if let Some(following) = &self.following {
            #[expect(clippy::disallowed_methods, reason = "once in the life of the actor")]
            following.producer.do_send(Drain(drained));
        }
        let then = answered.into_actor(self).map(|_, chain: &mut Self, ctx| {
            chain.writer.send_uncounted(halt);
            chain.exit_with(ExitReason::Requested, ctx);
        });
        ctx.spawn(then);
    }
}

impl Handler<StopNow> for KafkaChain {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        self.stop(ctx);
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::PanicNow> for KafkaChain {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::PanicNow, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
