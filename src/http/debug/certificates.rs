//! `/debug/certificates`: every certificate in use.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::status::now_ms;
use orderer_hsm::TokenStatus;
use serde::Serialize;

use super::Shared;
use crate::certificates::CertificateView;
use crate::http::response::{ApiError, json};

#[derive(Serialize)]
struct InUseView {
    now_ms: u64,
    certificates: Vec<CertificateView>,
    /// The token with the signing key; `None` if the key is in a file.
    token: Option<TokenView>,
}

#[derive(Serialize)]
struct TokenView {
    label: String,
    available: bool,
    since_ms: u64,
    cause: Option<String>,
    action: Option<&'static str>,
    attempts: u32,
    gave_up: bool,
    sessions: usize,
    waiting: usize,
    signatures: u64,
    failures: u64,
    outages: u64,
}

impl From<TokenStatus> for TokenView {
    fn from(status: TokenStatus) -> Self {
        let away = status.away;
        Self {
            label: status.label,
            available: away.is_none(),
            since_ms: now_ms().saturating_sub(u64::try_from(status.since.as_millis()).unwrap_or(u64::MAX)),
            action: away.as_ref().map(|away| away.action),
            attempts: away.as_ref().map_or(0, |away| away.attempts),
            gave_up: away.as_ref().is_some_and(|away| away.gave_up),
            cause: away.map(|away| away.cause),
            sessions: status.sessions,
            waiting: status.waiting,
            signatures: status.signatures,
            failures: status.failures,
            outages: status.outages,
        }
    }
}

pub(super) async fn certificates(State(debug): Shared) -> Result<Response, ApiError> {
    let of_thread = Arc::clone(&debug);
    let all = debug.run_blocking(move || of_thread.certificates.all(&of_thread.context));
    let certificates = all.await?;
    let token = debug.context.token.as_ref().map(|token| TokenView::from(token.status()));
    Ok(json(StatusCode::OK, &InUseView { now_ms: now_ms(), certificates, token }))
}
