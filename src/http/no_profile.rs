//! Placeholder for profiles in a program that is built without the feature `profiles`; a node whose settings ask for
//! them does not start.

use std::sync::Arc;

use axum::Router;
use orderer_actors::NodeContext;

use super::response::not_found;

/// Fails, because the feature was not built.
pub(crate) fn begin_heap_profile() -> Result<(), &'static str> {
    Err(super::NO_PROFILES)
}

/// Returns an endpoint without routes.
pub fn profile(_: Arc<NodeContext>) -> Router {
    Router::new().fallback(not_found)
}
