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

use bytes::{BufMut, Bytes, BytesMut};
use fabric_proto::common::Status as FabricStatus;
use fabric_proto::orderer::BroadcastResponse;
use http_body::Frame;
use orderer_actors::Channel;
use orderer_actors::mailbox::{Announcement, OrderResult, ValidatedEnvelope};
use orderer_actors::observer::{EnvelopeIdentity, Method, Stage, StreamHandle, StreamObserver, ValidationRecord};
use orderer_actors::trace::StagedSpan;
use prost::Message as _;
use tokio::sync::oneshot;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;

use super::gate_entry::{
    AdmittedBatch, CROWD_PART, GateOutcome, PendingAdmission, PendingAnswer, stalled, wait_at_gate,
};
use super::message_reader::{IncomingMessage, MessageReader, trailers};
use super::offloaded_validation::{OffloadedValidation, offload, validate_in_parts};
use super::service::GrpcContext;
use super::validate::{self, RejectedResponse, ValidEnvelope, ValidatedBatch, ValidationOutcome, validate_batch};
use crate::admission::{Charge, OpenStream, Phase, RejectionReason, now_ms, site};
use crate::connection::ConnectInfo;
use crate::traces::RemoteParent;

/// Maximum number of in-flight envelopes of one stream; the next is read when a response has been sent.
const MAX_IN_FLIGHT: usize = 256;
/// Maximum number of envelopes read before the first of them is validated.
const READ_AT_ONCE: usize = 16;
/// Number of waiting envelopes from which half of them are validated on another thread, if a processor is free:
/// verifying a signature takes 50 µs, handing the envelopes over 10.
const SHARE_FROM: usize = 4;

/// The framed response SUCCESS without a text: `BroadcastResponse { status: 200 }`.
const SUCCESS_FRAME: [u8; 8] = [0, 0, 0, 0, 3, 0x08, 0xc8, 0x01];

/// The response body of one Broadcast call.
pub(super) struct BroadcastStream {
    shared: GrpcContext,
    reader: MessageReader,
    /// The client's trace.
    parent: RemoteParent,
    /// This stream's entry in the registry of streams.
    handle: StreamHandle,
    /// The client's address, by which config updates take turns.
    client: IpAddr,
    reading: Reading,
    /// Validated envelopes, by this thread or the other one, that no chain has yet.
    validated: VecDeque<(ValidationOutcome, Charge)>,
    /// Announces the envelopes in `validated` to their channels' gates.
    announced: Vec<Announcement>,
    /// The envelopes that the other thread validates; they follow those in `validated`.
    offloaded: Option<OffloadedValidation>,
    /// An envelope that waits for capacity at its channel's gate.
    at_gate: Option<(PendingAdmission, SubmittedEnvelope)>,
    /// Envelopes that were submitted over or rejected, in the order of their responses.
    responses: VecDeque<PendingResponse>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    end: Option<Status>,
    ended: bool,
    observer: StreamObserver,
    /// Bytes charged for envelopes that were read and not responded to.
    in_flight_bytes: usize,
    /// Whether an envelope was accepted, which proves the sender's identity.
    is_known: bool,
    _open: (OpenStream, TaskTrackerToken),
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
    validation: ValidationRecord,
    identity: EnvelopeIdentity,
    /// Released when the response is sent.
    charge: Charge,
}

enum PendingResponse {
    Expected {
        answer: PendingAnswer,
        submitted: SubmittedEnvelope,
    },
    Rejected {
        refused: RejectedResponse,
        /// The channel of the rejected envelope, if it belongs to one.
        channel: Option<Arc<Channel>>,
        validation: ValidationRecord,
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
        let handle = shared.context.observer.streams().open(Method::Broadcast, connection.peer);
        let stopping = Box::pin(shared.stopping.clone().cancelled_owned());
        let observer = shared.context.observer.stream(Method::Broadcast);
        let open = (open, shared.open_streams.token());
        Self {
            shared,
            reader,
            parent,
            handle,
            client: site(connection.peer.ip()),
            reading: Reading::Open,
            validated: VecDeque::new(),
            announced: Vec::new(),
            offloaded: None,
            at_gate: None,
            responses: VecDeque::new(),
            stopping,
            end: None,
            ended: false,
            observer,
            in_flight_bytes: 0,
            is_known: false,
            _open: open,
        }
    }

