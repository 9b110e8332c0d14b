//! `/debug/refusals`: the latest rejected envelopes.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::observer::RejectionLogView;
use orderer_actors::status::now_ms;
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::http::response::{ApiError, json};

/// Maximum number of entries in a response.
pub(super) const LIMIT_MAX: usize = 1000;

/// Maximum length of a channel's name.
const NAME_MAX: usize = 249;

#[derive(Deserialize)]
pub(super) struct RejectionsQuery {
    channel: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct RejectionsView {
    now_ms: u64,
    #[serde(flatten)]
    refusals: RejectionLogView,
}

pub(super) async fn refusals(
    State(debug): Shared,
    wanted: Result<Query<RejectionsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(RejectionsQuery { channel, limit }) = wanted.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let (channel, limit) = (checked_text("channel", channel, NAME_MAX)?, checked_limit(limit)?);
    let refusals = debug.context.observer.refusals().newest(channel.as_deref(), limit);
    Ok(json(StatusCode::OK, &RejectionsView { now_ms: now_ms(), refusals }))
}

/// Returns the text to search for, unless it is longer than any that it could match.
pub(super) fn checked_text(name: &str, text: Option<String>, max: usize) -> Result<Option<String>, ApiError> {
    match &text {
        Some(text) if text.chars().count() > max => {
            Err(ApiError::bad_request(format!("{name} is longer than {max} characters")))
        }
        _ => Ok(text),
    }
}

pub(super) fn checked_limit(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit {
        None => Ok(LIMIT_MAX),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(other) => Err(ApiError::bad_request(format!("limit is {other}, not from 1 to {LIMIT_MAX}"))),
    }
}
