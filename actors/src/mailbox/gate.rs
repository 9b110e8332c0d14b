//! The bounded way into a channel's chain.
//!
//! An actix mailbox bounds nothing: `do_send` ignores its capacity, and each pending `send` brings a free slot of its
//! own. So the bound stands before it: a semaphore counted in bytes, first come, first served. A stream that finds no room
//! waits (back-pressure); the room is released when the message was answered, or dropped with a failed actor.
//!
//! Passing the gate costs about 0.2 µs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::Recipient;
use arc_swap::ArcSwapOption;
use orderer_core::types::ChannelId;
use tokio::sync::{Semaphore, oneshot};

use crate::status::StatusCell;

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
        }
    }

    /// Lets messages through to `chain`, which publishes to `status`.
    pub fn open(&self, chain: Recipient<OrderBatch>, status: Arc<StatusCell>) {
        self.chain.store(Some(Arc::new(GateTarget { chain, status })));
    }

    /// Lets nothing through any more. Messages that passed before are with the chain.
    pub fn close(&self) {
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
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
        let (order, receiver) = self.admit(submission, room);
        self.send(vec![order]).then_some(receiver)
    }

    /// Reserves room for a submission, if there is room at once, which is the usual case; returns the submission if there is
    /// none. The caller [sends](Self::send) the result. The receiver gives the chain's answer, or an error when the chain
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

    /// Hands admitted orders to the chain, in their order. Returns whether the gate is open; if it is not, the orders are
    /// dropped, and their receivers report it.
    pub fn send(&self, orders: Vec<Order>) -> bool {
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
