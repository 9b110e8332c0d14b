//! Appends to the topic: envelopes from Broadcast, in their order, and messages of the chain.
//!
//! One batch is in flight at a time. What gathers meanwhile is the next one, so batches are as large as the broker is
//! slow, and nothing overtakes anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::Bytes;
use orderer_core::channel::BlockNumber;
use orderer_core::ordering::kafka::{Regular, encode_connect, encode_time_to_cut};
use orderer_kafka::{Error, Produced, Producer};
use tokio::sync::oneshot;

use super::absence::Absence;
use super::context::KafkaContext;
use super::messages::{AskToCut, ChainLink, Drain, Ingress, Link, LinkState, Place, Resubmit};
use super::retry::Retries;
use crate::chain_state::chain_text;
use crate::channel::Channel;
use crate::mailbox::{Order, OrderRefusal, Reply};
use crate::node_context::NodeContext;
use crate::status::{StatusCell, Task};
use crate::supervision::{Abandon, Exit, ExitGuard};

/// Maximum size of a batch, in bytes: half of what a broker accepts by default. A message that is larger goes alone.
const BATCH_BYTES: usize = 512 << 10;

/// The actor that appends to a topic, one batch in flight at a time.
pub(super) struct KafkaProducer {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    kafka: Arc<KafkaContext>,
    chain: ChainLink,
    /// `None` while it is asked.
    producer: Option<Box<dyn Producer>>,
    /// Messages of the chain itself. They go before all others.
    wanted: VecDeque<Item>,
    /// Envelopes from Broadcast. Bounded by the gate.
    taken: VecDeque<Item>,
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
    retries: Retries,
    absence: Absence,
    draining: Option<oneshot::Sender<()>>,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

struct Item {
    content: Content,
    answer: Answer,
}

enum Content {
    Message(Regular),
    TimeToCut(BlockNumber),
    Connect,
}

enum Answer {
    Sender(Reply),
    Chain(oneshot::Sender<()>),
    Nobody,
}

impl Item {
    fn encode(&self) -> Bytes {
        match &self.content {
            Content::Message(message) => message.encode(),
            Content::TimeToCut(block) => encode_time_to_cut(*block),
            Content::Connect => encode_connect(),
        }
    }

    fn size_bytes(&self) -> usize {
        match &self.content {
            Content::Message(message) => message.envelope.raw().len(),
            Content::TimeToCut(_) | Content::Connect => 0,
        }
    }
}

impl KafkaProducer {
    pub(super) fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        kafka: Arc<KafkaContext>,
        chain: ChainLink,
        producer: Box<dyn Producer>,
        Place { status, guard }: Place,
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
            retries: Retries::default(),
            absence: Absence::default(),
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

    fn gather(&mut self) -> Vec<Item> {
        let mut batch: Vec<Item> = Vec::new();
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

    fn send(&mut self, mut batch: Vec<Item>, ctx: &mut Context<Self>) {
        for item in &mut batch {
            if let Answer::Sender(reply) = &mut item.answer {
                reply.enter("produce");
            }
        }
        let Some(mut producer) = self.producer.take() else { return };
        let asked = self.context.io.spawn(async move {
            let values = batch.iter().map(Item::encode).collect();
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
                actor.guard.will_exit(Exit::Panicked(panicked.to_string()));
                ctx.stop();
            }
        });
        ctx.spawn(answered);
    }

    fn observe(&self, batch: &[Item], base_offset: i64, took: Duration) {
        let observed = self.channel.observed();
        observed.batch_produced(batch.len(), batch.iter().map(Item::size_bytes).sum(), took);
        for (item, offset) in batch.iter().zip(base_offset..) {
            if let Content::Message(message) = &item.content {
                observed.produced(&message.envelope, offset);
            }
        }
    }

    fn answered(&mut self, batch: Vec<Item>, answer: Result<Produced, Error>, ctx: &mut Context<Self>) {
        let error = match answer {
            Ok(produced) => {
                if let Some(pause) = produced.throttled {
                    tracing::warn!(target: "orderer.kafka", ?pause,
                        "the brokers throttle this orderer: take its user out of the produce quota");
                }
                self.succeeded(batch);
                self.produce(ctx);
                return;
            }
            Err(error) => error,
        };
        let cause = chain_text(&error);
        self.status.failed(cause.clone());
        let (now, grace) = (self.context.uptime(), self.kafka.topic_grace);
        if matches!(error, Error::MessageTooLarge { .. }) {
            self.too_large(batch, &cause);
            self.produce(ctx);
        } else if self.absence.is_final(&error, now, grace) {
            self.refuse(batch, &cause);
            self.lose(cause);
        } else if self.down.is_none() && self.failures < self.kafka.produce_again {
            self.failures += 1;
            if error.may_have_appended() {
                tracing::warn!(target: "orderer.kafka", records = batch.len(), %cause,
                    "records may have been appended although the call failed; they are produced again and may be there twice");
            }
            self.status.enter("retrying", cause);
            let pause = self.kafka.produce_pause;
            ctx.run_later(pause, |actor, ctx| {
                actor.send(batch, ctx);
            });
        } else {
            self.went_down(batch, cause, ctx);
        }
    }

