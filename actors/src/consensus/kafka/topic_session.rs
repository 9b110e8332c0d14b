//! The parts of a chain that exist while it consumes its topic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use orderer_core::ordering::kafka::{Effect, Event, KafkaMachine, KafkaOffset};

use super::consumer::KafkaConsumer;
use super::health::TopicMonitor;
use super::messages::{BatchConsumed, FetchedBatch};
use super::producer::KafkaProducer;
use crate::status::StatusCell;
use crate::supervision::StopNow;

/// The parts of a chain that exist while it consumes its topic.
pub(super) struct TopicSession {
    /// Ends with this.
    pub(super) _watch: TopicMonitor,
    pub(super) machine: KafkaMachine,
    pub(super) producer: Addr<KafkaProducer>,
    pub(super) producer_status: Arc<StatusCell>,
    pub(super) consumer: Addr<KafkaConsumer>,
    pub(super) deliveries: VecDeque<FetchedBatch>,
    pub(super) effects: VecDeque<Effect>,
    /// Whether another thread, the writer or the broker is being waited for: nothing is consumed then.
    pub(super) busy: bool,
    /// Offset behind the last record that the topic held at the time of the connection.
    pub(super) end: KafkaOffset,
    pub(super) caught_up: bool,
    /// The errors that keep producer and consumer from the cluster, if any.
    pub(super) down: [Option<LinkOutage>; 2],
}

pub(super) struct LinkOutage {
    pub(super) cause: String,
    pub(super) attempt: u32,
    /// Pause after `since` until the next attempt.
    pub(super) pause: Duration,
    pub(super) since: Instant,
}

/// Stops producer and consumer, because they hold each other's addresses, so that neither would stop by itself.
impl Drop for TopicSession {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "once in the life of a child")]
        {
            self.producer.do_send(StopNow);
            self.consumer.do_send(StopNow);
        }
    }
}

impl TopicSession {
    /// Returns the next event out of what the consumer delivered.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        if !self.caught_up && self.machine.next_offset() >= self.end {
            self.caught_up = true;
            return Some(Event::CaughtUp);
        }
        loop {
            let delivery = self.deliveries.front_mut()?;
            if let Some(event) = delivery.next() {
                return Some(event);
            }
            self.deliveries.pop_front();
            #[expect(clippy::disallowed_methods, reason = "one a delivery")]
            self.consumer.do_send(BatchConsumed);
        }
    }
}
