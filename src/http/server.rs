//! Serves HTTP/1.1 and HTTP/2 on a listener until the node stops.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::audit::{ClientSubject, audited};
use super::origin_check::require_same_origin;
use super::outgoing_body::OutgoingBody;
use super::response::{ApiError, errors_in_json};
use crate::admission::{Admission, ConnectionTable, RejectionReason};
use crate::connection::{ConnectInfo, Connection, accept};
use crate::tls::ListenerTls;

/// Time limit for the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for a request, its body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Bytes reserved for a response while it is created.
const ANSWER_BYTES: usize = 64 << 10;
/// HTTP/2 flow-control window in bytes.
const WINDOW_BYTES: u32 = 64 << 10;
/// Maximum number of concurrent requests of one connection.
const STREAMS_MAX: u32 = 64;
/// Maximum size in bytes of a request's head.
const HEAD_MAX_BYTES: usize = 64 << 10;

/// Serves `router` on connections of `listener`, each request with the connection's `ConnectInfo` in its extensions.
/// `listens_on` is the host in the listener's address as the configuration has it.
pub async fn serve(
    listener: TcpListener,
    listens_on: Arc<str>,
    tls: Option<Arc<ListenerTls>>,
    handshake_limit: Duration,
    (table, admission): (Arc<ConnectionTable>, Admission),
    router: Router,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("use the listener")?;
    let router = router
        .layer(from_fn_with_state(listens_on, require_same_origin))
        .layer(from_fn(audited))
        .layer(from_fn(errors_in_json))
        .layer(from_fn(in_time));
    let mut connections = accept(listener, tls, handshake_limit, table, stopping.clone());
    while let Some(connection) = connections.next().await {
        let Ok(connection) = connection else { continue };
        tokio::spawn(converse(connection, router.clone(), admission.clone(), stopping.clone()));
    }
    Ok(())
}

async fn converse(connection: Connection, router: Router, admission: Admission, stopping: CancellationToken) {
    let info = connection.info().clone();
    let shown = ClientSubject::certificate(connection.shown_certificate());
    let peer = info.peer;
    let service = TowerToHyperService::new(WithConnectInfo { router, admission, info, shown });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_MAX_BYTES);
    let head_max = u32::try_from(HEAD_MAX_BYTES).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEAD_LIMIT))
        .max_header_list_size(head_max)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let conversation = builder.serve_connection_with_upgrades(TokioIo::new(connection), service);
    tokio::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = stopping.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: "orderer.http", %peer, %error, "connection ended");
    }
}

/// The router, which adds the client's `ConnectInfo` to each request.
#[derive(Clone)]
struct WithConnectInfo {
    router: Router,
    admission: Admission,
    info: ConnectInfo,
    shown: ClientSubject,
}

impl Service<hyper::Request<Incoming>> for WithConnectInfo {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // a router is always ready
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: hyper::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.info.clone());
        request.extensions_mut().insert(self.shown.clone());
        let mut router = self.router.clone();
        // in progress until its response was accepted: a connection with nothing in progress makes place for another
        let Some(peer) = self.info.admitted.clone() else {
            return Box::pin(async move { router.call(request.map(Body::new)).await });
        };
        let Some(open) = self.admission.operators_streams.open(&peer) else {
            let refused = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "as many requests are open as may be");
            return Box::pin(std::future::ready(Ok(refused.into_response())));
        };
        let (hold, Admission { outgoing, refusals, .. }) = (peer.begin(), self.admission.clone());
        Box::pin(async move {
            // the next response is created when those before it are on their way
            if tokio::time::timeout(REQUEST_LIMIT, outgoing.room(&peer)).await.is_err() {
                refusals.count(RejectionReason::Answers);
                return Ok(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "answers before this one were not taken")
                    .into_response());
            }
            // reserved before it is created, or many would be created at once in the capacity that each of them has
            // seen
            let _making = outgoing.reserve(&peer, ANSWER_BYTES);
            let answer = router.call(request.map(Body::new)).await?;
            Ok(answer.map(|body| Body::new(OutgoingBody::new(body, outgoing, peer, (hold, open)))))
        })
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
    }
}
