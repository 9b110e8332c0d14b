//! A block in its encoded form, shared by the ledger and the subscribers.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use fabric_proto::common::{
    self, Block, BlockMetadataIndex, ChannelHeader, Envelope, HeaderType, LastConfig, Metadata, OrdererBlockMetadata,
    Payload,
};
use fabric_proto::lenient;
use fabric_proto::orderer::{DeliverResponse, deliver_response};
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::header::{Hash, data_hash, header_hash};
use crate::crypto::hex;
use crate::types::BlockNumber;

/// Length of the gRPC message prefix: one byte "not compressed" and four bytes of length.
const GRPC_PREFIX_BYTES: usize = 5;
/// Space in front of the block for this prefix, the tag of `DeliverResponse.block`, and the block's length.
const HEADROOM_BYTES: usize = GRPC_PREFIX_BYTES + 1 + 10;
/// Tag of `DeliverResponse.block`: field 2, length-delimited.
const DELIVER_BLOCK_TAG: u8 = 0x12;
/// Maximum size of a block: the length in a gRPC prefix has four bytes, and the message around the block needs a few.
const MAX_BLOCK_BYTES: usize = u32::MAX as usize - HEADROOM_BYTES;

/// A block, encoded once. Its bytes follow the prefix that makes it a message of a Deliver stream, so that the ledger
/// stores and every subscriber receives slices of one buffer. Cloning shares the buffer.
#[derive(Clone)]
pub struct EncodedBlock(Arc<Inner>);

struct Inner {
    frame: Bytes,
    block_at: usize,
    summary: BlockSummary,
}

/// The values of a block that are read without decoding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockSummary {
    pub(super) number: BlockNumber,
    pub(super) previous_hash: Bytes,
    pub(super) header_hash: Hash,
    pub(super) last_config: BlockNumber,
    pub(super) is_config: bool,
    pub(super) envelopes: usize,
}

/// The bytes are not a block that this node would store or send.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The bytes are not a `Block`.
    #[error("error unmarshalling Block")]
    Block(#[source] prost::DecodeError),
    /// The block has no header.
    #[error("block header not set")]
    NoHeader,
    /// The hash in the header is not the hash of the data.
    #[error("block {number}: header says data hash {header}, data has {data}")]
    DataHash {
        /// Number in the header.
        number: BlockNumber,
        /// Data hash in the header, lowercase hex.
        header: String,
        /// Computed data hash, lowercase hex.
        data: String,
    },
    /// A metadata slot does not have the message type that the protocol defines for it.
    #[error("block {number}: error unmarshalling metadata slot {slot}")]
    Metadata {
        /// Number in the header.
        number: BlockNumber,
        /// Index of the slot.
        slot: usize,
        /// Error of the decoder.
        #[source]
        cause: prost::DecodeError,
    },
    /// The block does not fit a gRPC message.
    #[error("block of {bytes} bytes exceeds what one gRPC message can carry")]
    TooLarge {
        /// Size of the block.
        bytes: usize,
    },
    /// The block has the highest number, so no block could follow it.
    #[error("block {0}: there is no number after it")]
    LastNumber(BlockNumber),
    /// The orderer's signature over the block could not be made.
    #[error("sign block {number}")]
    Sign {
        /// Number of the block.
        number: BlockNumber,
        /// Error of the signer.
        #[source]
        cause: crate::crypto::SignError,
    },
}

impl BlockError {
    /// Returns the number in the block's header, if it was parsed.
    pub fn number(&self) -> Option<BlockNumber> {
        match self {
            Self::DataHash { number, .. }
            | Self::Metadata { number, .. }
            | Self::Sign { number, .. }
            | Self::LastNumber(number) => Some(*number),
            Self::Block(_) | Self::NoHeader | Self::TooLarge { .. } => None,
        }
    }
}

impl EncodedBlock {
    /// Parses a serialized `Block` and checks its data hash. Copies the bytes once, behind the Deliver prefix.
    pub fn parse(block_bytes: &[u8]) -> Result<Self, BlockError> {
        Self::read_from(block_bytes.len(), |buffer| {
            buffer.extend_from_slice(block_bytes);
            Ok(())
        })
    }

