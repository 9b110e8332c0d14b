//! Builds a block: data, hashes, metadata and the orderer's signature, encoded in one pass.
//!
//! Estimated cost for ten envelopes of 1.3 KiB: data hash 9 µs, signature 17 µs, copy 1 µs. The bytes are not decoded again.

use bytes::{BufMut, Bytes};
use fabric_proto::common::{
    BlockHeader, BlockMetadata, LastConfig, Metadata, MetadataSignature, OrdererBlockMetadata, SignatureHeader,
};
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::encoded::{BlockError, BlockSummary, EncodedBlock, holds_config};
use super::header::{data_hash, header_bytes, header_hash};
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
    let is_config = matches!(envelopes, [envelope] if holds_config(envelope.raw()));
    let summary = BlockSummary {
        number,
        previous_hash: header.previous_hash,
        header_hash: header_hash(number.0, previous_hash, &data_hash),
        last_config,
        is_config,
        envelopes: envelopes.len(),
    };
    EncodedBlock::finish_assembled(out, summary)
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

#[cfg(test)]
mod tests {
    use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload};
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::SignError;

    struct OwnSigner(Bytes);

    impl Signer for OwnSigner {
        fn creator(&self) -> &Bytes {
            &self.0
        }
        fn sign(&self, signed: &[u8]) -> Result<Bytes, SignError> {
            Ok(Bytes::copy_from_slice(&signed[..signed.len().min(70)]))
        }
    }

    fn envelope(header_type: i32, data: Vec<u8>) -> SignedEnvelope {
        let channel_header = ChannelHeader { r#type: header_type, ..ChannelHeader::default() };
        let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
        let payload = Payload { header: Some(header), data: data.into() };
        SignedEnvelope::from_parts(payload.encode_to_vec().into(), "signature".into())
    }

    fn summary_of(block: &EncodedBlock) -> impl PartialEq + std::fmt::Debug {
        let hashes = (block.previous_hash().clone(), *block.header_hash());
        (block.number(), hashes, block.last_config(), block.is_config(), block.envelopes())
    }

    proptest! {
        #[test]
        fn an_assembled_block_is_what_its_bytes_are_read_as(
            number in 0..u64::MAX,
            last_config in any::<u64>(),
            previous_hash in any::<[u8; 32]>(),
            header_type in prop::sample::select(vec![
                HeaderType::EndorserTransaction, HeaderType::Config, HeaderType::OrdererTransaction, HeaderType::Message,
            ]),
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4),
            consenter_metadata in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let envelopes: Vec<_> = data.into_iter().map(|data| envelope(header_type as i32, data)).collect();
            let contents = BlockContents {
                number: BlockNumber(number),
                previous_hash: &previous_hash,
                envelopes: &envelopes,
                last_config: BlockNumber(last_config),
                consenter_metadata: consenter_metadata.into(),
            };
            let assembled = assemble(contents, &OwnSigner("creator".into()), [7; 24]).expect("a block");
            let read = EncodedBlock::parse(&assembled.block_bytes()).expect("a block");
            prop_assert_eq!(summary_of(&assembled), summary_of(&read));
            prop_assert_eq!(assembled.deliver_frame(), read.deliver_frame());
        }
    }

    #[test]
    fn a_block_that_none_can_follow_is_not_made() {
        let envelopes = [envelope(0, Vec::new())];
        let contents = BlockContents {
            number: BlockNumber(u64::MAX),
            previous_hash: &[0; 32],
            envelopes: &envelopes,
            last_config: BlockNumber(0),
            consenter_metadata: Bytes::new(),
        };
        let made = assemble(contents, &OwnSigner(Bytes::new()), [0; 24]);
        assert!(matches!(made, Err(BlockError::LastNumber(_))), "{made:?}");
    }
}
