//! Decodes a block's metadata, which Fabric's tools and [`to_json`](crate::to_json) leave as bytes.

use fabric_proto::common::BlockMetadataIndex;

use crate::decode::{DecodeOptions, unfold};
use crate::json::Json;
use crate::message_types;
use crate::nested::FieldContext;
use crate::scalar;

/// Returns the entries of a block's metadata by name: signatures with their signers, the last config block,
/// the consenter's state. Entries of peers, and entries that cannot be decoded, stay base64.
pub fn metadata_to_json<'a>(entries: impl IntoIterator<Item = &'a [u8]>, how: &DecodeOptions) -> Json {
    let members = entries.into_iter().enumerate().map(|(index, entry)| {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let named = BlockMetadataIndex::try_from(index).ok();
        let name = named.map_or_else(|| index.to_string(), |named| named.as_str_name().to_owned());
        let place = match named {
            Some(BlockMetadataIndex::Signatures) => FieldContext::Signatures,
            Some(BlockMetadataIndex::LastConfig) => FieldContext::LastConfig,
            Some(BlockMetadataIndex::Orderer) => FieldContext::Consenter,
            _ => return (name, scalar::base64(entry)),
        };
        let read = message_types::message("common.Metadata").map(|kind| unfold(&kind, entry, place, how));
        (name, read.and_then(Result::ok).unwrap_or_else(|| scalar::base64(entry)))
    });
    Json::Object(members.collect())
}