    /// Parses a block that the caller has in pieces, as [`parse`](Self::parse) does: `fill` appends the pieces, `len`
    /// bytes in total, to a buffer of sufficient size, and no bytes are copied after that.
    pub fn read_from<E: From<BlockError>>(
        len: usize,
        fill: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut buffer = Self::with_headroom(len);
        fill(&mut buffer)?;
        Ok(Self::finish(buffer)?)
    }

    /// Returns a buffer for a block of `len` bytes, with the headroom already filled.
    pub(super) fn with_headroom(len: usize) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(HEADROOM_BYTES + len);
        buffer.put_bytes(0, HEADROOM_BYTES);
        buffer
    }

    /// Finishes a buffer from `with_headroom`: parses the block and checks its data hash.
    fn finish(buffer: BytesMut) -> Result<Self, BlockError> {
        let (frame, block_at) = seal(buffer)?;
        let block: Block = lenient::decode(frame.slice(block_at..)).map_err(BlockError::Block)?;
        let header = block.header.ok_or(BlockError::NoHeader)?;
        let number = BlockNumber(header.number);
        check_number(number)?;
        let data = block.data.unwrap_or_default().data;
        let computed = data_hash(data.iter().map(Bytes::as_ref));
        if computed != header.data_hash.as_ref() {
            return Err(BlockError::DataHash { number, header: hex(&header.data_hash), data: hex(&computed) });
        }
        let slots = block.metadata.unwrap_or_default().metadata;
        let summary = BlockSummary {
            number,
            header_hash: header_hash(header.number, &header.previous_hash, &header.data_hash),
            previous_hash: header.previous_hash,
            last_config: last_config(number, &slots)?,
            is_config: matches!(&data[..], [envelope] if holds_config(envelope)),
            envelopes: data.len(),
        };
        Ok(Self(Arc::new(Inner { frame, block_at, summary })))
    }

    /// Finishes a buffer from `with_headroom` with a block that this node has just encoded: its bytes are not decoded, and
    /// its data is not hashed again.
    pub(super) fn finish_assembled(buffer: BytesMut, summary: BlockSummary) -> Result<Self, BlockError> {
        check_number(summary.number)?;
        let (frame, block_at) = seal(buffer)?;
        Ok(Self(Arc::new(Inner { frame, block_at, summary })))
    }

    /// Returns the number in the header.
    pub fn number(&self) -> BlockNumber {
        self.0.summary.number
    }

    /// Returns the hash of the previous block's header; empty in block 0.
    pub fn previous_hash(&self) -> &Bytes {
        &self.0.summary.previous_hash
    }

    /// Returns the hash of this block's header.
    pub fn header_hash(&self) -> &Hash {
        &self.0.summary.header_hash
    }

    /// Returns the serialized `Block`.
    pub fn block_bytes(&self) -> Bytes {
        self.0.frame.slice(self.0.block_at..)
    }

    /// Returns the block as one message of a Deliver stream, gRPC prefix included.
    pub fn deliver_frame(&self) -> Bytes {
        self.0.frame.clone()
    }

    /// Returns the block without its data as one message of a Deliver stream, gRPC prefix included. A config block
    /// keeps its data, because the subscriber has to follow the configuration.
    pub fn header_frame(&self) -> Bytes {
        if self.0.summary.is_config {
            return self.deliver_frame();
        }
        // decodes, because the bytes were decoded or encoded when this value was created
        let mut block = self.decode();
        block.data = None;
        let response = DeliverResponse { r#type: Some(deliver_response::Type::Block(block)) };
        frame_message(&response)
    }

    /// Returns a copy of the block without its data, in memory of its own: number, hashes, metadata. Not to be
    /// delivered.
    #[must_use]
    pub fn without_data(&self) -> Self {
        let mut block = self.decode();
        block.data = None;
        let mut buffer = Self::with_headroom(block.encoded_len());
        // a BytesMut grows as needed: encoding into it cannot fail
        let _ = block.encode(&mut buffer);
        // not larger than the block itself
        let block_len = buffer.len() - HEADROOM_BYTES;
        let frame_at = write_prefix(&mut buffer[..HEADROOM_BYTES], block_len);
        let previous_hash = Bytes::copy_from_slice(&self.0.summary.previous_hash);
        Self(Arc::new(Inner {
            frame: buffer.freeze().slice(frame_at..),
            block_at: HEADROOM_BYTES - frame_at,
            summary: BlockSummary { previous_hash, ..self.0.summary.clone() },
        }))
    }

    /// Decodes the block; its byte fields share this block's buffer.
    pub fn decode(&self) -> Block {
        lenient::decode(self.block_bytes()).unwrap_or_default()
    }

    /// Returns the number of the newest config block up to this one, from the block's metadata.
    pub fn last_config(&self) -> BlockNumber {
        self.0.summary.last_config
    }

    /// Whether this is a block that changes a channel's configuration or creates a channel.
    pub fn is_config(&self) -> bool {
        self.0.summary.is_config
    }

    /// Returns the number of envelopes in the block.
    pub fn envelopes(&self) -> usize {
        self.0.summary.envelopes
    }

    /// Returns the size of the serialized `Block` in bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.frame.len() - self.0.block_at
    }
}

