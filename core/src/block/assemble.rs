//! Builds a block: data, hashes, metadata and the orderer's signature, encoded in one pass.
//!
//! Estimated cost for ten envelopes of 1.3 KiB: data hash 9 µs, signature 17 µs, copy 1 µs.

use bytes::{BufMut, Bytes};
use fabric_proto::common::{
    BlockHeader, BlockMetadata, LastConfig, Metadata, MetadataSignature, OrdererBlockMetadata, SignatureHeader,
};
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::encoded::{BlockError, EncodedBlock};
use super::header::{data_hash, header_bytes};
use super::{Hash, METADATA_SLOTS};
use crate::crypto::Signer;
use crate::envelope::SignedEnvelope;
use crate::types::BlockNumber;

/// Tags of `Block.header`, `.data`, `.metadata`, and of `BlockData.data`: all length-delimited.
const HEADER_TAG: u8 = 0x0a;
const DATA_TAG: u8 = 0x12;
const METADATA_TAG: u8 = 0x1a;
const ENTRY_TAG: u8 = 0x0a;

/// Parts of the next block of a channel.
#[derive(Debug)]
pub struct BlockContents<'a> {
    /// Number of the block.
    pub number: BlockNumber,
    /// Hash of the previous block's header.
    pub previous_hash: &'a Hash,
    /// Envelopes in their order; at least one.
    pub envelopes: &'a [SignedEnvelope],
    /// Number of the newest config block, this one included.
    pub last_config: BlockNumber,
    /// Metadata that the consenter reads back after a restart; empty for solo.
    pub consenter_metadata: Bytes,
}

/// Builds and signs a block. `nonce` is for its signature header and must be fresh.
pub fn assemble(contents: BlockContents<'_>, signer: &dyn Signer, nonce: [u8; 24]) -> Result<EncodedBlock, BlockError> {
    let BlockContents { number, previous_hash, envelopes, last_config, consenter_metadata } = contents;
    let data_hash = data_hash(envelopes.iter().map(|e| e.raw().as_ref()));
    let header = BlockHeader {
        number: number.0,
        previous_hash: Bytes::copy_from_slice(previous_hash),
        data_hash: Bytes::copy_from_slice(&data_hash),
    };
    let metadata = BlockMetadata {
        metadata: signed_metadata(&header, last_config, consenter_metadata, signer, nonce)
            .map_err(|cause| BlockError::Sign { number, cause })?,
    };

    let entry_len = |e: &SignedEnvelope| 1 + encoded_len_varint(e.raw().len() as u64) + e.raw().len();
    let data_len: usize = envelopes.iter().map(entry_len).sum();
    let section_len = |len: usize| 1 + encoded_len_varint(len as u64) + len;
    let (header_len, metadata_len) = (header.encoded_len(), metadata.encoded_len());
    let mut out =
        EncodedBlock::with_headroom(section_len(header_len) + section_len(data_len) + section_len(metadata_len));

    let put_section = |out: &mut bytes::BytesMut, tag: u8, len: usize| {
        out.put_u8(tag);
        encode_varint(len as u64, out);
    };
    // encoding into a BytesMut cannot fail: it grows as needed
    put_section(&mut out, HEADER_TAG, header_len);
    let _ = header.encode(&mut out);
    put_section(&mut out, DATA_TAG, data_len);
    for envelope in envelopes {
        put_section(&mut out, ENTRY_TAG, envelope.raw().len());
        out.extend_from_slice(envelope.raw());
    }
    put_section(&mut out, METADATA_TAG, metadata_len);
    let _ = metadata.encode(&mut out);
    EncodedBlock::finish(out)
}

/// Returns the five metadata slots; peers fill the empty ones.
fn signed_metadata(
    header: &BlockHeader,
    last_config: BlockNumber,
    consenter_metadata: Bytes,
    signer: &dyn Signer,
    nonce: [u8; 24],
) -> Result<Vec<Bytes>, crate::crypto::SignError> {
    let last_config = LastConfig { index: last_config.0 };
    let consenter = Metadata { value: consenter_metadata, signatures: Vec::new() };
    let value: Bytes =
        OrdererBlockMetadata { last_config: Some(last_config), consenter_metadata: consenter.encode_to_vec().into() }
            .encode_to_vec()
            .into();
    let signature_header: Bytes =
        SignatureHeader { creator: signer.creator().clone(), nonce: Bytes::copy_from_slice(&nonce) }
            .encode_to_vec()
            .into();
    let mut signed = Vec::with_capacity(value.len() + signature_header.len() + 96);
    signed.extend_from_slice(&value);
    signed.extend_from_slice(&signature_header);
    signed.extend_from_slice(&header_bytes(header.number, &header.previous_hash, &header.data_hash));
    let signature = signer.sign(&signed)?;

    let mut slots = vec![Bytes::new(); METADATA_SLOTS];
    let signatures = vec![MetadataSignature { signature_header, signature, identifier_header: Bytes::new() }];
    slots[0] = Metadata { value, signatures }.encode_to_vec().into();
    slots[1] = Metadata { value: last_config.encode_to_vec().into(), signatures: Vec::new() }.encode_to_vec().into();
    Ok(slots)
}