    fn succeeded(&mut self, batch: Vec<Item>) {
        for item in batch {
            match item.answer {
                Answer::Sender(reply) => reply.send(Ok(())),
                Answer::Chain(done) => drop(done.send(())),
                Answer::Nobody => {}
            }
        }
        if self.failures > 0 || self.down.is_some() {
            self.failures = 0;
            self.absence.ended();
            self.retries.succeeded();
            self.status.enter("producing", "");
            if self.down.take().is_some() {
                self.tell(LinkState::Up);
            }
        }
    }

    /// Sends each message of a batch that was too large by itself; a single one is rejected to its sender. One that is ordered
    /// again
    /// has no sender any more: it was acknowledged, and the chain cannot go on until the topic accepts it.
    fn too_large(&mut self, batch: Vec<Item>, cause: &str) {
        self.failures = 0;
        if batch.len() == 1 {
            if batch.iter().any(|item| matches!(item.answer, Answer::Chain(_))) {
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
                Answer::Sender(_) => self.taken.push_front(item),
                Answer::Chain(_) | Answer::Nobody => self.wanted.push_front(item),
            }
        }
    }

    /// Answers all waiting senders, and retries after a pause: with the messages that the chain still wants in the topic, or
    /// with a record that means nothing.
    fn went_down(&mut self, batch: Vec<Item>, cause: String, ctx: &mut Context<Self>) {
        self.failures = 0;
        self.refuse(batch, &cause);
        let waiting: Vec<Item> = self.taken.drain(..).collect();
        self.refuse(waiting, &cause);
        if let Some(done) = self.draining.take() {
            let _ = done.send(());
        }
        self.down = Some(cause.clone());
        self.status.enter("retrying", cause.clone());
        let policy = &self.kafka.retry;
        let Some(pause) = self.retries.after_failure(self.context.uptime(), rand::random(), policy) else {
            self.lose(format!("given up after {} attempts: {cause}", self.retries.attempts()));
            return;
        };
        self.tell(LinkState::Down { cause, attempt: self.retries.attempts(), pause });
        ctx.run_later(pause, |actor, ctx| {
            let mut probe: Vec<Item> = actor.wanted.drain(..).collect();
            if probe.is_empty() {
                probe.push(Item { content: Content::Connect, answer: Answer::Nobody });
            }
            actor.send(probe, ctx);
        });
    }

    /// Rejects the batch's envelopes from Broadcast. Messages of the chain are kept, or the chain is told so that it asks
    /// again.
    fn refuse(&mut self, batch: Vec<Item>, cause: &str) {
        for item in batch {
            match (item.answer, item.content) {
                (Answer::Sender(reply), _) => {
                    reply.send(Err(OrderRefusal::NotDurable(format!("could not be ordered: {cause}"))));
                }
                (answer @ Answer::Chain(_), content) => self.wanted.push_back(Item { content, answer }),
                (Answer::Nobody, Content::TimeToCut(block)) => {
                    self.chain.time_to_cut_failed(block);
                }
                (Answer::Nobody, _) => {}
            }
        }
    }

    /// The chain is about to end: nothing is produced any more.
    fn lose(&mut self, cause: String) {
        self.lost = true;
        self.tell(LinkState::Lost(cause));
    }

    fn tell(&self, state: LinkState) {
        self.chain.changed(Link::Producer, state);
    }
}

impl Actor for KafkaProducer {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.enter("producing", "");
    }
}

impl Handler<Order> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Order);
        let Order { submission, reply } = order;
        if let Some(cause) = &self.down {
            reply.send(Err(OrderRefusal::NotDurable(format!("could not be ordered: {cause}"))));
            return;
        }
        let message = Regular::accepted(submission.envelope, submission.checked_at, submission.is_config);
        self.taken.push_back(Item { content: Content::Message(message), answer: Answer::Sender(reply) });
        self.produce(ctx);
    }
}

impl Handler<Resubmit> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, Resubmit { message, done }: Resubmit, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Resubmit);
        self.wanted.push_back(Item { content: Content::Message(message), answer: Answer::Chain(done) });
        self.produce(ctx);
    }
}

impl Handler<AskToCut> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, AskToCut(block): AskToCut, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::AskToCut);
        let item = Item { content: Content::TimeToCut(block), answer: Answer::Nobody };
        if self.down.is_some() {
            self.refuse(vec![item], "");
            return;
        }
        self.wanted.push_back(item);
        self.produce(ctx);
    }
}

impl Handler<Ingress> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, Ingress { open }: Ingress, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Ingress);
        self.open = open;
        self.produce(ctx);
    }
}

impl Handler<Drain> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, Drain(done): Drain, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Drain);
        if self.down.is_some() {
            let _ = done.send(());
            return;
        }
        self.draining = Some(done);
        self.produce(ctx);
    }
}

impl Handler<Abandon> for KafkaProducer {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        self.guard.will_exit(Exit::Asked);
        ctx.stop();
    }
}
