//! `/debug/channels/CHANNEL/blocks/BLOCK`: one block, decoded.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use fabric_json::{DecodeOptions, Json, to_json};
use fabric_proto::common::HeaderType;
use orderer_actors::channel::{Channel, ChannelEntry};
use orderer_actors::observer::SignerInfo;
use orderer_core::block::EncodedBlock;
use orderer_core::crypto::hex;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use serde::Serialize;

use super::block_metadata::MetadataView;
use super::{DebugApi, Shared, VALUES_MAX};
use crate::http::block_lookup::{number_of, read};
use crate::http::response::{ApiError, json};

#[derive(Serialize)]
struct BlockView {
    number: u64,
    hash: String,
    previous_hash: String,
    data_hash: String,
    bytes: usize,
    written_ms: Option<u64>,
    metadata: MetadataView,
    envelopes: Vec<Envelope>,
    block: Option<Json>,
}

#[derive(Serialize)]
struct Envelope {
    r#type: String,
    tx_id: String,
    bytes: usize,
    timestamp_ms: Option<i64>,
    creator: Option<SignerInfo>,
    problem: Option<String>,
}

pub(super) async fn block(
    State(debug): Shared,
    Path((name, number)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let channel = debug.open(&name)?;
    let number = number_of(channel.ledger(), &number)?;
    let context = Arc::clone(&debug.context);
    let shown = debug.run_blocking(move || {
        let block = read(channel.ledger(), number)?;
        let metadata = MetadataView::of(&block, channel.ledger(), &context.catalog);
        Ok::<_, ApiError>(json(StatusCode::OK, &BlockView::of(&block, channel.gauges().written_ms(number), metadata)))
    });
    shown.await?
}

impl DebugApi {
    /// Returns a channel whose blocks can be read.
    pub(super) fn open(&self, name: &str) -> Result<Arc<Channel>, ApiError> {
        match self.find(name)?.1 {
            ChannelEntry::Open(channel) => Ok(channel),
            ChannelEntry::Unavailable(broken) => {
                let text = format!("the channel cannot be opened: {}", broken.cause);
                Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text))
            }
        }
    }
}

impl BlockView {
    fn of(encoded: &EncodedBlock, written_ms: Option<u64>, metadata: MetadataView) -> Self {
        let block = encoded.decode();
        let how = DecodeOptions { values_max: VALUES_MAX, ..DecodeOptions::default() };
        Self {
            number: encoded.number().0,
            hash: hex(encoded.header_hash()),
            previous_hash: hex(encoded.previous_hash()),
            data_hash: hex(&block.header.unwrap_or_default().data_hash),
            bytes: encoded.size_bytes(),
            written_ms,
            metadata,
            envelopes: block.data.unwrap_or_default().data.into_iter().map(Envelope::of).collect(),
            block: to_json("common.Block", &encoded.block_bytes(), &how).ok(),
        }
    }
}

impl Envelope {
    fn of(raw: bytes::Bytes) -> Self {
        let bytes = raw.len();
        let message = match SignedEnvelope::parse(raw).and_then(ParsedEnvelope::parse) {
            Ok(message) => message,
            Err(problem) => {
                let (kind, tx_id) = (String::new(), String::new());
                return Self {
                    r#type: kind,
                    tx_id,
                    bytes,
                    timestamp_ms: None,
                    creator: None,
                    problem: Some(problem.to_string()),
                };
            }
        };
        let header = &message.channel_header;
        let kind = HeaderType::try_from(header.r#type);
        let time = header.timestamp.as_ref();
        let creator = message.read_signature_header().map(|header| header.creator).unwrap_or_default();
        Self {
            r#type: kind.map_or_else(|_| header.r#type.to_string(), |kind| kind.as_str_name().to_owned()),
            tx_id: header.tx_id.clone(),
            bytes,
            timestamp_ms: time.map(|t| t.seconds.saturating_mul(1000).saturating_add(i64::from(t.nanos) / 1_000_000)),
            creator: SignerInfo::of(&creator),
            problem: None,
        }
    }
}
