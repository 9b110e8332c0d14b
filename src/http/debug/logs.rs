//! `/debug/logs`: the latest log lines.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::status::now_ms;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::refusals::{checked_limit, checked_text};
use crate::http::response::{ApiError, json};
use crate::telemetry::{LogLine, LogQuery};

/// Maximum length of the texts to search for.
const LOGGER_MAX: usize = 100;
const CONTAINS_MAX: usize = 256;

#[derive(Deserialize)]
pub(super) struct LogsQuery {
    level: Option<String>,
    logger: Option<String>,
    contains: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct LogsView {
    now_ms: u64,
    lines: Vec<LogLine>,
}

pub(super) async fn logs(
    State(debug): Shared,
    wanted: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(LogsQuery { level, logger, contains, limit }) =
        wanted.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let least = level.as_deref().map(|level| match level {
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" => Ok(tracing::Level::WARN),
        "error" => Ok(tracing::Level::ERROR),
        other => Err(ApiError::bad_request(format!("level '{other}' is not debug, info, warn or error"))),
    });
    let logger = checked_text("logger", logger, LOGGER_MAX)?;
    let contains = checked_text("contains", contains, CONTAINS_MAX)?;
    let wanted = LogQuery { least: least.transpose()?, logger, contains, limit: checked_limit(limit)? };
    Ok(json(StatusCode::OK, &LogsView { now_ms: now_ms(), lines: debug.logs.newest(&wanted) }))
}
