//! `/debug/certificates`: every certificate in use.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::status::now_ms;
use serde::Serialize;

use super::Shared;
use crate::certificates::CertificateView;
use crate::http::response::{ApiError, json};

#[derive(Serialize)]
struct Certificates {
    now_ms: u64,
    certificates: Vec<CertificateView>,
}

pub(super) async fn certificates(State(debug): Shared) -> Result<Response, ApiError> {
    let of_thread = Arc::clone(&debug);
    let all = debug.run_blocking(move || of_thread.certificates.all(&of_thread.context));
    let certificates = all.await?;
    Ok(json(StatusCode::OK, &Certificates { now_ms: now_ms(), certificates }))
}
