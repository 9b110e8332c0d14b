//! Where a chain goes on after a restart.

use bytes::Bytes;
use fabric_proto::common::{Block, BlockMetadataIndex, Metadata, OrdererBlockMetadata};
use prost::Message as _;

use super::effect::Failure;
use super::metadata::{KafkaMetadata, KafkaOffset};
use crate::block::EncodedBlock;
use crate::channel::BlockNumber;
use crate::envelope::SignedEnvelope;

/// What a chain's last block tells about where it stands in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBlock {
    /// Its number.
    pub number: BlockNumber,
    /// What it remembers of the topic; [`KafkaMetadata::NONE`] if nothing.
    pub metadata: KafkaMetadata,
    /// Whether it holds a config message.
    pub is_config: bool,
    /// How many envelopes it holds.
    pub envelopes: usize,
    /// And how large they are together: payloads and signatures.
    pub size_bytes: usize,
}

/// What a topic holds, as its broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicBounds {
    /// Its first record's offset.
    pub earliest: KafkaOffset,
    /// The offset that its next record will have.
    pub end: KafkaOffset,
}

/// A last block that no chain can be resumed from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// Its metadata is not what a Kafka orderer writes.
    #[error("read the consenter metadata of block {number}; the ledger may be corrupted")]
    Metadata {
        /// The block.
        number: BlockNumber,
        /// What the decoder said.
        #[source]
        cause: prost::DecodeError,
    },
}

impl LastBlock {
    /// Reads it. Costs a pass over the block's envelopes.
    pub fn read(block: &EncodedBlock) -> Result<Self, ResumeError> {
        let number = block.number();
        let parts = block.decode();
        let value = consenter_metadata(&parts).map_err(|cause| ResumeError::Metadata { number, cause })?;
        // a value of nothing but zeros is empty: an ordinary block has that if it was cut at offset 0. A config block
        // has it if it changed the consensus type; the topic is new then
        let has_none = value.is_empty() && (block.is_config() || number == BlockNumber::GENESIS);
        let metadata = if has_none {
            KafkaMetadata::NONE
        } else {
            KafkaMetadata::decode(value).map_err(|cause| ResumeError::Metadata { number, cause })?
        };
        let data = parts.data.unwrap_or_default().data;
        let size = |entry: Bytes| SignedEnvelope::parse(entry).map_or(0, |envelope| envelope.size_bytes());
        Ok(Self {
            number,
            metadata,
            is_config: block.is_config(),
            envelopes: data.len(),
            size_bytes: data.into_iter().map(size).sum(),
        })
    }

    /// From which offset on a topic is to be read, for a machine that is resumed from this block. The record that the
    /// block was cut at comes first where the topic still has it: it may tell how the block was cut.
    pub fn read_from(&self, topic: TopicBounds) -> Result<KafkaOffset, Failure> {
        let taken = self.metadata.last_offset_persisted;
        let needed = taken.next();
        if needed < topic.earliest {
            return Err(Failure::RecordsLost { needed, earliest: topic.earliest });
        }
        if needed > topic.end {
            return Err(Failure::TopicShorter { end: topic.end, taken });
        }
        Ok(taken.max(topic.earliest))
    }
}

/// The consenter's part of a block's metadata: signed together with the block, as newer orderers write it, else in a
/// slot of its own.
///
/// # Errors
/// The metadata does not parse.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Contents, assemble};
    use crate::crypto::{SignError, Signer};
    use fabric_proto::common::{
        BlockData, BlockHeader, BlockMetadata, ChannelHeader, ConfigEnvelope, Header, HeaderType, Payload,
    };

    struct Nobody(Bytes);

    impl Signer for Nobody {
        fn creator(&self) -> &Bytes {
            &self.0
        }
        fn sign(&self, _: &[u8]) -> Result<Bytes, SignError> {
            Ok(Bytes::new())
        }
    }

    const KEPT: KafkaMetadata = KafkaMetadata {
        last_offset_persisted: KafkaOffset(7),
        last_original_offset_processed: KafkaOffset(3),
        last_resubmitted_config_offset: KafkaOffset(2),
    };

    fn message(header_type: HeaderType) -> SignedEnvelope {
        let channel_header = ChannelHeader { r#type: header_type as i32, ..ChannelHeader::default() };
        let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
        let payload = Payload { header: Some(header), data: ConfigEnvelope::default().encode_to_vec().into() };
        SignedEnvelope::from_parts(payload.encode_to_vec().into(), "signature".into())
    }

    fn block(number: u64, envelopes: &[SignedEnvelope], consenter_metadata: Bytes) -> EncodedBlock {
        let number = BlockNumber(number);
        let last_config = BlockNumber::GENESIS;
        let contents = Contents { number, previous_hash: &[0; 32], envelopes, last_config, consenter_metadata };
        assemble(contents, &Nobody(Bytes::new()), [0; 24]).expect("a block")
    }

    #[test]
    fn a_block_tells_what_it_remembers_and_how_large_it_is() {
        let message = message(HeaderType::EndorserTransaction);
        let read = LastBlock::read(&block(5, &[message.clone(), message.clone()], KEPT.encode())).expect("reads");
        assert_eq!((read.number, read.metadata, read.is_config), (BlockNumber(5), KEPT, false));
        assert_eq!((read.envelopes, read.size_bytes), (2, 2 * message.size_bytes()));
    }

    #[test]
    fn a_block_of_an_old_orderer_remembers_in_a_slot_of_its_own() {
        let data = BlockData { data: vec![message(HeaderType::EndorserTransaction).raw().clone()] };
        let mut slots = vec![Bytes::new(); crate::block::METADATA_SLOTS];
        slots[3] = Metadata { value: KEPT.encode(), signatures: Vec::new() }.encode_to_vec().into();
        let data_hash = crate::block::data_hash(data.data.iter().map(Bytes::as_ref));
        let header =
            BlockHeader { number: 5, previous_hash: Bytes::new(), data_hash: Bytes::copy_from_slice(&data_hash) };
        let block = Block { header: Some(header), data: Some(data), metadata: Some(BlockMetadata { metadata: slots }) };
        let block = EncodedBlock::parse(&block.encode_to_vec()).expect("a block");
        assert_eq!(LastBlock::read(&block).expect("reads").metadata, KEPT);
    }

    #[test]
    fn a_config_block_that_changed_the_consensus_type_remembers_nothing() {
        let read = LastBlock::read(&block(5, &[message(HeaderType::Config)], Bytes::new())).expect("reads");
        assert!(read.is_config);
        assert_eq!(read.metadata, KafkaMetadata::NONE);
        assert_eq!(read.metadata.last_offset_persisted.next(), KafkaOffset::FIRST);
    }

    #[test]
    fn an_ordinary_block_cut_at_offset_zero_is_not_taken_for_one_that_remembers_nothing() {
        let zeros = KafkaMetadata { last_offset_persisted: KafkaOffset(0), ..KafkaMetadata::NONE };
        assert!(zeros.encode().is_empty());
        let read = LastBlock::read(&block(1, &[message(HeaderType::EndorserTransaction)], zeros.encode()));
        assert_eq!(read.expect("reads").metadata, zeros);
    }

    #[test]
    fn metadata_that_cannot_be_read_names_the_block() {
        let error = LastBlock::read(&block(9, &[message(HeaderType::Message)], "garbage".into())).expect_err("garbage");
        assert_eq!(error.to_string(), "read the consenter metadata of block 9; the ledger may be corrupted");
    }
}
