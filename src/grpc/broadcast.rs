//! One Broadcast stream: envelopes in, responses out in the same order, many in flight at once.
//!
//! ```text
//!  read ──► validate (this thread, and another when several wait) ──► gate ──► chain
//!                                                                                │ durable
//!  respond ◄────────────────── in the order in which they were read ◄────────────┘
//! ```
//!
//! The stream is the body of the response. The connection polls it; each poll does the work of each kind that is
//! ready and returns the responses that are there as one piece of data. No task is spawned, except to validate on
//! another thread: half of the envelopes when several wait, and config updates, which take long and of which few are
//! validated at a time.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use fabric_proto::common::Status as FabricStatus;
use fabric_proto::orderer::BroadcastResponse;
use http_body::Frame;
use orderer_actors::mailbox::{Gate, Order, OrderError, OrderResult, ValidatedEnvelope};
use orderer_actors::observer::{EnvelopeIdentity, Method, Stage, StreamHandle, StreamObserver, ValidationRecord};
use orderer_actors::trace::StagedSpan;
use orderer_actors::validation_queue::{acquire_validation_permit, on_own_thread};
use orderer_actors::{Channel, NodeContext};
use prost::Message as _;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::message_reader::{IncomingMessage, MessageReader, trailers};
use super::service::GrpcContext;
use super::validate::{self, RejectedResponse, ValidEnvelope, ValidationOutcome, validate_batch};
use crate::admission::{Charge, OpenStream, Phase, RejectionReason, now_ms, site};
use crate::connection::ConnectInfo;
use crate::traces::RemoteParent;

/// Maximum number of in-flight envelopes of one stream; the next is read when a response has been sent.
const IN_WORK_MAX: usize = 256;
/// Maximum number of envelopes read before the first of them is validated.
const READ_AT_ONCE: usize = 16;
/// Number of waiting envelopes from which half of them are validated on another thread, if a processor is free:
/// verifying a signature takes 50 µs, handing the envelopes over 10.
const SHARE_FROM: usize = 4;

/// The framed response SUCCESS without a text: `BroadcastResponse { status: 200 }`.
const SUCCESS_FRAME: [u8; 8] = [0, 0, 0, 0, 3, 0x08, 0xc8, 0x01];

/// Validates envelopes elsewhere: resolves to the results in the order of the envelopes, or to how the thread failed.
type OffloadedValidation = Pin<Box<dyn Future<Output = Result<Vec<(ValidationOutcome, Charge)>, String>> + Send>>;
type PendingAdmission = Pin<Box<dyn Future<Output = Entered> + Send>>;

/// Time without progress after which a channel rejects the envelopes that wait at its gate.
const GATE_PATIENCE: Duration = Duration::from_secs(30);
/// The same limit when the waiting streams together hold more than one part in [`CROWD_PART`] of the memory for
/// clients.
const CROWDED_PATIENCE: Duration = Duration::from_secs(5);
const CROWD_PART: usize = 8;
/// Interval at which a waiting stream checks whether the channel makes progress.
const GATE_LOOK: Duration = Duration::from_secs(1);

/// Outcome of waiting for capacity at a channel's gate.
enum Entered {
    Passed(oneshot::Receiver<OrderResult>),
    Closed,
    /// The channel has admitted nothing for this long.
    Still(Duration),
}

/// The response body of one Broadcast call.
pub(super) struct BroadcastStream {
    shared: GrpcContext,
    reader: MessageReader,
    /// The client's trace.
    parent: RemoteParent,
    /// This stream's entry in the registry of streams.
    place: StreamHandle,
    /// The client's address, by which config updates take turns.
    client: IpAddr,
    reading: Reading,
    /// Validated envelopes, by this thread or the other one, that no chain has yet.
    judged: VecDeque<(ValidationOutcome, Charge)>,
    /// The envelopes that the other thread validates; they follow those in `judged`.
    elsewhere: Option<OffloadedValidation>,
    /// An envelope that waits for capacity at its channel's gate.
    entering: Option<(PendingAdmission, SubmittedEnvelope)>,
    /// Envelopes that were handed over or rejected, in the order of their responses.
    answers: VecDeque<PendingResponse>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    end: Option<Status>,
    ended: bool,
    observer: StreamObserver,
    /// Bytes charged for envelopes that were read and not responded to.
    in_work_bytes: usize,
    /// Whether an envelope was accepted, which proves the sender's identity.
    is_known: bool,
    _open: OpenStream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The client has sent everything, a response will end the stream, or the node is stopping.
    Done,
}

