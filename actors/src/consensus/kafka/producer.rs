//! Appends to the topic: envelopes from Broadcast, in their order, and messages of the chain.
//!
//! One batch is in flight at a time. What gathers meanwhile is the next one, so batches are as large as the broker is
//! slow, and nothing overtakes anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::Bytes;
use orderer_core::ordering::kafka::{RegularMessage, encode_connect, encode_time_to_cut};
use orderer_core::types::BlockNumber;
use orderer_kafka::{Error, Produced, Producer};
use tokio::sync::oneshot;

use super::context::KafkaContext;
use super::messages::{
    ActorEntry, ChainRecipients, Connection, ConnectionState, Drain, ProduceTimeToCut, Resubmit, SetIngress,
};
use super::retry::Backoff;
use super::topic_absence::TopicAbsence;
use crate::chain_state::error_chain;
use crate::channel::Channel;
use crate::mailbox::{Order, OrderBatch, OrderError, Reply};
use crate::node_context::NodeContext;
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, StopNow};

/// Maximum size of a batch, in bytes: half of what a broker accepts by default. A message that is larger goes alone.
const BATCH_BYTES: usize = 512 << 10;

/// The actor that appends to a topic, one batch in flight at a time.
pub(super) struct KafkaProducer {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    kafka: Arc<KafkaContext>,
    chain: ChainRecipients,
    /// `None` while it is asked.
    producer: Option<Box<dyn Producer>>,
    /// Messages of the chain itself. They go before all others.
    wanted: VecDeque<QueuedRecord>,
    /// Envelopes from Broadcast. Bounded by the gate.
    taken: VecDeque<QueuedRecord>,
    /// Whether envelopes from Broadcast may go on to the topic.
    open: bool,
    /// After a batch that was too large as a whole: the number of messages that are still sent one by one.
    alone: usize,
    /// Number of failures of the batch in flight.
    failures: u32,
    /// The error while the cluster is unavailable: envelopes are rejected until a record got through.
    down: Option<String>,
    /// The topic accepts nothing until an operator has acted.
    lost: bool,
    retries: Backoff,
    absence: TopicAbsence,
    draining: Option<oneshot::Sender<()>>,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

struct QueuedRecord {
    content: RecordPayload,
    answer: ReplyTo,
}

enum RecordPayload {
    Message(RegularMessage),
    TimeToCut(BlockNumber),
    Connect,
}

enum ReplyTo {
    Client(Reply),
    Chain(oneshot::Sender<()>),
    None,
}

impl QueuedRecord {
    fn encode(&self) -> Bytes {
        match &self.content {
            RecordPayload::Message(message) => message.encode(),
            RecordPayload::TimeToCut(block) => encode_time_to_cut(*block),
            RecordPayload::Connect => encode_connect(),
        }
    }

    fn size_bytes(&self) -> usize {
        match &self.content {
            RecordPayload::Message(message) => message.envelope.raw().len(),
            RecordPayload::TimeToCut(_) | RecordPayload::Connect => 0,
        }
    }
}

impl KafkaProducer {
    pub(super) fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        kafka: Arc<KafkaContext>,
        chain: ChainRecipients,
        producer: Box<dyn Producer>,
        ActorEntry { status, guard }: ActorEntry,
    ) -> Self {
        Self {
            channel,
            context,
            kafka,
            chain,
            producer: Some(producer),
            wanted: VecDeque::new(),
            taken: VecDeque::new(),
            open: true,
            alone: 0,
            failures: 0,
            down: None,
            lost: false,
            retries: Backoff::default(),
            absence: TopicAbsence::default(),
            draining: None,
            status,
            guard,
        }
    }

    /// Produces what has gathered, unless a batch is in flight or the cluster is being waited for.
    fn produce(&mut self, ctx: &mut Context<Self>) {
        if self.producer.is_some() && self.down.is_none() && self.failures == 0 && !self.lost {
            let batch = self.gather();
            if !batch.is_empty() {
                self.send(batch, ctx);
            } else if self.taken.is_empty()
                && let Some(done) = self.draining.take()
            {
                let _ = done.send(());
            }
        }
    }

    fn gather(&mut self) -> Vec<QueuedRecord> {
        let mut batch: Vec<QueuedRecord> = Vec::new();
        let mut bytes = 0;
        let open = self.open || self.draining.is_some();
        let most = if self.alone > 0 { 1 } else { usize::MAX };
        while batch.len() < most {
            let queue = if self.wanted.is_empty() && open { &mut self.taken } else { &mut self.wanted };
            let Some(next) = queue.front() else { break };
            bytes += next.size_bytes();
            if bytes > BATCH_BYTES && !batch.is_empty() {
                break;
            }
            batch.extend(queue.pop_front());
        }
        self.alone = self.alone.saturating_sub(batch.len());
        batch
    }

