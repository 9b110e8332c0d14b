//! `/debug/history` and `/debug/channels/CHANNEL/history`: the last 15 minutes of the node and of a channel.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use crate::http::response::{ApiError, json};

pub(super) async fn node(State(debug): Shared) -> Result<Response, ApiError> {
    let of_thread = Arc::clone(&debug);
    let history = debug.run_blocking(move || of_thread.history.node(&of_thread.disk)).await?;
    Ok(json(StatusCode::OK, &history))
}

pub(super) async fn channel(State(debug): Shared, Path(name): Path<String>) -> Result<Response, ApiError> {
    let (id, _) = debug.find(&name)?;
    Ok(json(StatusCode::OK, &debug.history.channel(&id)))
}
