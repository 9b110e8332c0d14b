//! What chain, producer and consumer tell each other.

use std::collections::VecDeque;
use std::time::Duration;

use actix::Message;
use orderer_core::channel::BlockNumber;
use orderer_core::ordering::kafka::{Event, KafkaOffset, Record, Regular};
use orderer_kafka::Fetched;
use tokio::sync::oneshot;

/// From the consumer: records, and from which offset on they were asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Delivery {
    from: i64,
    records: VecDeque<orderer_kafka::Record>,
    next_offset: i64,
    /// The offset that the topic's next record will get.
    pub(super) end: i64,
}

impl Delivery {
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
pub(super) enum Link {
    Producer,
    Consumer,
}

/// How it stands.
pub(super) enum LinkState {
    /// It works again.
    Up,
    /// It is tried again.
    Down { cause: String, attempt: u32, pause: Duration },
    /// It is of no use to try again.
    Lost(String),
}

/// From producer or consumer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LinkChanged {
    pub(super) link: Link,
    pub(super) state: LinkState,
}

/// From the producer: the record did not get through.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TimeToCutFailed(pub(super) BlockNumber);

/// From the chain: a delivery is taken in.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TakenIn;

/// From the chain: produce a message again. Done when the broker has acknowledged it.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Resubmit {
    pub(super) message: Regular,
    pub(super) done: oneshot::Sender<()>,
}

/// From the chain: ask for a block to be cut.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AskToCut(pub(super) BlockNumber);

/// From the chain: whether what Broadcast takes may go on to the topic.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ingress {
    pub(super) open: bool,
}

/// From the chain at shutdown: say when everything that was taken is answered.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Drain(pub(super) oneshot::Sender<()>);
