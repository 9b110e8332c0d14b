//! Counts and bounds a service's unary calls: one message, one response.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use orderer_actors::observer::NodeObserver;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::message_reader::Arriving;
use crate::admission::{Admission, OpenStream, Peer, RejectionCounters, RejectionReason, StreamHold, Streams};
use crate::connection::ConnectInfo;

/// Maximum size in bytes of a request, which names a service.
pub const UNARY_MAX_BYTES: usize = 4 << 10;
/// Time within which a request has to be answered.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// Methods that are unary. Of the services here only health has any.
const UNARY: &[&str] = &["Check", "List"];

/// A service whose unary calls are counted.
#[derive(Clone)]
pub struct UnaryMetrics<S> {
    inner: S,
    observer: Arc<NodeObserver>,
    streams: Streams,
    refusals: RejectionCounters,
}

impl<S> UnaryMetrics<S> {
    /// Counts the calls of `inner`. They occupy streams like others, whose number is bounded.
    pub fn new(inner: S, observer: Arc<NodeObserver>, admission: &Admission) -> Self {
        Self { inner, observer, streams: admission.streams.clone(), refusals: admission.refusals.clone() }
    }
}

impl<S: NamedService> NamedService for UnaryMetrics<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for UnaryMetrics<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let method = UNARY.iter().copied().find(|known| *known == method);
        let peer = request.extensions().get::<ConnectInfo>().and_then(|connection| connection.admitted.clone());
        // a request from within the process has no connection
        let open = peer.as_ref().map(|peer| self.streams.open(peer));
        if let Some(None) = open {
            let refused = Status::resource_exhausted("the orderer has as many streams open as it may");
            return Box::pin(std::future::ready(Ok(refused.into_http())));
        }
        let held = (open.flatten(), peer.as_ref().map(Peer::begin));
        // what it reads is released again
        let request = match peer {
            Some(peer) => request.map(|body| Body::new(Arriving::new(body, &peer))),
            None => request,
        };
        let (answer, refusals) = (self.inner.call(request), self.refusals.clone());
        let answer = Box::pin(async move {
            if let Ok(answer) = tokio::time::timeout(REQUEST_LIMIT, answer).await {
                return Ok(answer?.map(|body| Body::new(HeldBody { body, _held: held })));
            }
            refusals.count(RejectionReason::Slow);
            Ok(Status::deadline_exceeded("a message took too long to arrive").into_http())
        });
        let Some(method) = method else { return answer };
        let (observer, service, began) = (Arc::clone(&self.observer), S::NAME.replace('.', "_"), Instant::now());
        observer.unary_received(&service, method);
        Box::pin(async move {
            let answer = answer.await?;
            // an error is in the head; a success has its status in the trailers
            let status = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
            observer.unary_completed(&service, method, status.unwrap_or(0), began.elapsed());
            Ok(answer)
        })
    }
}

/// The body of a response; the call is in progress until it is dropped.
struct HeldBody {
    body: Body,
    _held: (Option<OpenStream>, Option<StreamHold>),
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
