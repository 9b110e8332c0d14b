//! One Deliver stream: requests in, blocks and a status out for each.
//!
//! A block is not decoded, encoded or copied here: every subscriber sends slices of the one buffer that the ledger keeps
//! of it. The stream is pulled by the connection's flow control, and a block is read when the memory for blocks on their
//! way out has room for it ([`Outgoing`](crate::admission::Outgoing)).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_stream::stream;
use bytes::Bytes;
use fabric_proto::common::{SignatureHeader, Status as FabricStatus};
use fabric_proto::lenient;
use fabric_proto::orderer::SeekInfo;
use futures_util::Stream;
use http_body::Frame;
use orderer_actors::channel::{Channel, ChannelEntry, ChannelState, SubscriptionGuard};
use orderer_actors::node_context::unix_now;
use orderer_actors::observer::{DeliverRequest as Asked, Method, StreamHandle, StreamObserver, Subscription};
use orderer_actors::trace::{StagedSpan, TARGET, is_enabled};
use orderer_core::block::{EncodedBlock, status_frame};
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::identity::expires_at;
use orderer_core::policy::{SignedData, Signers};
use orderer_core::processing::SeekRange;
use orderer_core::types::{BlockNumber, UnixSeconds};
use tonic::{Code, Status};

use super::message_reader::{IncomingMessage, MessageReader, trailers};
use super::service::GrpcContext;
use crate::admission::{Charge, Held, OpenStream, Peer, Phase, now_ms};
use crate::connection::ConnectInfo;
use crate::traces::RemoteParent;

/// Maximum size of a request. Fabric accepts requests as large as envelopes. Here a request is retained for as long
/// as its response lasts, to be revalidated after a config update, and no client has a reason to send more than a few
/// KB.
const REQUEST_MAX_BYTES: usize = 1 << 20;
/// Maximum number of blocks read ahead from disk at once.
const READ_AHEAD_BLOCKS: u64 = 16;
/// Maximum size in bytes of the blocks read ahead at once.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// A response body made of the frames that the answering stream yields.
pub(super) struct DeliverStream {
    frames: Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>,
    ended: bool,
}

impl DeliverStream {
    pub(super) fn new(
        shared: GrpcContext,
        mut reader: MessageReader,
        connection: ConnectInfo,
        parent: RemoteParent,
        open: OpenStream,
    ) -> Self {
        reader.limit(REQUEST_MAX_BYTES);
        Self { frames: Box::pin(answer_all(shared, reader, connection, parent, open)), ended: false }
    }
}

impl http_body::Body for DeliverStream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.frames.as_mut().poll_next(cx)) {
            Some(Ok(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            end => {
                self.ended = true;
                let status = end.map_or_else(|| Status::ok(""), |end| end.err().unwrap_or_else(|| Status::ok("")));
                Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
            }
        }
    }
}

/// Responds to request after request; the first that does not succeed is the last.
fn answer_all(
    shared: GrpcContext,
    mut reader: MessageReader,
    connection: ConnectInfo,
    parent: RemoteParent,
    open: OpenStream,
) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    let mut observer = shared.context.observer.stream(Method::Deliver);
    stream! {
        let _open = (open, shared.open_streams.token());
        let place = shared.context.observer.streams().open(Method::Deliver, connection.peer);
        loop {
            reader.turn().of_node();
            let incoming = tokio::select! {
                incoming = reader.next() => incoming,
                () = shared.stopping.cancelled() => Some(Err(Status::unavailable("the orderer is shutting down"))),
            };
            let request = match incoming {
                None => {
                    observer.ends(Code::Ok as i32);
                    return;
                }
                Some(Err(status)) => {
                    observer.ends(status.code() as i32);
                    yield Err(status);
                    return;
                }
                Some(Ok(incoming)) => incoming,
            };
            reader.turn().of_node();
            observer.received(1);
            if let Some(files) = &shared.deliver_files {
                files.put(&request.bytes);
            }
            let mut answer = match ActiveRequest::begin(&shared, &connection, &place, Arc::clone(reader.peer()), request).await {
                Ok(answer) => {
                    reader.peer().reaches(Phase::Known);
                    answer.followed(&connection, &parent)
                }
                Err(refused) => {
                    refused.log(&connection);
                    ended_with_status(&mut observer);
                    yield Ok(status_frame(refused.status));
                    return;
                }
            };
            loop {
                match answer.next(&shared).await {
                    Ok(Some((block, frame))) => {
                        place.count(frame.len());
                        place.block_offered();
                        observer.sent(1);
                        reader.turn().of_client(now_ms());
                        yield Ok(frame);
                        reader.turn().of_node();
                        place.block_sent(block + 1);
                        answer.channel.observer().delivered(block);
                    }
                    Ok(None) => break,
                    Err(refused) => {
                        refused.log(&connection);
                        drop(answer);
                        ended_with_status(&mut observer);
                        yield Ok(status_frame(refused.status));
                        return;
                    }
                }
            }
            answer.subscription.succeeded();
            observer.sent(1);
            yield Ok(status_frame(FabricStatus::Success));
        }
    }
}

