//! Reads the consenter's part of a block's metadata.

use bytes::Bytes;
use fabric_proto::common::{Block, BlockMetadataIndex, Metadata, OrdererBlockMetadata};
use prost::Message as _;

/// Returns the consenter's part of a block's metadata: from the signed metadata, where newer orderers write it, else
/// from a slot of its own.
///
/// # Errors
/// The metadata cannot be decoded.
pub fn consenter_metadata(block: &Block) -> Result<Bytes, prost::DecodeError> {
    let slots = block.metadata.as_ref().map_or(&[][..], |metadata| &metadata.metadata[..]);
    let slot = |index: BlockMetadataIndex| -> Result<Bytes, prost::DecodeError> {
        Ok(Metadata::decode(slots.get(index as usize).cloned().unwrap_or_default())?.value)
    };
    let signed = slot(BlockMetadataIndex::Signatures)?;
    if signed.is_empty() {
        return slot(BlockMetadataIndex::Orderer);
    }
    let signed = OrdererBlockMetadata::decode(signed)?;
    Ok(Metadata::decode(signed.consenter_metadata)?.value)
}
