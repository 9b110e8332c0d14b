//! `/debug/streams`: the streams of clients.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::observer::StreamView;
use orderer_actors::status::now_ms;
use serde::Serialize;

use super::Shared;
use crate::http::response::json;

#[derive(Serialize)]
struct Streams {
    now_ms: u64,
    streams: Vec<StreamView>,
}

pub(super) async fn streams(State(debug): Shared) -> Response {
    let streams = debug.context.observer.streams().all(|channel| debug.context.directory.height_of(channel));
    json(StatusCode::OK, &Streams { now_ms: now_ms(), streams })
}
