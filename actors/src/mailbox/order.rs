//! The message that carries an envelope to a chain, and its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Message;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::types::ConfigSequence;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::trace::StagedSpan;

/// An envelope that passed the channel's filters and asks for its place in the order.
#[derive(Debug)]
pub struct ValidatedEnvelope {
    /// A normal message as it came in, or the CONFIG or ORDERER_TRANSACTION message made of a config update.
    pub envelope: SignedEnvelope,
    /// The configuration it was found valid under.
    pub validated_at: ConfigSequence,
    /// Whether it is a config message.
    pub is_config: bool,
}

/// Request of Broadcast, after validation. Answered when the envelope is durable, not when its block is cut.
#[derive(Debug)]
pub struct Order {
    /// The envelope to order.
    pub submission: ValidatedEnvelope,
    /// The receiver of the answer.
    pub reply: Reply,
}

/// The requests that a sender had at hand, in its order. One message for all of them: to wake an idle arbiter for each envelope
/// costs more than to order it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct OrderBatch {
    /// At least one.
    pub orders: Vec<Order>,
}

/// `Ok`: the envelope is durable and will be in the chain.
pub type OrderResult = Result<(), OrderError>;

/// The reason why a chain did not accept an envelope that Broadcast had found valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The configuration changed in between, and under the new one it is not valid. The text is the filter's.
    #[error("{text}")]
    NoLongerValid {
        /// Status for the client.
        kind: orderer_core::processing::RejectionKind,
        /// The text of the failed validation.
        text: String,
    },
    /// The chain could not make it durable.
    #[error("{0}")]
    NotDurable(String),
}

/// A reserved part of the gate's bytes; free again when dropped.
pub type IngressPermit = OwnedSemaphorePermit;

/// Answers one submission, and holds its room at the gate until then. Dropped unanswered, the sender learns that the
/// chain is gone.
#[derive(Debug)]
pub struct Reply {
    answer: oneshot::Sender<OrderResult>,
    room: Option<IngressPermit>,
    _waiting: InFlightGuard,
    trace: StagedSpan,
}

/// Counts a submission until it is dropped.
#[derive(Debug)]
struct InFlightGuard(Arc<AtomicUsize>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reply {
    /// Creates the reply for an envelope, within the thread's current span.
    pub(super) fn new(answer: oneshot::Sender<OrderResult>, room: IngressPermit, waiting: &Arc<AtomicUsize>) -> Self {
        let mut trace = StagedSpan::current();
        trace.enter_stage("chain");
        waiting.fetch_add(1, Ordering::Relaxed);
        Self { answer, room: Some(room), _waiting: InFlightGuard(Arc::clone(waiting)), trace }
    }

    /// The envelope has come so far on its way.
    #[inline]
    pub fn record_stage(&mut self, stage: &'static str) {
        self.trace.enter_stage(stage);
    }

    /// Sends the answer and returns the room at the gate, for a chain that goes on holding the envelope.
    pub fn send_early(self, answer: OrderResult) -> Option<IngressPermit> {
        let _ = self.answer.send(answer);
        self.room
    }

    /// Takes the room at the gate, for a chain that goes on holding the envelope when this is answered.
    pub fn take_room(&mut self) -> Option<IngressPermit> {
        self.room.take()
    }

    /// Sends the answer and frees the room. A sender that has gone away is no error.
    pub fn send(self, answer: OrderResult) {
        let _ = self.answer.send(answer);
    }
}