    /// Reads the envelopes that have arrived and validates them. Returns whether anything happened.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let in_flight = self.validated.len() + self.responses.len() + usize::from(self.at_gate.is_some());
        if self.reading == Reading::Done || self.offloaded.is_some() {
            return false;
        }
        if in_flight >= MAX_IN_FLIGHT || self.in_flight_bytes >= self.shared.stream_bytes {
            self.reader.pause();
            return false;
        }
        let mut read: Vec<IncomingMessage> = Vec::new();
        while read.len() < READ_AT_ONCE && self.in_flight_bytes < self.shared.stream_bytes {
            match self.reader.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(incoming))) => {
                    if read.is_empty() {
                        read.reserve(READ_AT_ONCE);
                    }
                    self.in_flight_bytes += incoming.charge.bytes();
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
            self.handle.count(incoming.bytes.len());
        }
        self.handle.set_in_flight(in_flight + read.len());
        let (context, parent) = (Arc::clone(&self.shared.context), self.parent.clone());
        if read.iter().any(|incoming| validate::config_update_queue(&incoming.bytes, &context).is_some()) {
            // this thread serves other streams too
            self.offloaded = Some(Box::pin(validate_in_parts(read, context, parent, self.client)));
            return true;
        }
        let _at_work = self.shared.validation_threads.begin();
        if read.len() >= SHARE_FROM && self.shared.validation_threads.have_room() {
            let half = read.split_off(read.len() / 2);
            let other = self.shared.validation_threads.begin();
            self.offloaded = Some(offload(half, context, parent, other));
        }
        let ValidatedBatch { outcomes, announced } = validate_batch(read, &self.shared.context, &self.parent);
        self.validated.extend(outcomes);
        self.announced.extend(announced);
        true
    }

    /// Collects what the other thread has validated.
    fn join(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(offloaded) = &mut self.offloaded else { return false };
        let Poll::Ready(outcome) = offloaded.as_mut().poll(cx) else { return false };
        self.offloaded = None;
        match outcome {
            Ok(outcomes) => self.validated.extend(outcomes),
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
        // what is left waits for room
        self.announced.clear();
        progress
    }

    /// Admits validated envelopes to their channels; those for one channel, one behind the other, gather in `batch`.
    fn admit(&mut self, cx: &mut Context<'_>, batch: &mut AdmittedBatch) -> bool {
        let mut progress = false;
        loop {
            if let Some((admission, _)) = &mut self.at_gate {
                let Poll::Ready(outcome) = admission.as_mut().poll(cx) else { return progress };
                if let Some((_, submitted)) = self.at_gate.take() {
                    submitted.channel.observer().stage(Stage::Gate, submitted.validation.at.elapsed());
                    match outcome {
                        GateOutcome::Passed(receiver) => self.expect(Some(receiver), submitted),
                        GateOutcome::Closed => self.expect(None, submitted),
                        GateOutcome::Stalled(time) => {
                            self.shared.admission.refusals.count(RejectionReason::Gate);
                            self.reject_submitted(&stalled(&submitted.channel, time), submitted);
                        }
                    }
                }
                progress = true;
            }
            let Some((ValidationOutcome { verdict, validation, channel, trace }, charge)) = self.validated.pop_front()
            else {
                return progress;
            };
            progress = true;
            match verdict {
                Ok(ValidEnvelope { channel, submission, identity }) => {
                    if !self.is_known {
                        self.is_known = true;
                        self.reader.peer().reaches(Phase::Known);
                    }
                    self.enter(submission, trace, SubmittedEnvelope { channel, validation, identity, charge }, batch);
                }
                Err(refused) => {
                    self.in_flight_bytes = self.in_flight_bytes.saturating_sub(charge.bytes());
                    self.refuse(refused, channel, validation);
                }
            }
        }
    }

    fn enter(
        &mut self,
        submission: ValidatedEnvelope,
        trace: StagedSpan,
        submitted: SubmittedEnvelope,
        batch: &mut AdmittedBatch,
    ) {
        match trace.in_scope(|| submitted.channel.gate().try_admit(submission)) {
            Ok((order, receiver)) => {
                batch.push(&submitted.channel, order);
                self.expect(Some(receiver), submitted);
            }
            Err(submission) => {
                // the chain answers what has gathered, which makes room
                batch.send();
                // the stream goes on reading until it holds as much
                let held = self.shared.stream_bytes.max(self.in_flight_bytes);
                let crowd = self.shared.admission.budget.limit() / CROWD_PART;
                let admission = wait_at_gate(Arc::clone(&submitted.channel), submission, trace, held, crowd);
                self.at_gate = Some((admission, submitted));
            }
        }
    }

    fn expect(&mut self, receiver: Option<oneshot::Receiver<OrderResult>>, submitted: SubmittedEnvelope) {
        let answer = PendingAnswer::new(receiver, &submitted.channel);
        self.responses.push_back(PendingResponse::Expected { answer, submitted });
    }

    /// Rejects an envelope that its channel does not accept now.
    fn reject_submitted(&mut self, refused: &RejectedResponse, submitted: SubmittedEnvelope) {
        let SubmittedEnvelope { channel, validation, identity, charge } = submitted;
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(charge.bytes());
        self.shared.context.observer.rejected_by_chain(&identity, refused.status, &refused.info);
        self.refuse(refused.clone(), Some(channel), validation);
    }

    /// Queues a rejection. It ends the stream and drops what was read behind it, except when the sender is over its
    /// limit.
    fn refuse(&mut self, refused: RejectedResponse, channel: Option<Arc<Channel>>, validation: ValidationRecord) {
        let keeps_stream_open = refused.keeps_stream_open;
        self.responses.push_back(PendingResponse::Rejected { refused, channel, validation });
        if keeps_stream_open {
            return;
        }
        self.reading = Reading::Done;
        self.validated.clear();
        self.offloaded = None;
        self.at_gate = None;
    }

    /// Collects the responses that are there, in order.
    fn answer(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> bool {
        let mut progress = false;
        while let Some(front) = self.responses.front_mut() {
            let result = match front {
                PendingResponse::Rejected { refused, .. } => Err(refused.clone()),
                PendingResponse::Expected { answer, submitted } => match answer.poll(&submitted.channel, cx) {
                    Poll::Pending => return progress,
                    Poll::Ready(result) => result,
                },
            };
            progress = true;
            let status = result.as_ref().map_or_else(|refused| refused.status, |()| FabricStatus::Success);
            let mut late = None;
            match self.responses.pop_front() {
                Some(PendingResponse::Expected { submitted, .. }) => {
                    submitted.channel.observer().answered(&submitted.validation, true, status);
                    self.in_flight_bytes = self.in_flight_bytes.saturating_sub(submitted.charge.bytes());
                    late = Some(submitted.identity);
                }
                Some(PendingResponse::Rejected { channel: Some(channel), validation, .. }) => {
                    channel.observer().answered(&validation, false, status);
                }
                Some(PendingResponse::Rejected { channel: None, validation, .. }) => {
                    self.shared.context.observer.responded_without_channel(&validation, status);
                }
                None => {}
            }
            self.observer.sent(1);
            if let (Err(refused), Some(identity)) = (&result, late) {
                self.shared.context.observer.rejected_by_chain(&identity, status, &refused.info);
            }
            match result {
                Ok(()) => out.put_slice(&SUCCESS_FRAME),
                Err(refused) => {
                    tracing::debug!(target: "orderer.grpc", status = ?refused.status, info = %refused.info, "envelope rejected");
                    put_response(out, refused.status, refused.info);
                    if refused.keeps_stream_open {
                        continue;
                    }
                    self.responses.clear();
                    self.validated.clear();
                    self.offloaded = None;
                    self.at_gate = None;
                    self.reading = Reading::Done;
                }
            }
        }
        if progress {
            self.handle
                .set_in_flight(self.validated.len() + self.responses.len() + usize::from(self.at_gate.is_some()));
        }
        progress
    }

    fn is_idle(&self) -> bool {
        self.reading == Reading::Done
            && self.validated.is_empty()
            && self.offloaded.is_none()
            && self.at_gate.is_none()
            && self.responses.is_empty()
    }

    fn notice_stop(&mut self, cx: &mut Context<'_>) {
        if self.reading == Reading::Open && self.stopping.as_mut().poll(cx).is_ready() {
            self.reading = Reading::Done;
            self.end = Some(Status::unavailable("the orderer is shutting down"));
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
            // responses leave before more signatures are verified
            let read = out.is_empty() && stream.read(cx);
            if !(answered || joined || submitted || read) || (!out.is_empty() && !answered) {
                break;
            }
        }
        if !out.is_empty() {
            // until the next poll, which comes when there is room for more responses
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
