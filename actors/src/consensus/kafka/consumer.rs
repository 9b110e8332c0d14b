//! Reads the topic, a little ahead of the chain.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use orderer_core::ordering::kafka::KafkaOffset;
use orderer_kafka::{Consumer, Error, FetchLimits, Fetched};

use super::context::KafkaContext;
use super::messages::{ActorEntry, BatchConsumed, ChainRecipients, Connection, ConnectionState, FetchedBatch};
use super::retry::Backoff;
use super::topic_absence::TopicAbsence;
use crate::chain_state::error_chain;
use crate::node_context::NodeContext;
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, StopNow};

/// `max_wait`: a broker answers an empty poll after that.
const LIMITS: FetchLimits = FetchLimits { max_wait: Duration::from_secs(1), max_bytes: 4 << 20 };
/// Maximum number of fetched answers that the chain has not consumed: the one that it works on, and the next.
const MAX_PREFETCHED: usize = 2;

/// The actor that fetches a topic's records from an offset on and sends them to the chain.
pub(super) struct KafkaConsumer {
    context: Arc<NodeContext>,
    kafka: Arc<KafkaContext>,
    chain: ChainRecipients,
    /// `None` while it is asked.
    consumer: Option<Box<dyn Consumer>>,
    next: i64,
    not_taken_in: usize,
    retries: Backoff,
    absence: TopicAbsence,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

impl KafkaConsumer {
    pub(super) fn new(
        context: Arc<NodeContext>,
        kafka: Arc<KafkaContext>,
        chain: ChainRecipients,
        consumer: Box<dyn Consumer>,
        from: KafkaOffset,
        ActorEntry { status, guard }: ActorEntry,
    ) -> Self {
        let (retries, absence) = (Backoff::default(), TopicAbsence::default());
        Self {
            context,
            kafka,
            chain,
            consumer: Some(consumer),
            next: from.0,
            not_taken_in: 0,
            retries,
            absence,
            status,
            guard,
        }
    }

    fn fetch(&mut self, ctx: &mut Context<Self>) {
        if self.not_taken_in >= MAX_PREFETCHED {
            return;
        }
        let Some(mut consumer) = self.consumer.take() else { return };
        let from = self.next;
        let asked = self.context.blocking_runtime.spawn(async move {
            let answer = consumer.fetch(from, LIMITS).await;
            (consumer, answer)
        });
        let answered = asked.into_actor(self).map(|outcome, actor, ctx| match outcome {
            Ok((consumer, answer)) => {
                actor.consumer = Some(consumer);
                actor.answered(answer, ctx);
            }
            Err(panicked) => {
                actor.guard.set_exit_reason(ExitReason::Panicked(panicked.to_string()));
                ctx.stop();
            }
        });
        ctx.spawn(answered);
    }

    fn answered(&mut self, answer: Result<Fetched, Error>, ctx: &mut Context<Self>) {
        match answer {
            Ok(fetched) => {
                if self.retries.attempts() > 0 {
                    self.retries.succeeded();
                    self.absence.ended();
                    self.notify_chain(ConnectionState::Up);
                    self.status.set_state("reading", "");
                }
                if fetched.next_offset > self.next {
                    let next = fetched.next_offset;
                    let delivery = FetchedBatch::new(self.next, fetched);
                    self.next = next;
                    self.not_taken_in += 1;
                    self.chain.deliver(delivery);
                }
                self.fetch(ctx);
            }
            Err(error) => {
                let (now, grace) = (self.context.uptime(), self.kafka.topic_grace);
                if self.absence.is_permanent(&error, now, grace) {
                    self.notify_chain(ConnectionState::Failed(error_chain(&error)));
                } else {
                    self.failed(&error, ctx);
                }
            }
        }
    }

    fn failed(&mut self, error: &Error, ctx: &mut Context<Self>) {
        let cause = error_chain(error);
        self.status.record_error(cause.clone());
        let policy = &self.kafka.retry;
        match self.retries.next_delay(self.context.uptime(), rand::random(), policy) {
            Some(pause) => {
                self.status.set_state("retrying", cause.clone());
                self.notify_chain(ConnectionState::Down { cause, attempt: self.retries.attempts(), pause });
                ctx.run_later(pause, Self::fetch);
            }
            None => self.notify_chain(ConnectionState::Failed(format!(
                "given up after {} attempts: {cause}",
                self.retries.attempts()
            ))),
        }
    }

    fn notify_chain(&self, state: ConnectionState) {
        self.chain.changed(Connection::Consumer, state);
    }
}

impl Actor for KafkaConsumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.status.set_state("reading", "");
        self.fetch(ctx);
    }
}

impl Handler<BatchConsumed> for KafkaConsumer {
    type Result = ();

    fn handle(&mut self, _: BatchConsumed, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::TakenIn);
        self.not_taken_in -= 1;
        // while a failed call waits for its turn, the consumer is at rest: it must not be asked before
        if self.retries.attempts() == 0 {
            self.fetch(ctx);
        }
    }
}

impl Handler<StopNow> for KafkaConsumer {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        self.guard.set_exit_reason(ExitReason::Requested);
        ctx.stop();
    }
}