/// An envelope on its way to its chain.
struct SubmittedEnvelope {
    channel: Arc<Channel>,
    judged: ValidationRecord,
    named: EnvelopeIdentity,
    /// Released when the response is sent.
    charge: Charge,
}

enum PendingResponse {
    Expected {
        receiver: oneshot::Receiver<OrderResult>,
        handed: SubmittedEnvelope,
    },
    Rejected {
        refused: RejectedResponse,
        /// The channel of the rejected envelope, if it belongs to one.
        channel: Option<Arc<Channel>>,
        judged: ValidationRecord,
    },
}

impl BroadcastStream {
    pub(super) fn new(
        shared: GrpcContext,
        reader: MessageReader,
        connection: &ConnectInfo,
        parent: RemoteParent,
        open: OpenStream,
    ) -> Self {
        let place = shared.context.observer.streams().open(Method::Broadcast, connection.peer);
        let stopping = Box::pin(shared.stopping.clone().cancelled_owned());
        let observer = shared.context.observer.stream(Method::Broadcast);
        Self {
            shared,
            reader,
            parent,
            place,
            client: site(connection.peer.ip()),
            reading: Reading::Open,
            judged: VecDeque::new(),
            elsewhere: None,
            entering: None,
            answers: VecDeque::new(),
            stopping,
            end: None,
            ended: false,
            observer,
            in_work_bytes: 0,
            is_known: false,
            _open: open,
        }
    }

