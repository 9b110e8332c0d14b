//! `/debug/channels/CHANNEL/restart`: restarts a failed channel.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use orderer_actors::participation::RestartError;

use super::{Shared, parse};
use crate::http::response::ApiError;

/// Responds when the channel's ledger is open; the channel's path shows the state of its chain.
pub(super) async fn restart(State(debug): Shared, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let restarted = debug.context.membership.restart(parse(&name)?).await;
    restarted.map(|()| StatusCode::ACCEPTED).map_err(|refused| {
        let status = match refused {
            RestartError::NoSuchChannel => StatusCode::NOT_FOUND,
            RestartError::NotFailed(_) | RestartError::OperationPending(_) => StatusCode::CONFLICT,
            RestartError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, refused.to_string())
    })
}
