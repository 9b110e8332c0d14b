//! The admitted orders of a channel that wait for others which are still being validated, so that the chain gets them as one
//! message and writes them in one commit. The caller passes the time; no I/O.
//!
//! The fixed cost of a commit is that of about two validated envelopes, without the time of the disk, and to wake an idle chain costs
//! some microseconds. While envelopes come one at a time nobody waits: the last batch that is validated takes along what has gathered.

use std::time::Duration;

use tokio::time::Instant;

use super::order::Order;

/// Time after which orders are handed over although others are still being validated.
const GATHER_FOR: Duration = Duration::from_millis(2);
/// Number of orders that are handed over in any case: beside their cost, that of the message and the commit is small.
const ENOUGH_ORDERS: usize = 128;
/// Bytes of envelopes that are handed over in any case.
const ENOUGH_BYTES: usize = 512 << 10;

/// The orders that gather at a gate, and the batches that they wait for.
#[derive(Debug)]
pub(super) struct Gathering {
    orders: Vec<Order>,
    bytes: usize,
    round: Round,
    /// Time until which the orders of this round wait; `None` while there are none.
    due: Option<Instant>,
    /// Batches that are being validated.
    announced: usize,
    /// Duration for which orders wait.
    patience: Duration,
}

impl Default for Gathering {
    fn default() -> Self {
        let round = Round::default();
        Self { orders: Vec::new(), bytes: 0, round, due: None, announced: 0, patience: GATHER_FOR }
    }
}

/// The time between two hand-overs, by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round(u64);

/// The consequence of adding orders.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// All orders are to be handed over now.
    Due,
    /// They wait, and are the first of this round, which is to be [ended](Gathering::is_in) at this time.
    First(Round, Instant),
    /// They wait together with others.
    Waiting,
}

impl Gathering {
    /// Adds orders behind those that wait.
    pub(super) fn add(&mut self, orders: Vec<Order>, now: Instant) -> Added {
        let is_first = self.orders.is_empty();
        let has_config = orders.iter().any(|order| order.submission.is_config);
        self.bytes += orders.iter().map(|order| order.submission.envelope.raw().len()).sum::<usize>();
        if is_first {
            self.orders = orders;
        } else {
            self.orders.extend(orders);
        }
        let is_enough = self.orders.len() >= ENOUGH_ORDERS || self.bytes >= ENOUGH_BYTES;
        let due = *self.due.get_or_insert(now + self.patience);
        if self.announced == 0 || has_config || is_enough || due <= now {
            Added::Due
        } else if is_first {
            Added::First(self.round, due)
        } else {
            Added::Waiting
        }
    }

    /// Takes all orders, which ends the round.
    pub(super) fn take(&mut self) -> Vec<Order> {
        if !self.orders.is_empty() {
            self.round.0 += 1;
        }
        self.bytes = 0;
        self.due = None;
        std::mem::take(&mut self.orders)
    }

    /// Returns whether the orders of this round still wait.
    pub(super) fn is_in(&self, round: Round) -> bool {
        self.round == round
    }

    /// Sets the time that orders wait, so that a test does not depend on it.
    #[cfg(test)]
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Counts a batch whose validation begins.
    pub(super) fn announce(&mut self) {
        self.announced += 1;
    }

    /// Forgets a batch that was submitted, or dropped. Returns whether the orders need not wait any longer: it was the last batch,
    /// or they have waited long enough, which a timer notices much later while all threads are busy.
    pub(super) fn arrive(&mut self, now: Instant) -> bool {
        self.announced = self.announced.saturating_sub(1);
        self.announced == 0 || self.due.is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use orderer_core::envelope::SignedEnvelope;
    use orderer_core::types::ConfigSequence;
    use tokio::sync::{Semaphore, oneshot};

    use super::super::order::{Reply, ValidatedEnvelope};
    use super::*;

    fn order(bytes: usize, is_config: bool) -> Order {
        let room = Arc::new(Semaphore::new(1)).try_acquire_many_owned(1).unwrap();
        let envelope = SignedEnvelope::from_parts(vec![7; bytes].into(), Bytes::new());
        let submission = ValidatedEnvelope { envelope, validated_at: ConfigSequence(0), is_config };
        Order { submission, reply: Reply::new(oneshot::channel().0, room, &Arc::new(AtomicUsize::new(0))) }
    }

    fn orders(count: usize) -> Vec<Order> {
        (0..count).map(|_| order(10, false)).collect()
    }

    #[test]
    fn nothing_waits_unless_a_batch_is_announced() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        assert_eq!(gathering.add(orders(1), now), Added::Due);
        assert_eq!(gathering.take().len(), 1);
        gathering.announce();
        let Added::First(round, due) = gathering.add(orders(1), now) else { panic!("not the first") };
        assert_eq!(gathering.add(orders(2), now), Added::Waiting);
        assert!(gathering.is_in(round));
        assert_eq!(due, now + GATHER_FOR);
        assert!(gathering.arrive(now));
        assert_eq!(gathering.take().len(), 3);
        assert!(!gathering.is_in(round), "a late end of the round finds that it has ended");
        assert_eq!(gathering.add(orders(1), now), Added::Due);
    }

    #[test]
    fn orders_wait_for_the_last_of_several_batches() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        gathering.announce();
        gathering.announce();
        assert!(matches!(gathering.add(orders(1), now), Added::First(..)));
        assert!(!gathering.arrive(now));
        assert_eq!(gathering.add(orders(1), now), Added::Waiting);
        assert!(gathering.arrive(now));
        assert!(gathering.arrive(now), "one too many is no error");
    }

    #[test]
    fn batches_that_follow_each_other_without_a_pause_do_not_prolong_the_wait() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        let late = now + GATHER_FOR;
        gathering.announce();
        gathering.announce();
        assert!(!gathering.arrive(late), "nothing waits");
        assert!(matches!(gathering.add(orders(1), now), Added::First(..)));
        gathering.announce();
        assert!(!gathering.arrive(late - Duration::from_nanos(1)));
        gathering.announce();
        assert!(gathering.arrive(late));
        assert_eq!(gathering.take().len(), 1);
        assert!(matches!(gathering.add(orders(1), late), Added::First(..)), "the next ones have their own time");
        assert_eq!(gathering.add(orders(1), late + GATHER_FOR), Added::Due);
    }

    #[test]
    fn many_orders_many_bytes_and_config_messages_do_not_wait() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        gathering.announce();
        assert!(matches!(gathering.add(orders(ENOUGH_ORDERS - 1), now), Added::First(..)));
        assert_eq!(gathering.add(orders(1), now), Added::Due);
        assert_eq!(gathering.take().len(), ENOUGH_ORDERS);
        assert!(matches!(gathering.add(vec![order(ENOUGH_BYTES / 2, false)], now), Added::First(..)));
        assert_eq!(gathering.add(vec![order(ENOUGH_BYTES / 2, false)], now), Added::Due);
        assert_eq!(gathering.take().len(), 2);
        assert!(matches!(gathering.add(orders(1), now), Added::First(..)), "the bytes of those before count no longer");
        assert_eq!(gathering.add(vec![order(10, true)], now), Added::Due);
        assert_eq!(gathering.take().len(), 2, "in their order, those before it too");
    }
}
