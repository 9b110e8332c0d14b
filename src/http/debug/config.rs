//! `/debug/config`: the node's own configuration.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Shared;
use crate::http::response::json;
use crate::settings::EffectiveValue;

#[derive(Serialize)]
struct NodeConfigView<'a> {
    source: &'a str,
    keys: Vec<Key<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    #[serde(rename = "key")]
    path: &'a str,
    value: Option<&'a str>,
    source: &'a str,
    hidden: bool,
}

pub(super) async fn config(State(debug): Shared) -> Response {
    let (source, keys) = &debug.settings;
    json(StatusCode::OK, &NodeConfigView { source, keys: keys.iter().map(Key::of).collect() })
}

impl<'a> Key<'a> {
    fn of(effective: &'a EffectiveValue) -> Self {
        let hidden = effective.is_hidden();
        let value = (!hidden).then_some(effective.value.as_str());
        Self { path: effective.key, value, source: &effective.source, hidden }
    }
}