    /// Reads the envelopes that have arrived and validates them. Returns whether anything happened.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let in_work = self.judged.len() + self.answers.len() + usize::from(self.entering.is_some());
        if self.reading == Reading::Done || self.elsewhere.is_some() {
            return false;
        }
        if in_work >= IN_WORK_MAX || self.in_work_bytes >= self.shared.stream_bytes {
            self.reader.pause();
            return false;
        }
        let mut read: Vec<IncomingMessage> = Vec::new();
        while read.len() < READ_AT_ONCE && self.in_work_bytes < self.shared.stream_bytes {
            match self.reader.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(incoming))) => {
                    if read.is_empty() {
                        read.reserve(READ_AT_ONCE);
                    }
                    self.in_work_bytes += incoming.charge.bytes();
                    read.push(incoming);
                }
                Poll::Ready(None) => {
                    self.reading = Reading::Done;
                    break;
                }
                Poll::Ready(Some(Err(status))) => {
                    self.reading = Reading::Done;
                    self.end = Some(status);
                    break;
                }
            }
        }
        if read.is_empty() {
            return self.reading == Reading::Done;
        }
        self.observer.received(read.len());
        if let Some(files) = &self.shared.broadcast_files {
            for incoming in &read {
                files.put(&incoming.bytes);
            }
        }
        for incoming in &read {
            self.place.count(incoming.bytes.len());
        }
        self.place.set_in_flight(in_work + read.len());
        let (context, parent) = (Arc::clone(&self.shared.context), self.parent.clone());
        if read.iter().any(|incoming| validate::config_update_queue(&incoming.bytes, &context).is_some()) {
            // this thread serves other streams too
            self.elsewhere = Some(Box::pin(judge_in_parts(read, context, parent, self.client)));
            return true;
        }
        let _at_work = self.shared.judges.begin();
        if read.len() >= SHARE_FROM && self.shared.judges.have_room() {
            let half = read.split_off(read.len() / 2);
            let other = self.shared.judges.begin();
            self.elsewhere = Some(Box::pin(async move {
                let work = move || {
                    let judged = validate_batch(half, &context, &parent);
                    drop(other);
                    judged
                };
                spawn_blocking(work).await.map_err(|error| error.to_string())
            }));
        }
        self.judged.extend(validate_batch(read, &self.shared.context, &self.parent));
        true
    }

    /// Collects what the other thread has validated.
    fn join(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(elsewhere) = &mut self.elsewhere else { return false };
        let Poll::Ready(outcome) = elsewhere.as_mut().poll(cx) else { return false };
        self.elsewhere = None;
        match outcome {
            Ok(judged) => self.judged.extend(judged),
            Err(why) => {
                tracing::error!(target: "orderer.grpc", %why, "validating an envelope");
                self.reading = Reading::Done;
                self.end = Some(Status::internal("the orderer failed to validate an envelope"));
            }
        }
        true
    }

    /// Submits validated envelopes to their chains, in order.
    fn submit(&mut self, cx: &mut Context<'_>) -> bool {
        let mut batch = AdmittedBatch::default();
        let progress = self.admit(cx, &mut batch);
        batch.send();
        progress
    }

    /// Admits validated envelopes to their channels; those for one channel, one behind the other, gather in `batch`.
    fn admit(&mut self, cx: &mut Context<'_>, batch: &mut AdmittedBatch) -> bool {
        let mut progress = false;
        loop {
            if let Some((entering, _)) = &mut self.entering {
                let Poll::Ready(entered) = entering.as_mut().poll(cx) else { return progress };
                if let Some((_, handed)) = self.entering.take() {
                    handed.channel.observer().stage(Stage::Gate, handed.judged.at.elapsed());
                    match entered {
                        Entered::Passed(receiver) => self.expect(Some(receiver), handed),
                        Entered::Closed => self.expect(None, handed),
                        Entered::Still(time) => {
                            self.shared.admission.refusals.count(RejectionReason::Gate);
                            self.turn_away(&still(&handed.channel, time), handed);
                        }
                    }
                }
                progress = true;
            }
            let Some((ValidationOutcome { verdict, judged, channel, trace }, charge)) = self.judged.pop_front() else {
                return progress;
            };
            progress = true;
            match verdict {
                Ok(ValidEnvelope { channel, submission, named }) => {
                    if !self.is_known {
                        self.is_known = true;
                        self.reader.peer().reaches(Phase::Known);
                    }
                    self.enter(submission, trace, SubmittedEnvelope { channel, judged, named, charge }, batch);
                }
                Err(refused) => {
                    self.in_work_bytes = self.in_work_bytes.saturating_sub(charge.bytes());
                    self.refuse(refused, channel, judged);
                }
            }
        }
    }

    fn enter(
        &mut self,
        submission: ValidatedEnvelope,
        trace: StagedSpan,
        handed: SubmittedEnvelope,
        batch: &mut AdmittedBatch,
    ) {
        match trace.in_scope(|| handed.channel.gate().try_admit(submission)) {
            Ok((order, receiver)) => {
                batch.push(&handed.channel, order);
                self.expect(Some(receiver), handed);
            }
            Err(submission) => {
                // the chain answers what has gathered, which makes room
                batch.send();
                let at_gate = Arc::clone(&handed.channel);
                // it goes on reading until it holds as much
                let held = self.shared.stream_bytes.max(self.in_work_bytes);
                let crowd = self.shared.admission.budget.limit() / CROWD_PART;
                let entering: PendingAdmission = Box::pin(async move {
                    let span = trace.span().cloned().unwrap_or_else(Span::none);
                    let _outside = at_gate.gate().stand_outside(held);
                    tokio::select! {
                        receiver = at_gate.gate().order(submission).instrument(span) => {
                            receiver.map_or(Entered::Closed, Entered::Passed)
                        }
                        time = stands_still(at_gate.gate(), crowd) => Entered::Still(time),
                    }
                });
                self.entering = Some((entering, handed));
            }
        }
    }

    fn expect(&mut self, receiver: Option<oneshot::Receiver<OrderResult>>, handed: SubmittedEnvelope) {
        if let Some(receiver) = receiver {
            self.answers.push_back(PendingResponse::Expected { receiver, handed });
            return;
        }
        self.turn_away(&unavailable(&handed.channel), handed);
    }

    /// Rejects an envelope that its channel does not accept now.
    fn turn_away(&mut self, refused: &RejectedResponse, handed: SubmittedEnvelope) {
        let SubmittedEnvelope { channel, judged, named, charge } = handed;
        self.in_work_bytes = self.in_work_bytes.saturating_sub(charge.bytes());
        self.shared.context.observer.rejected_by_chain(&named, refused.status, &refused.info);
        self.refuse(refused.clone(), Some(channel), judged);
    }

    /// Queues a rejection. It ends the stream and drops what was read behind it, except when the sender is over its
    /// limit.
    fn refuse(&mut self, refused: RejectedResponse, channel: Option<Arc<Channel>>, judged: ValidationRecord) {
        let keeps_stream_open = refused.keeps_stream_open;
        self.answers.push_back(PendingResponse::Rejected { refused, channel, judged });
        if keeps_stream_open {
            return;
        }
        self.reading = Reading::Done;
        self.judged.clear();
        self.elsewhere = None;
        self.entering = None;
    }

    /// Collects the responses that are there, in order.
    fn answer(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> bool {
        let mut progress = false;
        while let Some(front) = self.answers.front_mut() {
            let answer = match front {
                PendingResponse::Rejected { refused, .. } => Err(refused.clone()),
                PendingResponse::Expected { receiver, handed } => match Pin::new(receiver).poll(cx) {
                    Poll::Pending => return progress,
                    Poll::Ready(Ok(Ok(()))) => Ok(()),
                    Poll::Ready(Ok(Err(OrderError::NoLongerValid { kind, text }))) => {
                        Err(RejectedResponse::new(kind, text))
                    }
                    Poll::Ready(Ok(Err(refusal))) => Err(RejectedResponse::unavailable(refusal.to_string())),
                    // the chain died before it answered
                    Poll::Ready(Err(_)) => Err(unavailable(&handed.channel)),
                },
            };
            progress = true;
            let status = answer.as_ref().map_or_else(|refused| refused.status, |()| FabricStatus::Success);
            let mut late = None;
            match self.answers.pop_front() {
                Some(PendingResponse::Expected { handed, .. }) => {
                    handed.channel.observer().answered(&handed.judged, true, status);
                    self.in_work_bytes = self.in_work_bytes.saturating_sub(handed.charge.bytes());
                    late = Some(handed.named);
                }
                Some(PendingResponse::Rejected { channel: Some(channel), judged, .. }) => {
                    channel.observer().answered(&judged, false, status);
                }
                Some(PendingResponse::Rejected { channel: None, judged, .. }) => {
                    self.shared.context.observer.responded_without_channel(&judged, status);
                }
                None => {}
            }
            self.observer.sent(1);
            if let (Err(refused), Some(named)) = (&answer, late) {
                self.shared.context.observer.rejected_by_chain(&named, status, &refused.info);
            }
            match answer {
                Ok(()) => out.put_slice(&SUCCESS_FRAME),
                Err(refused) => {
                    tracing::debug!(target: "orderer.grpc", status = ?refused.status, info = %refused.info, "envelope rejected");
                    put_response(out, refused.status, refused.info);
                    if refused.keeps_stream_open {
                        continue;
                    }
                    self.answers.clear();
                    self.judged.clear();
                    self.elsewhere = None;
                    self.entering = None;
                    self.reading = Reading::Done;
                }
            }
        }
        if progress {
            self.place.set_in_flight(self.judged.len() + self.answers.len() + usize::from(self.entering.is_some()));
        }
        progress
    }

    fn is_idle(&self) -> bool {
        self.reading == Reading::Done
            && self.judged.is_empty()
            && self.elsewhere.is_none()
            && self.entering.is_none()
            && self.answers.is_empty()
    }

    fn notice_stop(&mut self, cx: &mut Context<'_>) {
        if self.reading == Reading::Open && self.stopping.as_mut().poll(cx).is_ready() {
            self.reading = Reading::Done;
            self.end = Some(Status::unavailable("the orderer is shutting down"));
        }
    }
}