impl fmt::Debug for EncodedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedBlock")
            .field("number", &self.0.summary.number)
            .field("envelopes", &self.0.summary.envelopes)
            .field("size_bytes", &self.size_bytes())
            .field("header_hash", &hex(&self.0.summary.header_hash))
            .finish_non_exhaustive()
    }
}

/// Encodes a message as it is sent on a gRPC stream, not compressed.
pub(crate) fn frame_message(message: &impl prost::Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(GRPC_PREFIX_BYTES + len);
    frame.put_u8(0);
    // messages made here are small: a status, or a header with its metadata
    frame.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    // a BytesMut grows as needed: encoding into it cannot fail
    let _ = message.encode(&mut frame);
    frame.freeze()
}

/// Writes the prefix into the headroom. Returns the buffer from the prefix on, and the offset of the block in it.
fn seal(mut buffer: BytesMut) -> Result<(Bytes, usize), BlockError> {
    let block_len = buffer.len() - HEADROOM_BYTES;
    if block_len > MAX_BLOCK_BYTES {
        return Err(BlockError::TooLarge { bytes: block_len });
    }
    let frame_at = write_prefix(&mut buffer[..HEADROOM_BYTES], block_len);
    Ok((buffer.freeze().slice(frame_at..), HEADROOM_BYTES - frame_at))
}

/// Returns an error if no block could follow a block of this number.
fn check_number(number: BlockNumber) -> Result<(), BlockError> {
    if number.0 == u64::MAX { Err(BlockError::LastNumber(number)) } else { Ok(()) }
}

/// Writes gRPC prefix, tag and length so that they end where `headroom` ends; returns the offset where they begin.
fn write_prefix(headroom: &mut [u8], block_len: usize) -> usize {
    let length_bytes = encoded_len_varint(block_len as u64);
    let message_len = 1 + length_bytes + block_len;
    let at = headroom.len() - length_bytes - 1 - GRPC_PREFIX_BYTES;
    let mut out = &mut headroom[at..];
    out.put_u8(0);
    out.put_u32(u32::try_from(message_len).unwrap_or(u32::MAX));
    out.put_u8(DELIVER_BLOCK_TAG);
    encode_varint(block_len as u64, &mut out);
    at
}

