//! The bounded way into a channel's chain.
//!
//! An actix mailbox bounds nothing: `do_send` ignores its capacity, and each pending `send` brings a free slot of its
//! own. So the bound stands before it: a semaphore counted in bytes, first come, first served. A stream that finds no room
//! waits (back-pressure); the room is released when the message was answered, or dropped with a failed actor.
//!
//! Under load, orders wait up to two milliseconds for those that are being validated, so that the chain gets many as one message.
//! Passing the gate costs about 0.2 µs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Recipient;
use arc_swap::ArcSwapOption;
use orderer_core::types::ChannelId;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::status::StatusCell;

use super::gathering::{Added, Gathering};
use super::order::{IngressPermit, Order, OrderBatch, OrderResult, Reply, ValidatedEnvelope};

/// Memory that an envelope costs beside its bytes: handles, queue entries, the answer's channel.
pub const ENVELOPE_OVERHEAD_BYTES: usize = 512;

/// No chain accepts messages for this channel now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("channel '{channel}' does not accept messages now: {reason}")]
pub struct Unavailable {
    /// The channel.
    pub channel: ChannelId,
    /// The reason, from the channel's state.
    pub reason: String,
}

/// Admission control before a channel's chain. One a channel; it outlives the chains that stand behind it one after the other.
pub struct Gate {
    room: Arc<Semaphore>,
    capacity_bytes: u32,
    chain: ArcSwapOption<GateTarget>,
    passed: AtomicU64,
    waiting: Arc<AtomicUsize>,
    made_at: Instant,
    /// Time at which the last submission passed, in milliseconds since the gate was made.
    passed_at: AtomicU64,
    /// Bytes that are held by clients that wait for room.
    outside_bytes: AtomicUsize,
    /// Orders are handed over while it is locked, so that those of one sender stay in their order.
    gathering: Mutex<Gathering>,
}

/// A batch of envelopes that is being validated: until it is dropped, what is [submitted](Gate::submit) waits a moment for it.
#[must_use]
pub struct Announcement(Arc<Gate>);

impl Drop for Announcement {
    fn drop(&mut self) {
        let mut gathering = self.0.gathering();
        if gathering.arrive(Instant::now()) {
            self.0.hand_over(&mut gathering);
        }
    }
}

/// Counts the bytes of a client that waits for room, until it is dropped.
pub struct WaitingBytes<'a> {
    gate: &'a Gate,
    bytes: usize,
}

