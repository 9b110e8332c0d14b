//! The position in the topic at which a chain resumes after a restart.

use bytes::Bytes;

use super::effect::Failure;
use super::metadata::{KafkaMetadata, KafkaOffset};
use crate::block::{EncodedBlock, consenter_metadata};
use crate::envelope::SignedEnvelope;
use crate::types::BlockNumber;

/// The part of a chain's last block that determines how the chain resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBlock {
    /// Number of the block.
    pub number: BlockNumber,
    /// Consenter metadata of the block; [`KafkaMetadata::NONE`] if it has none.
    pub metadata: KafkaMetadata,
    /// Whether it is a config block.
    pub is_config: bool,
    /// Number of envelopes.
    pub envelopes: usize,
    /// Total size of the envelopes in bytes: payloads and signatures.
    pub size_bytes: usize,
}

/// Range of a topic's offsets, as its broker reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicBounds {
    /// Offset of the first record.
    pub earliest: KafkaOffset,
    /// Offset that the next record will get.
    pub end: KafkaOffset,
}

/// A chain cannot be resumed from its last block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The consenter metadata is not what a Kafka orderer writes.
    #[error("read the consenter metadata of block {number}; the ledger may be corrupted")]
    Metadata {
        /// Number of the block.
        number: BlockNumber,
        /// Error of the decoder.
        #[source]
        cause: prost::DecodeError,
    },
}

impl LastBlock {
    /// Reads a block. Decodes all of its envelopes.
    pub fn parse(block: &EncodedBlock) -> Result<Self, ResumeError> {
        let number = block.number();
        let parts = block.decode();
        let value = consenter_metadata(&parts).map_err(|cause| ResumeError::Metadata { number, cause })?;
        // metadata of only zeros is encoded as an empty value: a normal block has that if it was cut at offset 0. A
        // config block has it if it changed the consensus type, and then the topic is new
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

    /// Returns the offset from which to read the topic, for a machine that is resumed from this block. That is the
    /// offset of the record at which the block was cut, if the topic still has it: the record may tell how the block
    /// was cut.
    pub fn resume_offset(&self, topic: TopicBounds) -> Result<KafkaOffset, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockContents, assemble};
    use crate::crypto::{SignError, Signer};
    use fabric_proto::common::{
        Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, ConfigEnvelope, Header, HeaderType, Metadata,
        Payload,
    };
    use prost::Message as _;

    struct NoSigner(Bytes);

    impl Signer for NoSigner {
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
        let contents = BlockContents { number, previous_hash: &[0; 32], envelopes, last_config, consenter_metadata };
        assemble(contents, &NoSigner(Bytes::new()), [0; 24]).expect("a block")
    }

    #[test]
    fn a_block_tells_what_it_remembers_and_how_large_it_is() {
        let message = message(HeaderType::EndorserTransaction);
        let read = LastBlock::parse(&block(5, &[message.clone(), message.clone()], KEPT.encode())).expect("reads");
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
        assert_eq!(LastBlock::parse(&block).expect("reads").metadata, KEPT);
    }

    #[test]
    fn a_config_block_that_changed_the_consensus_type_remembers_nothing() {
        let read = LastBlock::parse(&block(5, &[message(HeaderType::Config)], Bytes::new())).expect("reads");
        assert!(read.is_config);
        assert_eq!(read.metadata, KafkaMetadata::NONE);
        assert_eq!(read.metadata.last_offset_persisted.next(), KafkaOffset::FIRST);
    }

    #[test]
    fn an_ordinary_block_cut_at_offset_zero_is_not_taken_for_one_that_remembers_nothing() {
        let zeros = KafkaMetadata { last_offset_persisted: KafkaOffset(0), ..KafkaMetadata::NONE };
        assert!(zeros.encode().is_empty());
        let read = LastBlock::parse(&block(1, &[message(HeaderType::EndorserTransaction)], zeros.encode()));
        assert_eq!(read.expect("reads").metadata, zeros);
    }

    #[test]
    fn metadata_that_cannot_be_read_names_the_block() {
        let error =
            LastBlock::parse(&block(9, &[message(HeaderType::Message)], "garbage".into())).expect_err("garbage");
        assert_eq!(error.to_string(), "read the consenter metadata of block 9; the ledger may be corrupted");
    }
}