/// Records that the stream ended well, with a status as its last message.
fn ended_with_status(observer: &mut StreamObserver) {
    observer.sent(1);
    observer.ends(Code::Ok as i32);
}

/// The reason a response ends without success. Deliver has no text on the wire: the reason is for the log.
struct RequestRejected {
    status: FabricStatus,
    reason: String,
}

impl RequestRejected {
    fn new(status: FabricStatus, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    fn bad(reason: impl Into<String>) -> Self {
        Self::new(FabricStatus::BadRequest, reason)
    }

    fn log(&self, connection: &ConnectInfo) {
        let Self { status, reason } = self;
        tracing::debug!(target: "orderer.grpc", peer = %connection.peer, ?status, %reason, "deliver request ended");
    }
}

/// The response to one request: its position in the chain.
struct ActiveRequest {
    channel: Arc<Channel>,
    plan: SeekRange,
    next: BlockNumber,
    done: bool,
    reader: BlockReader,
    /// The charge for the request, whose bytes the reader retains.
    _request: Charge,
    heights: tokio::sync::watch::Receiver<u64>,
    states: tokio::sync::watch::Receiver<ChannelState>,
    read_ahead: VecDeque<(EncodedBlock, Held)>,
    peer: Arc<Peer>,
    /// The registration among the channel's subscribers; `None` while no chain counts them.
    _following: Option<SubscriptionGuard>,
    subscription: Subscription,
    /// Trace of the request; `sending` is that of the block that is on its way to the connection.
    trace: StagedSpan,
    sending: StagedSpan,
}

/// The requester, and the configuration under which the request was last allowed.
struct BlockReader {
    signed: SignedData,
    not_after: Option<UnixSeconds>,
    allowed_under: Option<Arc<ChannelSnapshot>>,
}

impl ActiveRequest {
    /// Validates a request, in Fabric's order.
    async fn begin(
        shared: &GrpcContext,
        connection: &ConnectInfo,
        place: &StreamHandle,
        peer: Arc<Peer>,
        request: IncomingMessage,
    ) -> Result<Self, RequestRejected> {
        let IncomingMessage { bytes, charge } = request;
        let envelope = SignedEnvelope::parse(bytes).map_err(|e| RequestRejected::bad(e.to_string()))?;
        let message = ParsedEnvelope::parse(envelope).map_err(|e| RequestRejected::bad(e.to_string()))?;
        check_time(shared, &message)?;
        check_tls_binding(shared, connection, &message)?;
        let name = &message.channel_header.channel_id;
        let channel = match shared.context.directory.get(name) {
            Some(ChannelEntry::Open(channel)) => channel,
            Some(ChannelEntry::Unavailable(broken)) => {
                return Err(RequestRejected::new(FabricStatus::ServiceUnavailable, broken.cause.clone()));
            }
            None => {
                return Err(RequestRejected::new(FabricStatus::NotFound, format!("channel '{name}' does not exist")));
            }
        };
        let subscription = channel.observer().subscribe();
        let seek: SeekInfo =
            lenient::decode(message.data.clone()).map_err(|e| RequestRejected::bad(format!("seek info: {e}")))?;
        let header: SignatureHeader =
            message.read_signature_header().map_err(|e| RequestRejected::bad(e.to_string()))?;
        let creator = header.creator.clone();
        let mut reader = BlockReader::new(&message, header, &channel.snapshot());
        reader.check(shared, &channel)?;
        let (heights, states) = (channel.ledger().heights(), channel.subscribe_state());
        let plan = SeekRange::new(&seek, channel.ledger().horizon(), *heights.borrow())
            .map_err(|e| RequestRejected::new(e.status(), e.to_string()))?;
        if !plan.best_effort && has_not_begun(&channel) {
            return Err(RequestRejected::new(FabricStatus::ServiceUnavailable, channel.state().to_string()));
        }
        let (msp_id, subject) = match channel.snapshot().msps().deserialize_identity(&creator) {
            Ok(identity) => (identity.msp_id().to_owned(), identity.subject().to_owned()),
            Err(_) => Default::default(),
        };
        let asked = Asked { channel: channel.id().clone(), msp_id, subject, headers_only: plan.headers_only };
        place.set_request(asked, plan.start.0);
        let following = match channel.support() {
            Some(support) => support.follow(connection.peer.to_string()).await,
            None => None,
        };
        tracing::debug!(target: "orderer.grpc", channel = %channel.id(), peer = %connection.peer,
            start = %plan.start, stop = %plan.stop, "delivering blocks");
        Ok(Self {
            next: plan.start,
            done: false,
            read_ahead: VecDeque::new(),
            peer,
            _following: following,
            subscription,
            trace: StagedSpan::default(),
            sending: StagedSpan::default(),
            channel,
            plan,
            reader,
            _request: charge,
            heights,
            states,
        })
    }

