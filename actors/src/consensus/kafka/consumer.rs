//! Reads the topic, a little ahead of the chain.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use orderer_core::ordering::kafka::KafkaOffset;
use orderer_kafka::{Consumer, Error, FetchLimits, Fetched};

use super::absence::Absence;
use super::context::KafkaContext;
use super::messages::{ChainLink, Delivery, Link, LinkState, Place, TakenIn};
use super::retry::Retries;
use crate::chain_state::chain_text;
use crate::node_context::NodeContext;
use crate::status::{StatusCell, Task};
use crate::supervision::{Abandon, Exit, ExitGuard};

/// `max_wait`: a broker answers an empty poll after that.
const LIMITS: FetchLimits = FetchLimits { max_wait: Duration::from_secs(1), max_bytes: 4 << 20 };
/// Maximum number of fetched answers that the chain has not consumed: the one that it works on, and the next.
const AHEAD: usize = 2;

/// The actor that fetches a topic's records from an offset on and sends them to the chain.
pub(super) struct KafkaConsumer {
    context: Arc<NodeContext>,
    kafka: Arc<KafkaContext>,
    chain: ChainLink,
    /// `None` while it is asked.
    consumer: Option<Box<dyn Consumer>>,
    next: i64,
    not_taken_in: usize,
    retries: Retries,
    absence: Absence,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

impl KafkaConsumer {
    pub(super) fn new(
        context: Arc<NodeContext>,
        kafka: Arc<KafkaContext>,
        chain: ChainLink,
        consumer: Box<dyn Consumer>,
        from: KafkaOffset,
        Place { status, guard }: Place,
    ) -> Self {
        let (retries, absence) = (Retries::default(), Absence::default());
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
        if self.not_taken_in >= AHEAD {
            return;
        }
        let Some(mut consumer) = self.consumer.take() else { return };
        let from = self.next;
        let asked = self.context.io.spawn(async move {
            let answer = consumer.fetch(from, LIMITS).await;
            (consumer, answer)
        });
        let answered = asked.into_actor(self).map(|outcome, actor, ctx| match outcome {
            Ok((consumer, answer)) => {
                actor.consumer = Some(consumer);
                actor.answered(answer, ctx);
            }
            Err(panicked) => {
                actor.guard.will_exit(Exit::Panicked(panicked.to_string()));
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
                    self.tell(LinkState::Up);
                    self.status.enter("reading", "");
                }
                if fetched.next_offset > self.next {
                    let next = fetched.next_offset;
                    let delivery = Delivery::new(self.next, fetched);
                    self.next = next;
                    self.not_taken_in += 1;
                    self.chain.deliver(delivery);
                }
                self.fetch(ctx);
            }
            Err(error) => {
                let (now, grace) = (self.context.uptime(), self.kafka.topic_grace);
                if self.absence.is_final(&error, now, grace) {
                    self.tell(LinkState::Lost(chain_text(&error)));
                } else {
                    self.failed(&error, ctx);
                }
            }
        }
    }

    fn failed(&mut self, error: &Error, ctx: &mut Context<Self>) {
        let cause = chain_text(error);
        self.status.failed(cause.clone());
        let policy = &self.kafka.retry;
        match self.retries.after_failure(self.context.uptime(), rand::random(), policy) {
            Some(pause) => {
                self.status.enter("retrying", cause.clone());
                self.tell(LinkState::Down { cause, attempt: self.retries.attempts(), pause });
                ctx.run_later(pause, Self::fetch);
            }
            None => self.tell(LinkState::Lost(format!("given up after {} attempts: {cause}", self.retries.attempts()))),
        }
    }

    fn tell(&self, state: LinkState) {
        self.chain.changed(Link::Consumer, state);
    }
}

impl Actor for KafkaConsumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.status.enter("reading", "");
        self.fetch(ctx);
    }
}

impl Handler<TakenIn> for KafkaConsumer {
    type Result = ();

    fn handle(&mut self, _: TakenIn, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::TakenIn);
        self.not_taken_in -= 1;
        // while a failed call waits for its turn, the consumer is at rest: it must not be asked before
        if self.retries.attempts() == 0 {
            self.fetch(ctx);
        }
    }
}

impl Handler<Abandon> for KafkaConsumer {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        self.guard.will_exit(Exit::Asked);
        ctx.stop();
    }
}
