//! How a Broadcast stream's envelopes pass the gates of their channels.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use orderer_actors::Channel;
use orderer_actors::mailbox::{Gate, Order, OrderResult, Unavailable, ValidatedEnvelope};
use orderer_actors::trace::StagedSpan;
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use super::validate::RejectedResponse;

/// The wait of one envelope for capacity at a gate.
pub(super) type PendingAdmission = Pin<Box<dyn Future<Output = GateOutcome> + Send>>;

/// Time without progress after which a channel rejects the envelopes that wait at its gate.
const GATE_PATIENCE: Duration = Duration::from_secs(30);
/// The same limit when the waiting streams together hold more than one part in [`CROWD_PART`] of the memory for
/// clients.
const CROWDED_PATIENCE: Duration = Duration::from_secs(5);
pub(super) const CROWD_PART: usize = 8;
/// Interval at which a waiting stream checks whether the channel makes progress.
const GATE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Number of envelopes that a busy stream usually has at hand.
const USUAL_BATCH: usize = 8;

/// Outcome of waiting for capacity at a channel's gate.
pub(super) enum GateOutcome {
    Passed(oneshot::Receiver<OrderResult>),
    Closed,
    /// The channel has admitted nothing for this long.
    Stalled(Duration),
}

/// Envelopes that were admitted to one channel and are not sent to its chain yet.
#[derive(Default)]
pub(super) struct AdmittedBatch {
    orders: Vec<Order>,
    channel: Option<Arc<Channel>>,
}

impl AdmittedBatch {
    /// Adds an order; sends those before it if they belong to another channel.
    pub(super) fn push(&mut self, channel: &Arc<Channel>, order: Order) {
        if self.channel.as_ref().is_some_and(|other| !Arc::ptr_eq(other, channel)) {
            self.send();
        }
        if self.channel.is_none() {
            self.channel = Some(Arc::clone(channel));
            self.orders.reserve(USUAL_BATCH);
        }
        self.orders.push(order);
    }

    /// Submits what has gathered. If the channel's gate is closed meanwhile, the orders' receivers report it.
    pub(super) fn send(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.gate().submit(std::mem::take(&mut self.orders));
        }
    }
}

/// Waits for capacity at the gate of `channel`, and counts `held_bytes` there as held by a waiting client. Gives up when the
/// channel makes no progress, sooner if the waiting clients together hold more than `crowd_bytes`.
pub(super) fn wait_at_gate(
    channel: Arc<Channel>,
    submission: ValidatedEnvelope,
    trace: StagedSpan,
    held_bytes: usize,
    crowd_bytes: usize,
) -> PendingAdmission {
    Box::pin(async move {
        let span = trace.span().cloned().unwrap_or_else(Span::none);
        let _outside = channel.gate().stand_outside(held_bytes);
        tokio::select! {
            receiver = channel.gate().order(submission).instrument(span) => {
                receiver.map_or(GateOutcome::Closed, GateOutcome::Passed)
            }
            time = wait_until_stalled(channel.gate(), crowd_bytes) => GateOutcome::Stalled(time),
        }
    })
}

/// Resolves when a channel has admitted nothing for too long, because waiting streams hold memory that others need.
async fn wait_until_stalled(gate: &Gate, crowd_bytes: usize) -> Duration {
    loop {
        let time = gate.still_for();
        if time >= GATE_PATIENCE || (time >= CROWDED_PATIENCE && gate.outside_bytes() > crowd_bytes) {
            return time;
        }
        tokio::time::sleep(GATE_CHECK_INTERVAL).await;
    }
}

/// Rejects an envelope that has waited in vain at the gate.
pub(super) fn stalled(channel: &Channel, time: Duration) -> RejectedResponse {
    let (seconds, state) = (time.as_secs(), channel.state());
    let reason = format!("it has acknowledged none for {seconds} s, and as many wait as may ({state})");
    RejectedResponse::unavailable(Unavailable { channel: channel.id().clone(), reason }.to_string())
}

/// The wait for a chain's answer to an envelope.
pub(super) enum PendingAnswer {
    /// The chain has the envelope.
    Chain(oneshot::Receiver<OrderResult>),
    /// There is no chain, or it ended before it answered.
    NoChain(Pin<Box<dyn Future<Output = RejectedResponse> + Send>>),
}

impl PendingAnswer {
    /// Returns the wait for the answer that `receiver` gets; without a receiver there is no chain.
    pub(super) fn new(receiver: Option<oneshot::Receiver<OrderResult>>, channel: &Arc<Channel>) -> Self {
        receiver.map_or_else(|| Self::no_chain(channel), Self::Chain)
    }

    fn no_chain(channel: &Arc<Channel>) -> Self {
        let channel = Arc::clone(channel);
        Self::NoChain(Box::pin(async move { RejectedResponse::unavailable(channel.unavailable().await.to_string()) }))
    }

    /// Polls for the answer. It must not be polled again after it was ready.
    pub(super) fn poll(&mut self, channel: &Arc<Channel>, cx: &mut Context<'_>) -> Poll<Result<(), RejectedResponse>> {
        loop {
            match self {
                Self::Chain(receiver) => match ready!(Pin::new(receiver).poll(cx)) {
                    Ok(answer) => return Poll::Ready(answer.map_err(RejectedResponse::from)),
                    Err(_) => *self = Self::no_chain(channel),
                },
                Self::NoChain(reason) => return reason.as_mut().poll(cx).map(Err),
            }
        }
    }
}
