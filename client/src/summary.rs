//! Summarizes a block.

use std::collections::BTreeMap;

use bytes::Bytes;
use fabric_proto::common::{ChannelHeader, HeaderType};
use orderer_core::block::EncodedBlock;
use orderer_core::crypto::hex;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A block's figures, as `orderer client deliver` shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockSummary {
    /// The block's number.
    pub number: u64,
    /// Hash of the block's header.
    pub hash: String,
    /// Hash of the previous block's header.
    pub previous_hash: String,
    /// The latest timestamp of its envelopes (a block has none of its own), in RFC 3339.
    pub time: Option<String>,
    /// Number of envelopes.
    pub envelopes: usize,
    /// Number of envelopes of each kind.
    pub types: BTreeMap<String, usize>,
    /// Transaction IDs of the envelopes that have one.
    pub tx_ids: Vec<String>,
    /// Size in bytes.
    pub bytes: usize,
}

impl BlockSummary {
    /// Summarizes this block. An envelope that cannot be parsed counts as UNREADABLE.
    pub fn of(block: &EncodedBlock) -> Self {
        let (mut types, mut tx_ids, mut newest) = (BTreeMap::new(), Vec::new(), None);
        for raw in block.decode().data.unwrap_or_default().data {
            let header = channel_header(raw);
            let kind = header.as_ref().map_or_else(|| "UNREADABLE".to_owned(), |header| type_name(header.r#type));
            *types.entry(kind).or_default() += 1;
            let Some(header) = header else { continue };
            newest = newest.max(header.timestamp.map(|time| (time.seconds, time.nanos)));
            if !header.tx_id.is_empty() {
                tx_ids.push(header.tx_id);
            }
        }
        Self {
            number: block.number().0,
            hash: hex(block.header_hash()),
            previous_hash: hex(block.previous_hash()),
            time: newest.and_then(|(seconds, nanos)| time_text(seconds, nanos)),
            envelopes: block.envelopes(),
            types,
            tx_ids,
            bytes: block.size_bytes(),
        }
    }
}

fn channel_header(raw: Bytes) -> Option<ChannelHeader> {
    Some(ParsedEnvelope::parse(SignedEnvelope::parse(raw).ok()?).ok()?.channel_header)
}

fn type_name(number: i32) -> String {
    HeaderType::try_from(number).map_or_else(|_| number.to_string(), |kind| kind.as_str_name().to_owned())
}

fn time_text(seconds: i64, nanos: i32) -> Option<String> {
    let whole = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let time = whole.checked_add(time::Duration::nanoseconds(nanos.into()))?;
    time.format(&Rfc3339).ok()
}