impl Drop for WaitingBytes<'_> {
    fn drop(&mut self) {
        self.gate.outside_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The chain behind the gate.
struct GateTarget {
    chain: Recipient<OrderBatch>,
    status: Arc<StatusCell>,
}

impl Gate {
    /// A closed gate with room for `capacity_bytes` of envelopes that are not answered yet.
    pub fn new(capacity_bytes: u32) -> Self {
        Self {
            room: Arc::new(Semaphore::new(capacity_bytes as usize)),
            capacity_bytes,
            chain: ArcSwapOption::empty(),
            passed: AtomicU64::new(0),
            waiting: Arc::default(),
            made_at: Instant::now(),
            passed_at: AtomicU64::new(0),
            outside_bytes: AtomicUsize::new(0),
            gathering: Mutex::default(),
        }
    }

    /// Lets messages through to `chain`, which publishes to `status`.
    pub fn open(&self, chain: Recipient<OrderBatch>, status: Arc<StatusCell>) {
        self.chain.store(Some(Arc::new(GateTarget { chain, status })));
    }

    /// Lets nothing through any more. Messages that were submitted before are with the chain.
    pub fn close(&self) {
        let mut gathering = self.gathering();
        self.hand_over(&mut gathering);
        self.chain.store(None);
    }

    /// Returns whether a chain stands behind the gate.
    pub fn is_open(&self) -> bool {
        self.chain.load().is_some()
    }

    /// Waits for room and hands the submission to the chain. The receiver gives the chain's answer, or an error when
    /// the chain failed before it answered. `None`: the gate is closed.
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, it has sent nothing; its place in the queue is lost.
    pub async fn order(&self, submission: ValidatedEnvelope) -> Option<oneshot::Receiver<OrderResult>> {
        if !self.is_open() {
            return None;
        }
        let bytes = self.permit_cost(&submission);
        // what has gathered may occupy the room
        self.send(Vec::new());
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
        let (order, receiver) = self.admit(submission, room);
        self.send(vec![order]).then_some(receiver)
    }

    /// Reserves room for a submission, if there is room at once, which is the usual case; returns the submission if there is
    /// none. The caller [sends](Self::send) or [submits](Self::submit) the result. The receiver gives the chain's answer, or an error when the chain
    /// failed before it answered.
    pub fn try_admit(
        &self,
        submission: ValidatedEnvelope,
    ) -> Result<(Order, oneshot::Receiver<OrderResult>), ValidatedEnvelope> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.permit_cost(&submission)) {
            Ok(room) => Ok(self.admit(submission, room)),
            Err(_) => Err(submission),
        }
    }

    fn admit(&self, submission: ValidatedEnvelope, room: IngressPermit) -> (Order, oneshot::Receiver<OrderResult>) {
        let (answer, receiver) = oneshot::channel();
        (Order { submission, reply: Reply::new(answer, room, &self.waiting) }, receiver)
    }

    /// Hands admitted orders to the chain at once, behind all that were submitted before. Returns whether the gate is open; if it
    /// is not, the orders are dropped, and their receivers report it.
    pub fn send(&self, orders: Vec<Order>) -> bool {
        let mut gathering = self.gathering();
        let _ = gathering.add(orders, Instant::now());
        self.hand_over(&mut gathering)
    }

    /// Hands admitted orders to the chain together with those of the batches that are [announced](Self::announce), when these have
    /// arrived, when many have gathered, or after two milliseconds; at once if no batch is announced. If the gate is closed
    /// then, the orders are dropped, and their receivers report it.
    ///
    /// # Panics
    /// If it is called outside a tokio runtime while a batch is announced.
    pub fn submit(self: &Arc<Self>, orders: Vec<Order>) {
        let added = {
            let mut gathering = self.gathering();
            let added = gathering.add(orders, Instant::now());
            if added == Added::Due {
                self.hand_over(&mut gathering);
            }
            added
        };
        if let Added::First(round, due) = added {
            let gate = Arc::clone(self);
            tokio::spawn(async move {
                sleep_until(due).await;
                let mut gathering = gate.gathering();
                if gathering.is_in(round) {
                    gate.hand_over(&mut gathering);
                }
            });
        }
    }

    /// Announces a batch of envelopes whose validation begins. Drop the result when they are submitted or rejected, and before
    /// any of them waits for room, which comes only when the chain gets what has gathered.
    pub fn announce(self: &Arc<Self>) -> Announcement {
        self.gathering().announce();
        Announcement(Arc::clone(self))
    }

    fn gathering(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over all that has gathered. Returns whether the gate is open.
    fn hand_over(&self, gathering: &mut Gathering) -> bool {
        let orders = gathering.take();
        let chain = self.chain.load();
        let Some(target) = chain.as_ref() else { return false };
        if orders.is_empty() {
            return true;
        }
        self.passed.fetch_add(orders.len() as u64, Ordering::Relaxed);
        self.passed_at.store(self.age_ms(), Ordering::Relaxed);
        target.status.count_sent();
        // do_send keeps the order of one sender; if the actor is dead the message is dropped, and so are its answers
        #[expect(clippy::disallowed_methods, reason = "the one place where the bound stands before it")]
        target.chain.do_send(OrderBatch { orders });
        true
    }

    /// Counts these bytes as held by a client that waits for room, until the result is dropped.
    pub fn stand_outside(&self, bytes: usize) -> WaitingBytes<'_> {
        self.outside_bytes.fetch_add(bytes, Ordering::Relaxed);
        WaitingBytes { gate: self, bytes }
    }

    /// Returns the bytes that are held by clients that wait for room.
    pub fn outside_bytes(&self) -> usize {
        self.outside_bytes.load(Ordering::Relaxed)
    }

    /// Returns the time since the last submission passed. While clients wait for room, the chain has answered nothing for that
    /// time.
    pub fn still_for(&self) -> Duration {
        Duration::from_millis(self.age_ms().saturating_sub(self.passed_at.load(Ordering::Relaxed)))
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.made_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// An envelope larger than the whole gate takes all of it, instead of waiting for ever.
    fn permit_cost(&self, submission: &ValidatedEnvelope) -> u32 {
        let bytes = submission.envelope.raw().len() + ENVELOPE_OVERHEAD_BYTES;
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.capacity_bytes)
    }

    /// Bytes that are taken now.
    pub fn bytes_in_flight(&self) -> usize {
        self.capacity_bytes as usize - self.room.available_permits()
    }

    /// Submissions that passed and are not answered yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes that can be taken altogether.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes as usize
    }

    /// Submissions that were let through so far.
    pub fn admitted_total(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::StatusBoard;
    use actix::{Actor, Context, Handler};
    use bytes::Bytes;
    use orderer_core::envelope::SignedEnvelope;
    use orderer_core::types::ConfigSequence;

    /// Keeps what it gets, unanswered.
    #[derive(Default)]
    struct NeverReplies(Vec<OrderBatch>);

    impl Actor for NeverReplies {
        type Context = Context<Self>;
    }

    impl Handler<OrderBatch> for NeverReplies {
        type Result = ();
        fn handle(&mut self, orders: OrderBatch, _: &mut Context<Self>) {
            self.0.push(orders);
        }
    }

    fn submission(bytes: usize) -> ValidatedEnvelope {
        ValidatedEnvelope {
            envelope: SignedEnvelope::from_parts(vec![7; bytes].into(), Bytes::new()),
            validated_at: ConfigSequence(0),
            is_config: false,
        }
    }

    #[actix::test]
    async fn a_full_gate_lets_nothing_more_through() {
        let gate = Gate::new(10_000);
        gate.open(NeverReplies::default().start().recipient(), StatusBoard::default().cell("hoarder"));
        let mut answers = Vec::new();
        let refused = loop {
            match gate.try_admit(submission(1000)) {
                Ok((order, answer)) => {
                    assert!(gate.send(vec![order]));
                    answers.push(answer);
                }
                Err(refused) => break refused,
            }
        };
        assert_eq!(answers.len(), 6);
        assert_eq!(refused.envelope.payload().len(), 1000);
        assert!(gate.bytes_in_flight() > 9_000);
        assert_eq!(gate.waiting(), 6);
    }

    #[actix::test]
    async fn an_envelope_larger_than_the_gate_passes_alone() {
        let gate = Gate::new(10_000);
        gate.open(NeverReplies::default().start().recipient(), StatusBoard::default().cell("hoarder"));
        let (order, _answer) = gate.try_admit(submission(50_000)).expect("admitted");
        assert!(gate.send(vec![order]));
        assert_eq!(gate.bytes_in_flight(), 10_000);
    }

    /// Passes on the number of orders of each message.
    struct Counts(tokio::sync::mpsc::UnboundedSender<usize>);

    impl Actor for Counts {
        type Context = Context<Self>;
    }

    impl Handler<OrderBatch> for Counts {
        type Result = ();
        fn handle(&mut self, batch: OrderBatch, _: &mut Context<Self>) {
            self.0.send(batch.orders.len()).unwrap();
        }
    }

    fn counting() -> (Arc<Gate>, tokio::sync::mpsc::UnboundedReceiver<usize>) {
        let (sender, counts) = tokio::sync::mpsc::unbounded_channel();
        let gate = Arc::new(Gate::new(100_000));
        gate.open(Counts(sender).start().recipient(), StatusBoard::default().cell("counts"));
        (gate, counts)
    }

    fn admitted(gate: &Gate) -> Vec<Order> {
        vec![gate.try_admit(submission(1)).expect("there is room").0]
    }

    #[actix::test]
    async fn what_is_submitted_waits_for_an_announced_batch() {
        let (gate, mut counts) = counting();
        gate.submit(admitted(&gate));
        assert_eq!(counts.recv().await, Some(1), "nothing is announced");
        gate.gathering().set_patience(Duration::from_secs(3600));
        let one = gate.announce();
        let other = gate.announce();
        gate.submit(admitted(&gate));
        gate.submit(admitted(&gate));
        drop(other);
        assert_eq!(gate.admitted_total(), 1, "one is still being validated");
        gate.submit(admitted(&gate));
        drop(one);
        assert_eq!(counts.recv().await, Some(3));
    }

    #[actix::test]
    async fn an_announced_batch_that_does_not_come_is_not_waited_for() {
        let (gate, mut counts) = counting();
        let _late = gate.announce();
        gate.submit(admitted(&gate));
        gate.submit(admitted(&gate));
        assert_eq!(counts.recv().await, Some(2));
        gate.submit(admitted(&gate));
        assert_eq!(counts.recv().await, Some(1), "each round ends");
    }

    /// Timers fire late while all threads are busy: a thread that always has something to do looks for them after 61 polls.
    #[actix::test]
    async fn a_batch_that_keeps_the_thread_busy_does_not_prolong_the_wait_of_others() {
        let (gate, mut counts) = counting();
        let (_other, next) = (gate.announce(), gate.announce());
        gate.submit(admitted(&gate));
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(3) {}
        drop(next);
        assert_eq!(gate.admitted_total(), 1);
        assert_eq!(counts.recv().await, Some(1));
    }

    #[actix::test]
    async fn what_has_gathered_goes_before_what_is_sent_and_before_the_gate_closes() {
        let (gate, mut counts) = counting();
        let _late = gate.announce();
        gate.submit(admitted(&gate));
        assert!(gate.send(admitted(&gate)));
        assert_eq!(counts.recv().await, Some(2));
        gate.submit(admitted(&gate));
        gate.close();
        assert_eq!(counts.recv().await, Some(1));
        let (order, answer) = gate.try_admit(submission(1)).expect("there is room");
        gate.submit(vec![order]);
        assert!(answer.await.is_err(), "the gate is closed");
    }

    #[actix::test]
    async fn a_client_that_waits_for_room_hands_over_what_occupies_it() {
        let (gate, mut counts) = counting();
        let _late = gate.announce();
        let (order, answer) = gate.try_admit(submission(90_000)).expect("there is room");
        gate.submit(vec![order]);
        let next = gate.order(submission(90_000)).await.expect("open");
        assert_eq!([counts.recv().await, counts.recv().await], [Some(1), Some(1)]);
        assert!(answer.await.is_err() && next.await.is_err(), "this chain answers nothing");
    }

    #[actix::test]
    async fn a_closed_gate_answers_at_once() {
        let gate = Gate::new(10_000);
        assert!(gate.order(submission(1)).await.is_none());
        let (order, answer) = gate.try_admit(submission(1)).expect("there is room");
        assert!(!gate.send(vec![order]));
        assert!(answer.await.is_err(), "the order was dropped");
        assert_eq!(gate.bytes_in_flight(), 0);
    }
}