    /// Starts a span for the request in the client's trace, if tracing is enabled.
    fn followed(mut self, connection: &ConnectInfo, parent: &RemoteParent) -> Self {
        if is_enabled() {
            let span = tracing::debug_span!(target: TARGET, parent: None, "deliver", channel = self.channel.id().as_str(),
                start = self.plan.start.0, stop = self.plan.stop.0, peer = %connection.peer);
            parent.set_as_parent_of(&span);
            self.trace = StagedSpan::new(span);
        }
        self
    }

    /// Returns the next frame; `None` behind the last requested block.
    async fn next(&mut self, shared: &GrpcContext) -> Result<Option<(u64, Bytes)>, RequestRejected> {
        // a connection that polls for the next frame has taken the one before
        self.sending = StagedSpan::default();
        if self.done {
            return Ok(None);
        }
        self.wait_for_block(shared).await?;
        if let Some(span) = self.trace.span() {
            let number = self.next.0;
            self.sending = StagedSpan::new(tracing::debug_span!(target: TARGET, parent: span, "send block", number));
        }
        // held until the frame is, so that it does not look as if it had been taken
        let (block, _held) = self.read_block(shared).await?;
        self.reader.check(shared, &self.channel)?;
        self.subscription.sent(block.number(), block.size_bytes());
        if self.next == self.plan.stop {
            self.done = true;
        } else {
            self.next = self.next.next();
        }
        let frame = if self.plan.headers_only { block.header_frame() } else { block.deliver_frame() };
        Ok(Some((block.number().0, shared.admission.outgoing.frame(&self.peer, frame))))
    }

    /// Waits until the next block exists, if the request says so and the block may ever come.
    async fn wait_for_block(&mut self, shared: &GrpcContext) -> Result<(), RequestRejected> {
        if *self.states.borrow() == ChannelState::Removed {
            return Err(removed());
        }
        loop {
            if self.next.0 < *self.heights.borrow_and_update() {
                return Ok(());
            }
            if self.plan.fail_if_not_ready {
                let reason = format!("block {} does not exist yet", self.next);
                return Err(RequestRejected::new(FabricStatus::NotFound, reason));
            }
            let state = self.states.borrow_and_update().clone();
            if !self.plan.best_effort
                && let ChannelState::Failed { cause, .. }
                | ChannelState::Retrying { cause, .. }
                | ChannelState::AwaitingKey { cause, .. } = state
            {
                return Err(RequestRejected::new(FabricStatus::ServiceUnavailable, cause));
            }
            if state == ChannelState::Removed {
                return Err(removed());
            }
            tokio::select! {
                _ = self.heights.changed() => {}
                _ = self.states.changed() => {}
                () = shared.stopping.cancelled() => {
                    return Err(stopping());
                }
            }
        }
    }

    /// Returns the next block: from memory, else from disk together with some that follow it.
    async fn read_block(&mut self, shared: &GrpcContext) -> Result<(EncodedBlock, Held), RequestRejected> {
        if let Some(block) = self.read_ahead.pop_front() {
            return Ok(block);
        }
        let outgoing = shared.admission.outgoing.clone();
        tokio::select! {
            () = outgoing.room(&self.peer) => {}
            () = shared.stopping.cancelled() => return Err(stopping()),
        }
        if let Some(block) = self.channel.ledger().cached_block(self.next) {
            let held = outgoing.hold(&self.peer, &block.deliver_frame());
            return Ok((block, held));
        }
        let ledger = Arc::clone(self.channel.ledger());
        let ahead = if outgoing.is_short(&self.peer) { 0 } else { READ_AHEAD_BLOCKS - 1 };
        let (first, last) = (self.next, self.plan.stop.0.min(self.next.0.saturating_add(ahead)));
        let (peer, reserved) = (Arc::clone(&self.peer), outgoing.reserve(&self.peer, READ_AHEAD_BYTES));
        let read = shared.context.blocking_runtime.spawn_blocking(move || {
            let mut blocks = VecDeque::new();
            let mut bytes = 0;
            let mut number = first;
            while number.0 <= last && bytes < READ_AHEAD_BYTES {
                match ledger.block(number)? {
                    Some(block) => {
                        bytes += block.size_bytes();
                        let held = outgoing.hold(&peer, &block.deliver_frame());
                        blocks.push_back((block, held));
                    }
                    None => break,
                }
                number = number.next();
            }
            drop(reserved);
            Ok::<_, orderer_ledger::ReadError>(blocks)
        });
        let failed = |reason: String| RequestRejected::new(FabricStatus::InternalServerError, reason);
        self.read_ahead = read.await.map_err(|e| failed(e.to_string()))?.map_err(|e| {
            let reason = orderer_actors::chain_state::error_chain(&e);
            tracing::error!(target: "orderer.ledger", channel = %self.channel.id(), block = %self.next, %reason,
                "cannot read a block");
            failed(reason)
        })?;
        let horizon = self.channel.ledger().horizon();
        self.read_ahead.pop_front().ok_or_else(|| {
            if self.next < horizon {
                let reason = format!("block {} no longer exists: the blocks before {horizon} were pruned", self.next);
                return RequestRejected::new(FabricStatus::NotFound, reason);
            }
            failed(format!("block {} is missing in the ledger", self.next))
        })
    }
}

impl BlockReader {
    fn new(message: &ParsedEnvelope, header: SignatureHeader, snapshot: &ChannelSnapshot) -> Self {
        let not_after = match snapshot.msps().deserialize_identity(&header.creator) {
            Ok(identity) => Some(identity.not_after()),
            Err(_) => expires_at(&header.creator),
        };
        let signed = SignedData::of(&message.envelope, header.creator);
        Self { signed, not_after, allowed_under: None }
    }