    fn send(&mut self, mut batch: Vec<QueuedRecord>, ctx: &mut Context<Self>) {
        for item in &mut batch {
            if let ReplyTo::Client(reply) = &mut item.answer {
                reply.record_stage("produce");
            }
        }
        let Some(mut producer) = self.producer.take() else { return };
        let asked = self.context.blocking_runtime.spawn(async move {
            let values = batch.iter().map(QueuedRecord::encode).collect();
            let began = Instant::now();
            let answer = producer.produce(values).await;
            (producer, batch, answer, began.elapsed())
        });
        let answered = asked.into_actor(self).map(|outcome, actor, ctx| match outcome {
            Ok((producer, batch, answer, took)) => {
                actor.producer = Some(producer);
                if let Ok(produced) = &answer {
                    actor.observe(&batch, produced.base_offset, took);
                }
                actor.answered(batch, answer, ctx);
            }
            Err(panicked) => {
                actor.guard.set_exit_reason(ExitReason::Panicked(panicked.to_string()));
                ctx.stop();
            }
        });
        ctx.spawn(answered);
    }

    fn observe(&self, batch: &[QueuedRecord], base_offset: i64, took: Duration) {
        let observer = self.channel.observer();
        observer.batch_produced(batch.len(), batch.iter().map(QueuedRecord::size_bytes).sum(), took);
        for (item, offset) in batch.iter().zip(base_offset..) {
            if let RecordPayload::Message(message) = &item.content {
                observer.produced(&message.envelope, offset);
            }
        }
    }

    fn answered(&mut self, batch: Vec<QueuedRecord>, answer: Result<Produced, Error>, ctx: &mut Context<Self>) {
        let error = match answer {
            Ok(produced) => {
                if let Some(pause) = produced.throttled {
                    tracing::warn!(target: "orderer.kafka", ?pause,
                        "the brokers throttle this orderer (exempt its user from the produce quota)");
                }
                self.succeeded(batch);
                self.produce(ctx);
                return;
            }
            Err(error) => error,
        };
        let cause = error_chain(&error);
        self.status.record_error(cause.clone());
        let (now, grace) = (self.context.uptime(), self.kafka.topic_grace);
        if matches!(error, Error::MessageTooLarge { .. }) {
            self.too_large(batch, &cause);
            self.produce(ctx);
        } else if self.absence.is_permanent(&error, now, grace) {
            self.refuse(batch, &cause);
            self.lose(cause);
        } else if self.down.is_none() && self.failures < self.kafka.produce_again {
            self.failures += 1;
            if error.may_have_appended() {
                tracing::warn!(target: "orderer.kafka", records = batch.len(), %cause,
                    "failed to produce records; retrying, which may append them twice");
            }
            self.status.set_state("retrying", cause);
            let pause = self.kafka.produce_pause;
            ctx.run_later(pause, |actor, ctx| {
                actor.send(batch, ctx);
            });
        } else {
            self.went_down(batch, cause, ctx);
        }
    }

    fn succeeded(&mut self, batch: Vec<QueuedRecord>) {
        for item in batch {
            match item.answer {
                ReplyTo::Client(reply) => reply.send(Ok(())),
                ReplyTo::Chain(done) => drop(done.send(())),
                ReplyTo::None => {}
            }
        }
        if self.failures > 0 || self.down.is_some() {
            self.failures = 0;
            self.absence.ended();
            self.retries.succeeded();
            self.status.set_state("producing", "");
            if self.down.take().is_some() {
                self.notify_chain(ConnectionState::Up);
            }
        }
    }

    /// Sends each message of a batch that was too large by itself; a single one is rejected to its sender. One that is
    /// ordered again has no sender any more: it was acknowledged, and the chain cannot go on until the topic accepts
    /// it.
    fn too_large(&mut self, batch: Vec<QueuedRecord>, cause: &str) {
        self.failures = 0;
        if batch.len() == 1 {
            if batch.iter().any(|item| matches!(item.answer, ReplyTo::Chain(_))) {
                // kept: a dropped one would be heard before the reason
                self.wanted.extend(batch);
                self.lose(format!(
                    "a message that a config update overtook cannot be ordered again: {cause}; raise the topic's max.message.bytes"
                ));
                return;
            }
            self.refuse(batch, cause);
            return;
        }
        self.alone += batch.len();
        for item in batch.into_iter().rev() {
            match item.answer {
                ReplyTo::Client(_) => self.taken.push_front(item),
                ReplyTo::Chain(_) | ReplyTo::None => self.wanted.push_front(item),
            }
        }
    }

