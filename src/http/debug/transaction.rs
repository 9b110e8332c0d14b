//! `/debug/tx/TX_ID`: the timeline of one envelope.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use crate::http::response::{ApiError, json};

/// Maximum size in bytes of a transaction ID.
const TX_ID_MAX_BYTES: usize = 256;

pub(super) async fn transaction(State(debug): Shared, Path(tx_id): Path<String>) -> Result<Response, ApiError> {
    if tx_id.len() > TX_ID_MAX_BYTES {
        return Err(ApiError::bad_request(format!("a transaction ID has no more than {TX_ID_MAX_BYTES} bytes")));
    }
    let context = Arc::clone(&debug.context);
    let life = debug.run_blocking(move || context.observer.transactions().timeline(&tx_id)).await?;
    let unknown = "no envelope of this transaction is remembered here: none came, it was rejected (see the rejections), or it \
                   came before the newest 50,000";
    life.map(|life| json(StatusCode::OK, &life)).ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, unknown))
}
