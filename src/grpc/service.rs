//! The service `orderer.AtomicBroadcast`: resolves the method, and responds with a body that does the rest.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use orderer_actors::NodeContext;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::broadcast::BroadcastStream;
use super::deliver::DeliverStream;
use super::message_reader::{Arriving, MessageReader};
use super::request_trace::RequestTraceWriter;
use super::validation_threads::ValidationThreads;
use crate::admission::{Admission, Peer};
use crate::connection::ConnectInfo;
use crate::traces::RemoteParent;

/// State that every stream shares.
#[derive(Clone)]
pub struct GrpcContext {
    /// The node's shared services.
    pub context: Arc<NodeContext>,
    /// Cancelled when the node shuts down: streams answer what is in flight and end.
    pub stopping: CancellationToken,
    /// Tracks the streams of Broadcast and Deliver.
    pub open_streams: TaskTracker,
    /// Limits on clients: connections, streams, memory.
    pub admission: Admission,
    /// Counts the threads that validate envelopes.
    pub validation_threads: ValidationThreads,
    /// Maximum size in bytes of one stream's in-flight envelopes.
    pub stream_bytes: usize,
    /// Maximum size in bytes of a message.
    pub max_receive_bytes: usize,
    /// Maximum distance between a Deliver request's timestamp and now.
    pub time_window: Duration,
    /// Records what Broadcast reads, if enabled.
    pub broadcast_files: Option<RequestTraceWriter>,
    /// Records what Deliver reads, if enabled.
    pub deliver_files: Option<RequestTraceWriter>,
    /// Whether Deliver requests are bound to the client's TLS certificate.
    pub client_certificate_required: bool,
}

/// The gRPC service `orderer.AtomicBroadcast`.
#[derive(Clone)]
pub struct AtomicBroadcast(GrpcContext);

impl AtomicBroadcast {
    /// Creates the service.
    pub fn new(shared: GrpcContext) -> Self {
        Self(shared)
    }
}

impl NamedService for AtomicBroadcast {
    const NAME: &'static str = "orderer.AtomicBroadcast";
}

impl Service<Request<Body>> for AtomicBroadcast {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<ConnectInfo>().cloned().unwrap_or_default();
        let parent = RemoteParent::of(request.headers());
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        // a request from within the process has no connection
        let peer = connection.admitted.clone();
        let peer = peer.unwrap_or_else(|| Arc::new(Peer::new(connection.peer, &self.0.admission.budget)));
        let body = request.into_body();
        let refuse = |status: Status, body| {
            drop(Arriving::new(body, &peer));
            ready(Ok(status.into_http()))
        };
        if !matches!(method.as_str(), "Broadcast" | "Deliver") {
            return refuse(Status::unimplemented(format!("no method '{method}'")), body);
        }
        let Some(open) = self.0.admission.streams.open(&peer) else {
            return refuse(Status::resource_exhausted("the orderer has as many streams open as it may"), body);
        };
        let reader = MessageReader::new(body, self.0.max_receive_bytes, peer.begin(), &self.0.admission);
        let body = match method.as_str() {
            "Broadcast" => Body::new(BroadcastStream::new(self.0.clone(), reader, &connection, parent, open)),
            _ => Body::new(DeliverStream::new(self.0.clone(), reader, connection, parent, open)),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        ready(Ok(response))
    }
}