/// Envelopes that were admitted to one channel and are not sent to its chain yet.
#[derive(Default)]
struct AdmittedBatch {
    orders: Vec<Order>,
    channel: Option<Arc<Channel>>,
}

impl AdmittedBatch {
    /// Adds an order; sends those before it if they belong to another channel.
    fn push(&mut self, channel: &Arc<Channel>, order: Order) {
        if self.channel.as_ref().is_some_and(|other| !Arc::ptr_eq(other, channel)) {
            self.send();
        }
        if self.channel.is_none() {
            self.channel = Some(Arc::clone(channel));
            self.orders.reserve(READ_AT_ONCE / 2);
        }
        self.orders.push(order);
    }

    /// Sends what has gathered. If the channel's gate is closed meanwhile, the orders' receivers report it.
    fn send(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.gate().send(std::mem::take(&mut self.orders));
        }
    }
}

impl http_body::Body for BroadcastStream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let stream = &mut *self;
        let mut out = BytesMut::new();
        stream.reader.turn().of_node();
        stream.notice_stop(cx);
        loop {
            let answered = stream.answer(cx, &mut out);
            let joined = stream.join(cx);
            let submitted = stream.submit(cx);
            // answers leave before more signatures are verified
            let read = out.is_empty() && stream.read(cx);
            if !(answered || joined || submitted || read) || (!out.is_empty() && !answered) {
                break;
            }
        }
        if !out.is_empty() {
            // until the next poll, which comes when there is room for more answers
            stream.reader.turn().of_client(now_ms());
            return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
        }
        if stream.is_idle() {
            stream.ended = true;
            let status = stream.end.take().unwrap_or_else(|| Status::ok(""));
            stream.observer.ends(status.code() as i32);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))));
        }
        Poll::Pending
    }
}

