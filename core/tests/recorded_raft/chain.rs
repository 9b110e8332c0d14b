//! The chain of the recorded orderers, and the content of its configurations.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use fabric_proto::common::{Block, BlockMetadataIndex, Metadata};
use fabric_proto::etcdraft::{BlockMetadata, Options};
use flate2::read::GzDecoder;
use orderer_core::block::{BlockContents, EncodedBlock, assemble, consenter_metadata};
use orderer_core::config::{ChannelSnapshot, consensus_metadata};
use orderer_core::crypto::{SignError, Signer};
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::ordering::raft::{ConsenterSet, NewBlock, OrderingConfig, snapshot_bytes};
use orderer_core::processing::apply_config;
use orderer_core::types::BlockNumber;
use prost::Message as _;

/// The content of one configuration.
pub(crate) struct Configuration {
    pub(crate) rules: OrderingConfig,
    pub(crate) options: Options,
}

pub(crate) struct RecordedBlock {
    pub(crate) encoded: EncodedBlock,
    pub(crate) decoded: Block,
    /// `etcdraft.BlockMetadata`.
    pub(crate) metadata: Bytes,
    /// The configuration in force after this block.
    pub(crate) configuration: Arc<Configuration>,
}

pub(crate) struct Chain {
    blocks: Vec<RecordedBlock>,
}

impl Chain {
    pub(crate) fn read() -> Self {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/raft/node2.blocks.jsonl.gz");
        let lines = BufReader::new(GzDecoder::new(File::open(path).unwrap())).lines();
        let mut blocks = Vec::<RecordedBlock>::new();
        let mut newest: Option<(ChannelSnapshot, Arc<Configuration>)> = None;
        for line in lines {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let encoded =
                EncodedBlock::parse(&BASE64_STANDARD.decode(line["bytes"].as_str().unwrap()).expect("base64")).unwrap();
            let decoded = encoded.decode();
            if encoded.is_config() {
                let snapshot = match &newest {
                    None => ChannelSnapshot::from_config_block(&decoded, &Arc::default()).unwrap(),
                    Some((before, _)) => {
                        let envelope = SignedEnvelope::parse(decoded.data.as_ref().unwrap().data[0].clone());
                        apply_config(before, &ParsedEnvelope::parse(envelope.unwrap()).unwrap()).unwrap()
                    }
                };
                let configuration = Arc::new(configuration(&snapshot));
                newest = Some((snapshot, configuration));
            }
            let metadata = consenter_metadata(&decoded).unwrap();
            let configuration = Arc::clone(&newest.as_ref().unwrap().1);
            blocks.push(RecordedBlock { encoded, decoded, metadata, configuration });
        }
        Self { blocks }
    }

    pub(crate) fn len(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn block(&self, number: u64) -> &RecordedBlock {
        &self.blocks[usize::try_from(number).unwrap()]
    }

    /// Changes a recorded block.
    pub(crate) fn change(&mut self, number: u64, change: impl FnOnce(&mut Block)) {
        change(&mut self.blocks[usize::try_from(number).unwrap()].decoded);
    }

    /// Returns the consenters after a block, and the index of the block's entry.
    pub(crate) fn members(&self, number: u64) -> (ConsenterSet, u64) {
        let block = self.block(number);
        ConsenterSet::read(&block.metadata, &block.configuration.rules.consenters).unwrap()
    }

    /// Returns the number of the first block that names a consenter of this ID.
    pub(crate) fn first_with(&self, id: u64) -> u64 {
        let names =
            |block: &RecordedBlock| BlockMetadata::decode(block.metadata.clone()).unwrap().consenter_ids.contains(&id);
        self.blocks.iter().position(names).unwrap_or_default() as u64
    }

    /// Returns the number of the next config block.
    pub(crate) fn next_config(&self, after: u64) -> Option<u64> {
        (after + 1..self.len()).find(|number| self.block(*number).encoded.is_config())
    }

    /// Compares a block to be written with the recorded one: the header, the data, and the metadata without its
    /// signature.
    pub(crate) fn compare(&self, block: &NewBlock) -> Result<(), String> {
        let recorded = self.block(block.number.0);
        let contents = BlockContents {
            number: block.number,
            previous_hash: self.block(block.number.0 - 1).encoded.header_hash(),
            envelopes: &block.envelopes,
            last_config: recorded.encoded.last_config(),
            consenter_metadata: block.metadata.clone(),
        };
        let made = assemble(contents, &Nobody(Bytes::new()), [0; 24]).unwrap().decode();
        let without_signatures = |block: &Block| {
            let mut slots = block.metadata.clone().unwrap().metadata;
            let signatures = &mut slots[BlockMetadataIndex::Signatures as usize];
            *signatures = Metadata::decode(signatures.clone()).unwrap().value;
            slots
        };
        let same = block.header_hash == *recorded.encoded.header_hash()
            && made.header == recorded.decoded.header
            && made.data == recorded.decoded.data
            && without_signatures(&made) == without_signatures(&recorded.decoded);
        if same { Ok(()) } else { Err(format!("block {} is not the recorded one", block.number)) }
    }
}

fn configuration(snapshot: &ChannelSnapshot) -> Configuration {
    let metadata = consensus_metadata(snapshot).unwrap();
    let options = metadata.options.unwrap();
    let rules = OrderingConfig {
        sequence: snapshot.sequence(),
        limits: snapshot.orderer().batch_size.limits(),
        consenters: metadata.consenters,
        snapshot_bytes: snapshot_bytes(&options),
    };
    Configuration { rules, options }
}

/// A signer that returns empty signatures.
struct Nobody(Bytes);

impl Signer for Nobody {
    fn creator(&self) -> &Bytes {
        &self.0
    }

    fn sign(&self, _message: &[u8]) -> Result<Bytes, SignError> {
        Ok(Bytes::new())
    }
}

pub(crate) fn number_of(block: &Block) -> BlockNumber {
    BlockNumber(block.header.as_ref().map_or(0, |header| header.number))
}