    /// Checks whether the request may still be served: the policy when the configuration changed, expiry each time.
    fn check(&mut self, shared: &GrpcContext, channel: &Channel) -> Result<(), RequestRejected> {
        if shared.context.expiration_checks
            && let Some(not_after) = self.not_after
            && not_after < unix_now()
        {
            // Fabric's text
            let reason =
                format!("deliver client identity expired {}s before", unix_now().0.saturating_sub(not_after.0));
            tracing::warn!(target: "orderer.common.deliver", channel = %channel.id(), "a deliver request was rejected: {reason}");
            return Err(RequestRejected::new(FabricStatus::Forbidden, reason));
        }
        let snapshot = channel.snapshot();
        if self.allowed_under.as_ref().is_some_and(|under| Arc::ptr_eq(under, &snapshot)) {
            return Ok(());
        }
        let signers = Signers::verify(std::slice::from_ref(&self.signed), snapshot.msps());
        snapshot
            .policies()
            .evaluate(snapshot.orderer().readers_policy(), &signers)
            .map_err(|denied| RequestRejected::new(FabricStatus::Forbidden, denied.to_string()))?;
        self.allowed_under = Some(snapshot);
        Ok(())
    }
}

/// Returns whether a channel has only its genesis block and its chain has never run. A client that waits for a
/// channel that is being created then retries until the channel is usable, so that a Broadcast that follows is
/// accepted.
fn has_not_begun(channel: &Channel) -> bool {
    let is_starting = matches!(
        channel.state(),
        ChannelState::Starting
            | ChannelState::Connecting
            | ChannelState::CatchingUp { .. }
            | ChannelState::Electing
            | ChannelState::Retrying { .. }
            | ChannelState::AwaitingKey { .. }
    );
    is_starting && channel.ledger().height() == 1
}

fn stopping() -> RequestRejected {
    RequestRejected::new(FabricStatus::ServiceUnavailable, "the orderer is shutting down")
}

fn removed() -> RequestRejected {
    RequestRejected::new(FabricStatus::NotFound, "the channel was removed from this orderer")
}

/// Rejects a request whose timestamp is too far from now.
fn check_time(shared: &GrpcContext, message: &ParsedEnvelope) -> Result<(), RequestRejected> {
    let time = message.channel_header.timestamp.as_ref();
    let time = time.ok_or_else(|| RequestRejected::bad("channel header has no timestamp"))?;
    let distance = unix_now().0.abs_diff(time.seconds);
    let window = shared.time_window.as_secs();
    if distance > window {
        return Err(RequestRejected::bad(format!("timestamp is {distance} s away from now, more than {window} s")));
    }
    Ok(())
}

/// Rejects, with mutual TLS, a request that does not carry the hash of its connection's client certificate.
fn check_tls_binding(
    shared: &GrpcContext,
    connection: &ConnectInfo,
    message: &ParsedEnvelope,
) -> Result<(), RequestRejected> {
    if !shared.client_certificate_required {
        return Ok(());
    }
    let claimed = &message.channel_header.tls_cert_hash;
    match &connection.tls_certificate_hash {
        None => Err(RequestRejected::bad("the connection has no client certificate")),
        Some(_) if claimed.is_empty() => Err(RequestRejected::bad("channel header has no TLS certificate hash")),
        Some(actual) if claimed[..] == actual[..] => Ok(()),
        Some(_) => Err(RequestRejected::bad("TLS certificate hash is not that of the connection's client certificate")),
    }
}
