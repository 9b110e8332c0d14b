//! The parts of a chain that exist while it consumes its topic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use orderer_core::ordering::kafka::{Effect, Event, KafkaOffset, Machine};

use super::consumer::KafkaConsumer;
use super::health::Watch;
use super::messages::{Delivery, TakenIn};
use super::producer::KafkaProducer;
use crate::status::StatusCell;
use crate::supervision::Abandon;

/// The parts of a chain that exist while it consumes its topic.
pub(super) struct Following {
    /// Ends with this.
    pub(super) _watch: Watch,
    pub(super) machine: Machine,
    pub(super) producer: Addr<KafkaProducer>,
    pub(super) producer_status: Arc<StatusCell>,
    pub(super) consumer: Addr<KafkaConsumer>,
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) effects: VecDeque<Effect>,
    /// Whether another thread, the writer or the broker is being waited for: nothing is consumed then.
    pub(super) busy: bool,
    /// Offset behind the last record that the topic held at the time of the connection.
    pub(super) end: KafkaOffset,
    pub(super) caught_up: bool,
    /// The errors that keep producer and consumer from the cluster, if any.
    pub(super) down: [Option<Trouble>; 2],
}

pub(super) struct Trouble {
    pub(super) cause: String,
    pub(super) attempt: u32,
    /// Pause after `since` until the next attempt.
    pub(super) pause: Duration,
    pub(super) since: Instant,
}

/// Stops producer and consumer, because they hold each other's addresses, so that neither would stop by itself.
impl Drop for Following {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "once in the life of a child")]
        {
            self.producer.do_send(Abandon);
            self.consumer.do_send(Abandon);
        }
    }
}

impl Following {
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
            self.consumer.do_send(TakenIn);
        }
    }
}