/// Validates envelopes that include config updates, each of which runs on a blocking thread when its turn has come.
/// Stops behind the first envelope whose response ends the stream.
async fn judge_in_parts(
    read: Vec<IncomingMessage>,
    context: Arc<NodeContext>,
    parent: RemoteParent,
    client: IpAddr,
) -> Result<Vec<(ValidationOutcome, Charge)>, String> {
    let mut judged: Vec<(ValidationOutcome, Charge)> = Vec::with_capacity(read.len());
    let mut read = read.into_iter().peekable();
    while let Some(first) = read.next() {
        let (with, parent) = (Arc::clone(&context), parent.clone());
        if let Some(channel) = validate::config_update_queue(&first.bytes, &context) {
            match acquire_validation_permit(&channel, Some(client)).await {
                Ok(turn) => {
                    let work = move || {
                        let judged = validate_batch(vec![first], &with, &parent);
                        drop(turn);
                        judged
                    };
                    judged.extend(on_own_thread(work).await.map_err(|error| error.to_string())?);
                }
                Err(crowded) => {
                    judged.push((validate::reject_without_validation(crowded.to_string(), &context), first.charge));
                }
            }
        } else {
            let mut part = vec![first];
            while let Some(next) = read.next_if(|next| validate::config_update_queue(&next.bytes, &context).is_none()) {
                part.push(next);
            }
            let work = spawn_blocking(move || validate_batch(part, &with, &parent));
            judged.extend(work.await.map_err(|error| error.to_string())?);
        }
        if judged
            .iter()
            .any(|(judgement, _)| judgement.verdict.as_ref().is_err_and(|refused| !refused.keeps_stream_open))
        {
            break;
        }
    }
    Ok(judged)
}

/// Resolves when a channel has admitted nothing for too long, because waiting streams hold memory that others need.
async fn stands_still(gate: &Gate, crowd_bytes: usize) -> Duration {
    loop {
        let time = gate.still_for();
        if time >= GATE_PATIENCE || (time >= CROWDED_PATIENCE && gate.outside_bytes() > crowd_bytes) {
            return time;
        }
        tokio::time::sleep(GATE_LOOK).await;
    }
}

fn still(channel: &Channel, time: Duration) -> RejectedResponse {
    let (id, seconds, state) = (channel.id(), time.as_secs(), channel.state());
    RejectedResponse::unavailable(format!(
        "channel '{id}' does not take messages now: it has acknowledged none for {seconds} s, and as many wait as may ({state})"
    ))
}

fn unavailable(channel: &Channel) -> RejectedResponse {
    RejectedResponse::unavailable(format!("channel '{}' does not take messages now: {}", channel.id(), channel.state()))
}

fn put_response(out: &mut BytesMut, status: FabricStatus, info: String) {
    let response = BroadcastResponse { status: status as i32, info };
    out.put_u8(0);
    // a status and a line of text
    out.put_u32(u32::try_from(response.encoded_len()).unwrap_or(u32::MAX));
    // a BytesMut grows as needed: encoding into it cannot fail
    let _ = response.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_answer_is_success() {
        let mut encoded = BytesMut::new();
        put_response(&mut encoded, FabricStatus::Success, String::new());
        assert_eq!(encoded[..], SUCCESS_FRAME);
    }
}
