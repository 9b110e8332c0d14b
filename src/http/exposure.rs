//! Restricts the node's content (blocks, configurations, rejections, logs) without TLS to clients on this machine: a
//! client that reads a channel through Deliver must be one of its readers, and the port is mostly open for those that
//! fetch metrics.
//!
//! A browser on this machine is on this machine, too, whatever page it shows. So the requested name (`Host`) must be
//! one that no stranger could have made resolve to this machine (DNS rebinding).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::origin_check::is_nobody_elses;
use super::response::ApiError;
use crate::connection::ConnectInfo;

const ELSEWHERE: &str = "without TLS this is shown on the node's own machine alone: ask there at 127.0.0.1, turn on \
                         Operations.TLS with client certificates, or set Debug.Endpoint to open";

/// Rejects clients on other machines, and names that a stranger could own; `listens_on` is the host in the listener's
/// address.
pub(super) async fn on_this_machine(State(listens_on): State<Arc<str>>, request: Request, next: Next) -> Response {
    let here =
        request.extensions().get::<ConnectInfo>().is_some_and(|info| info.peer.ip().to_canonical().is_loopback());
    if !here {
        return ApiError::new(StatusCode::FORBIDDEN, ELSEWHERE).into_response();
    }
    let host = host_of(&request);
    if host.as_deref().is_some_and(|host| is_nobody_elses(host, &listens_on)) {
        return next.run(request).await;
    }
    let host = host.unwrap_or_default();
    let why = format!("asked for as {host:?}, a name that another site could have made lead here: ask by 127.0.0.1");
    ApiError::new(StatusCode::FORBIDDEN, why).into_response()
}

/// Returns the requested host without the port; over HTTP/2 it is part of the URI.
fn host_of(request: &Request) -> Option<String> {
    let written = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let asked = written.as_ref().or_else(|| request.uri().authority())?;
    Some(asked.host().to_owned())
}
