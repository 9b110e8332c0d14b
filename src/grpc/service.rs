//! The service `orderer.AtomicBroadcast`: finds the method, and answers with a body that does the rest.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use orderer_actors::NodeContext;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::broadcast::BroadcastStream;
use super::deliver::DeliverStream;
use super::frames::{IngressBudget, MessageReader};
use super::request_files::RequestFiles;
use crate::connection::ConnectInfo;
use crate::traces::Parent;

/// What every stream is given.
#[derive(Clone)]
pub struct Shared {
    /// The edges of the node.
    pub context: Arc<NodeContext>,
    /// Cancelled when the node shuts down: streams answer what is in flight and end.
    pub stopping: CancellationToken,
    /// See [`IngressBudget`].
    pub budget: IngressBudget,
    /// No larger message is read.
    pub max_receive_bytes: usize,
    /// How far a Deliver request's timestamp may be from now.
    pub time_window: Duration,
    /// Where what Broadcast reads is written, if anywhere.
    pub broadcast_files: Option<RequestFiles>,
    /// And what Deliver reads.
    pub deliver_files: Option<RequestFiles>,
    /// Whether Deliver requests are bound to the client's TLS certificate.
    pub client_certificate_required: bool,
}

/// See the module's description.
#[derive(Clone)]
pub struct AtomicBroadcast(Shared);

impl AtomicBroadcast {
    /// The service.
    pub fn new(shared: Shared) -> Self {
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
        let parent = Parent::of(request.headers());
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let reader = MessageReader::new(request.into_body(), self.0.max_receive_bytes, &self.0.budget);
        let body = match method.as_str() {
            "Broadcast" => Body::new(BroadcastStream::new(self.0.clone(), reader, &connection, parent)),
            "Deliver" => Body::new(DeliverStream::new(self.0.clone(), reader, connection, parent)),
            _ => return ready(Ok(Status::unimplemented(format!("no method '{method}'")).into_http())),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        ready(Ok(response))
    }
}
