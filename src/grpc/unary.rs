//! Counts the calls of one message and one answer that a service takes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use orderer_actors::observe::Observed;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::frames::Arriving;
use crate::connection::ConnectInfo;

/// Answers from the start with one message. Of the services here only health has any.
const UNARY: &[&str] = &["Check", "List"];

/// A service whose calls are counted.
#[derive(Clone)]
pub struct CountedUnary<S> {
    inner: S,
    observed: Arc<Observed>,
}

impl<S> CountedUnary<S> {
    /// Counts what `inner` is asked.
    pub fn new(inner: S, observed: Arc<Observed>) -> Self {
        Self { inner, observed }
    }
}

impl<S: NamedService> NamedService for CountedUnary<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for CountedUnary<S>
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
        // what it reads is released again
        let peer = request.extensions().get::<ConnectInfo>().and_then(|connection| connection.admitted.clone());
        let request = match peer {
            Some(peer) => request.map(|body| Body::new(Arriving::new(body, &peer))),
            None => request,
        };
        let answer = self.inner.call(request);
        let Some(method) = method else { return Box::pin(answer) };
        let (observed, service, began) = (Arc::clone(&self.observed), S::NAME.replace('.', "_"), Instant::now());
        observed.unary_received(&service, method);
        Box::pin(async move {
            let answer = answer.await?;
            // an error is in the head; what succeeds says so behind its message
            let status = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
            observed.unary_completed(&service, method, status.unwrap_or(0), began.elapsed());
            Ok(answer)
        })
    }
}
