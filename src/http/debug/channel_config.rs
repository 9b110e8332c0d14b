//! `/debug/channels/CHANNEL/config`: a channel's configuration, and what it changed.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use fabric_json::{DecodeOptions, to_json};
use fabric_proto::Message as _;
use fabric_proto::common::{Config, ConfigEnvelope};
use orderer_actors::channel::Channel;
use orderer_core::block::EncodedBlock;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::types::BlockNumber;
use serde::Serialize;
use serde_json::Value;

use super::{Shared, VALUES_MAX};
use crate::http::block_lookup::{find, read};
use crate::http::response::{ApiError, json};

/// Maximum number of changes in a response.
const CHANGES_MAX: usize = 500;
/// Name of the members that hold the configuration's internal versions.
const VERSION: &str = "version";

#[derive(Serialize)]
struct ChannelConfigView {
    channel: String,
    block: u64,
    sequence: u64,
    config: Value,
    previous_block: Option<u64>,
    changes: Vec<Change>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Change {
    path: String,
    #[serde(rename = "change")]
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

pub(super) async fn config(State(debug): Shared, Path(name): Path<String>) -> Result<Response, ApiError> {
    let channel = debug.open(&name)?;
    debug.run_blocking(move || ChannelConfigView::of(&channel).map(|shown| json(StatusCode::OK, &shown))).await?
}

impl ChannelConfigView {
    fn of(channel: &Channel) -> Result<Self, ApiError> {
        let ledger = channel.ledger();
        let number = ledger.last_config();
        let (config, sequence) = config_of(&read(ledger, number)?)?;
        // the previous block names the config block that was in force then; both may have been pruned
        let before = number.0.checked_sub(1).map(|before| find(ledger, BlockNumber(before))).transpose()?.flatten();
        let previous_block = before.map(|block| block.last_config());
        let mut changes = Vec::new();
        if let Some(previous) = previous_block {
            let (previous, _) = config_of(&read(ledger, previous)?)?;
            compare("", &previous, &config, &mut changes);
        }
        let previous_block = previous_block.map(|number| number.0);
        Ok(Self { channel: channel.id().to_string(), block: number.0, sequence, config, previous_block, changes })
    }
}

fn config_of(block: &EncodedBlock) -> Result<(Value, u64), ApiError> {
    let failed = |why: &str| {
        let text = format!("block {} holds no configuration that can be read: {why}", block.number());
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    };
    let raw = block.decode().data.unwrap_or_default().data.into_iter().next();
    let message = raw.and_then(|raw| SignedEnvelope::parse(raw).and_then(ParsedEnvelope::parse).ok());
    let envelope = message.and_then(|message| ConfigEnvelope::decode(message.data).ok());
    let config: Config =
        envelope.and_then(|envelope| envelope.config).ok_or_else(|| failed("it is no config block"))?;
    let how = DecodeOptions { values_max: VALUES_MAX, ..DecodeOptions::default() };
    let shown = to_json("common.Config", &config.encode_to_vec(), &how);
    let shown = shown.map_err(|e| failed(&e.to_string()))?;
    let shown = serde_json::to_value(&shown).map_err(|e| failed(&e.to_string()))?;
    Ok((shown, config.sequence))
}

fn compare(path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    if before == after || changes.len() >= CHANGES_MAX {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        let (before, after) = (Some(before.clone()), Some(after.clone()));
        changes.push(Change { path: path.to_owned(), what: "changed", before, after });
        return;
    };
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    for (name, old) in old {
        match new.get(name) {
            // the sequence implies it
            _ if name == VERSION => {}
            Some(new) => compare(&below(name), old, new, changes),
            None => {
                changes.push(Change { path: below(name), what: "removed", before: Some(old.clone()), after: None });
            }
        }
    }
    for (name, new) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        changes.push(Change { path: below(name), what: "added", before: None, after: Some(new.clone()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changed_is_told_where_it_stands() {
        let before = json!({"version": "1", "a": {"b": 1, "c": [1]}, "d": "x"});
        let after = json!({"version": "2", "a": {"b": 2, "c": [1]}, "e": null});
        let mut changes = Vec::new();
        compare("", &before, &after, &mut changes);
        let told: Vec<_> = changes.iter().map(|change| (change.path.as_str(), change.what)).collect();
        assert_eq!(told, [("a/b", "changed"), ("d", "removed"), ("e", "added")]);
    }
}