    /// Answers all waiting senders, and retries after a pause: with the messages that the chain still wants in the topic, or
    /// with a record that means nothing.
    fn went_down(&mut self, batch: Vec<QueuedRecord>, cause: String, ctx: &mut Context<Self>) {
        self.failures = 0;
        self.refuse(batch, &cause);
        let waiting: Vec<QueuedRecord> = self.taken.drain(..).collect();
        self.refuse(waiting, &cause);
        if let Some(done) = self.draining.take() {
            let _ = done.send(());
        }
        self.down = Some(cause.clone());
        self.status.set_state("retrying", cause.clone());
        let policy = &self.kafka.retry;
        let Some(pause) = self.retries.next_delay(self.context.uptime(), rand::random(), policy) else {
            self.lose(format!("given up after {} attempts: {cause}", self.retries.attempts()));
            return;
        };
        self.notify_chain(ConnectionState::Down { cause, attempt: self.retries.attempts(), pause });
        ctx.run_later(pause, |actor, ctx| {
            let mut probe: Vec<QueuedRecord> = actor.wanted.drain(..).collect();
            if probe.is_empty() {
                probe.push(QueuedRecord { content: RecordPayload::Connect, answer: ReplyTo::None });
            }
            actor.send(probe, ctx);
        });
    }

    /// Rejects the batch's envelopes from Broadcast. Messages of the chain are kept, or the chain is told so that it asks
    /// again.
    fn refuse(&mut self, batch: Vec<QueuedRecord>, cause: &str) {
        for item in batch {
            match (item.answer, item.content) {
                (ReplyTo::Client(reply), _) => {
                    reply.send(Err(OrderError::NotDurable(format!("could not be ordered: {cause}"))));
                }
                (answer @ ReplyTo::Chain(_), content) => self.wanted.push_back(QueuedRecord { content, answer }),
                (ReplyTo::None, RecordPayload::TimeToCut(block)) => {
                    self.chain.time_to_cut_failed(block);
                }
                (ReplyTo::None, _) => {}
            }
        }
    }

    /// The chain is about to end: nothing is produced any more.
    fn lose(&mut self, cause: String) {
        self.lost = true;
        self.notify_chain(ConnectionState::Failed(cause));
    }

    fn notify_chain(&self, state: ConnectionState) {
        self.chain.changed(Connection::Producer, state);
    }
}

impl Actor for KafkaProducer {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.set_state("producing", "");
    }
}

impl Handler<OrderBatch> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, batch: OrderBatch, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Order);
        for Order { submission, reply } in batch.orders {
            if let Some(cause) = &self.down {
                reply.send(Err(OrderError::NotDurable(format!("could not be ordered: {cause}"))));
                continue;
            }
            let message = RegularMessage::accepted(submission.envelope, submission.validated_at, submission.is_config);
            self.taken
                .push_back(QueuedRecord { content: RecordPayload::Message(message), answer: ReplyTo::Client(reply) });
        }
        self.produce(ctx);
    }
}

impl Handler<Resubmit> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, Resubmit { message, done }: Resubmit, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Resubmit);
        self.wanted.push_back(QueuedRecord { content: RecordPayload::Message(message), answer: ReplyTo::Chain(done) });
        self.produce(ctx);
    }
}

impl Handler<ProduceTimeToCut> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, ProduceTimeToCut(block): ProduceTimeToCut, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::AskToCut);
        let item = QueuedRecord { content: RecordPayload::TimeToCut(block), answer: ReplyTo::None };
        if self.down.is_some() {
            self.refuse(vec![item], "");
            return;
        }
        self.wanted.push_back(item);
        self.produce(ctx);
    }
}

impl Handler<SetIngress> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, SetIngress { open }: SetIngress, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Ingress);
        self.open = open;
        self.produce(ctx);
    }
}

impl Handler<Drain> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, Drain(done): Drain, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Drain);
        if self.down.is_some() {
            let _ = done.send(());
            return;
        }
        self.draining = Some(done);
        self.produce(ctx);
    }
}

impl Handler<StopNow> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        self.guard.set_exit_reason(ExitReason::Requested);
        ctx.stop();
    }
}
