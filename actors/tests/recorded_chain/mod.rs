//! A channel of type etcdraft, ordered by orderers of Fabric 2.5: 277 blocks, of which nine are config blocks.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use orderer_core::block::{ChainTip, EncodedBlock};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::types::{BlockNumber, ChannelId};

/// The chain as one of the orderers served it.
pub(crate) struct Recorded {
    pub(crate) blocks: Vec<Bytes>,
    /// Numbers of the config blocks.
    pub(crate) configs: Vec<u64>,
}

impl Recorded {
    pub(crate) fn read() -> Self {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/raft/node2.blocks.jsonl.gz");
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut recorded = Self { blocks: Vec::new(), configs: Vec::new() };
        for line in BufReader::new(GzDecoder::new(file)).lines() {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["type"] == "CONFIG" {
                recorded.configs.push(line["number"].as_u64().unwrap());
            }
            recorded.blocks.push(BASE64_STANDARD.decode(line["bytes"].as_str().unwrap()).expect("base64").into());
        }
        recorded
    }

    pub(crate) fn block(&self, number: u64) -> EncodedBlock {
        EncodedBlock::parse(&self.blocks[usize::try_from(number).unwrap()]).unwrap()
    }

    /// Returns the chain's tip after this block.
    pub(crate) fn tip(&self, number: u64) -> ChainTip {
        let newest = self.block(number);
        let config = self.block(newest.last_config().0).decode();
        ChainTip::of(&newest, ChannelSnapshot::from_config_block(&config, &Arc::<ConfigCache>::default()).unwrap())
    }

    pub(crate) fn newest(&self) -> BlockNumber {
        BlockNumber(self.blocks.len() as u64 - 1)
    }

    pub(crate) fn channel() -> ChannelId {
        ChannelId::parse("ch").unwrap()
    }
}