/// Returns the last config block's number from slot 0, where newer orderers write it, else from slot 1. Both are empty,
/// which means 0, while the genesis block is the only config block.
fn last_config(number: BlockNumber, slots: &[Bytes]) -> Result<BlockNumber, BlockError> {
    let value = |index: BlockMetadataIndex| -> Result<Bytes, BlockError> {
        let slot = index as usize;
        let bytes = slots.get(slot).cloned().unwrap_or_default();
        let metadata: Metadata =
            lenient::decode(bytes).map_err(|cause| BlockError::Metadata { number, slot, cause })?;
        Ok(metadata.value)
    };
    let of_slot = |slot: BlockMetadataIndex| move |cause| BlockError::Metadata { number, slot: slot as usize, cause };
    let signed: OrdererBlockMetadata =
        lenient::decode(value(BlockMetadataIndex::Signatures)?).map_err(of_slot(BlockMetadataIndex::Signatures))?;
    if let Some(LastConfig { index }) = signed.last_config {
        return Ok(BlockNumber(index));
    }
    let plain: LastConfig =
        lenient::decode(value(BlockMetadataIndex::LastConfig)?).map_err(of_slot(BlockMetadataIndex::LastConfig))?;
    Ok(BlockNumber(plain.index))
}

/// Returns whether an envelope changes a channel's configuration or creates a channel.
pub(super) fn holds_config(envelope: &Bytes) -> bool {
    let header_type = || -> Result<i32, prost::DecodeError> {
        let envelope: Envelope = lenient::decode(envelope.clone())?;
        let payload: Payload = lenient::decode(envelope.payload)?;
        let channel_header = payload.header.unwrap_or_default().channel_header;
        Ok(lenient::decode::<ChannelHeader>(channel_header)?.r#type)
    };
    header_type().is_ok_and(|t| t == HeaderType::Config as i32 || t == HeaderType::OrdererTransaction as i32)
}

/// Returns the framed status that ends a response on a Deliver stream.
pub fn status_frame(status: common::Status) -> Bytes {
    frame_message(&DeliverResponse { r#type: Some(deliver_response::Type::Status(status as i32)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric_proto::common::{BlockData, BlockHeader, BlockMetadata};
    use proptest::prelude::*;

    fn block(number: u64, entries: Vec<Bytes>) -> Block {
        let hash = data_hash(entries.iter().map(Bytes::as_ref));
        Block {
            header: Some(BlockHeader { number, previous_hash: "p".into(), data_hash: hash.to_vec().into() }),
            data: Some(BlockData { data: entries }),
            metadata: Some(BlockMetadata { metadata: vec![Bytes::new(); 5] }),
        }
    }

    #[test]
    fn a_block_whose_data_was_changed_is_refused() {
        let mut changed = block(3, vec!["a".into()]);
        changed.data = Some(BlockData { data: vec!["b".into()] });
        assert!(matches!(EncodedBlock::parse(&changed.encode_to_vec()), Err(BlockError::DataHash { .. })));
    }

    #[test]
    fn a_block_that_none_can_follow_is_refused() {
        let parse = |number| EncodedBlock::parse(&block(number, vec!["a".into()]).encode_to_vec());
        assert!(matches!(parse(u64::MAX), Err(BlockError::LastNumber(_))));
        assert_eq!(parse(u64::MAX - 1).expect("is a block").number().next().0, u64::MAX);
    }

    #[test]
    fn headers_only_leaves_the_data_out() {
        let encoded = EncodedBlock::parse(&block(3, vec!["a".into(), "b".into()]).encode_to_vec()).expect("is a block");
        let response = DeliverResponse::decode(encoded.header_frame().slice(5..)).expect("is a response");
        let Some(deliver_response::Type::Block(sent)) = response.r#type else { panic!("not a block") };
        assert_eq!(sent.data, None);
        assert_eq!(sent.header, encoded.decode().header);
    }

    proptest! {
        #[test]
        fn the_frame_is_the_message_that_a_client_reads(
            number: u64, entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)
        ) {
            let block = block(number, entries.into_iter().map(Bytes::from).collect());
            let encoded = EncodedBlock::parse(&block.encode_to_vec()).expect("is a block");
            let frame = encoded.deliver_frame();
            prop_assert_eq!(frame[0], 0);
            prop_assert_eq!(u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize, frame.len() - 5);
            let response = DeliverResponse::decode(frame.slice(5..)).expect("is a response");
            prop_assert_eq!(response.r#type, Some(deliver_response::Type::Block(block.clone())));
            prop_assert_eq!(encoded.block_bytes(), block.encode_to_vec());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = EncodedBlock::parse(&bytes);
        }
    }
}
