//! Messages between chain, producer and consumer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, Recipient};
use orderer_core::ordering::kafka::{Event, KafkaOffset, Record, RegularMessage};
use orderer_core::types::BlockNumber;
use orderer_kafka::Fetched;
use tokio::sync::oneshot;

use crate::status::StatusCell;
use crate::supervision::ExitGuard;

/// Records from the consumer, and the offset from which on they were requested.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct FetchedBatch {
    from: i64,
    records: VecDeque<orderer_kafka::Record>,
    next_offset: i64,
    /// The offset that the topic's next record will get.
    pub(super) end: i64,
}

impl FetchedBatch {
    pub(super) fn new(from: i64, fetched: Fetched) -> Self {
        Self { from, records: fetched.records.into(), next_offset: fetched.next_offset, end: fetched.high_watermark }
    }

    /// The next event out of it. Between what was asked for and what came there was nothing.
    pub(super) fn next(&mut self) -> Option<Event> {
        let from = KafkaOffset(self.from);
        let until = KafkaOffset(self.records.front().map_or(self.next_offset, |record| record.offset));
        if from < until {
            self.from = until.0;
            return Some(Event::NoRecords { from, until });
        }
        let record = self.records.pop_front()?;
        let offset = KafkaOffset(record.offset);
        self.from = offset.next().0;
        Some(Event::Record { offset, record: Record::decode(record.value) })
    }
}

/// One of the two connections to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Producer,
    Consumer,
}

/// How it stands.
pub(super) enum ConnectionState {
    /// It works again.
    Up,
    /// It is retried.
    Down { cause: String, attempt: u32, pause: Duration },
    /// A retry is of no use.
    Failed(String),
}

/// Reports a change of the producer's or the consumer's connection.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ConnectionChanged {
    pub(super) link: Connection,
    pub(super) state: ConnectionState,
}

/// Reports from the producer that the record did not get through.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TimeToCutFailed(pub(super) BlockNumber);

/// Reports from the chain that a delivery is consumed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct BatchConsumed;

/// Request of the chain to produce a message again. Done when the broker has acknowledged it.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Resubmit {
    pub(super) message: RegularMessage,
    pub(super) done: oneshot::Sender<()>,
}

/// Request of the chain to produce a message that asks for a block to be cut.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ProduceTimeToCut(pub(super) BlockNumber);

/// Tells the producer whether envelopes from Broadcast may go on to the topic.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SetIngress {
    pub(super) open: bool,
}

/// Request of the chain at shutdown to report when all accepted envelopes are answered.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Drain(pub(super) oneshot::Sender<()>);

/// An actor's entry in the tree: its status cell and its guard.
pub(super) struct ActorEntry {
    pub(super) status: Arc<StatusCell>,
    pub(super) guard: ExitGuard,
}

/// The messages that producer and consumer send to the chain.
#[derive(Clone)]
pub(super) struct ChainRecipients {
    delivery: Recipient<FetchedBatch>,
    link_changed: Recipient<ConnectionChanged>,
    time_to_cut_failed: Recipient<TimeToCutFailed>,
    status: Arc<StatusCell>,
}

impl ChainRecipients {
    /// Creates the link to this chain, which publishes to `status`.
    pub(super) fn new<A>(chain: &Addr<A>, status: &Arc<StatusCell>) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<FetchedBatch> + Handler<ConnectionChanged> + Handler<TimeToCutFailed>,
    {
        Self {
            delivery: chain.clone().recipient(),
            link_changed: chain.clone().recipient(),
            time_to_cut_failed: chain.clone().recipient(),
            status: Arc::clone(status),
        }
    }

    pub(super) fn deliver(&self, delivery: FetchedBatch) {
        self.status.count_sent();
        #[expect(clippy::disallowed_methods, reason = "bounded by what the chain has not taken in")]
        self.delivery.do_send(delivery);
    }

    pub(super) fn changed(&self, link: Connection, state: ConnectionState) {
        #[expect(clippy::disallowed_methods, reason = "one a failed call")]
        self.link_changed.do_send(ConnectionChanged { link, state });
    }

    pub(super) fn time_to_cut_failed(&self, block: BlockNumber) {
        #[expect(clippy::disallowed_methods, reason = "one a batch timer")]
        self.time_to_cut_failed.do_send(TimeToCutFailed(block));
    }
}
