//! Creates a node with many channels. The ledgers are written directly, because joining the channels one by one takes
//! long.

use std::path::Path;

use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Envelope, Payload};
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_core::block::EncodedBlock;
use orderer_core::config::genesis::genesis_block_from_envelope;
use orderer_core::types::ChannelId;

use super::NET;
use super::node::{Setup, orderer_folder};

/// Adds `count` channels like the fixtures' application channel, named channel0, channel1, and so on.
pub fn channels(setup: Setup, count: usize) -> Setup {
    named(setup, &(0..count).map(|number| format!("channel{number}")).collect::<Vec<_>>())
}

/// Adds channels like the fixtures' application channel, with these names.
pub fn named(setup: Setup, names: &[String]) -> Setup {
    let folder = setup.folder().join("ledger");
    let ledgers = LedgerProvider::new(&folder, BlockCacheConfig { bytes: 1 << 20 }).unwrap();
    std::thread::scope(|scope| {
        for share in 0..8 {
            let ledgers = &ledgers;
            scope.spawn(move || {
                for name in names.iter().skip(share).step_by(8) {
                    ledgers.create(&ChannelId::parse(name).unwrap(), &genesis(name)).unwrap();
                }
            });
        }
    });
    setup
        .set("GENERAL_BOOTSTRAPMETHOD", "none")
        .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("FILELEDGER_LOCATION", folder.display())
}

/// Returns the genesis block of the fixtures' application channel under another channel name.
fn genesis(channel: &str) -> EncodedBlock {
    let file = std::fs::read(Path::new(NET).join("AppSolo.block")).unwrap();
    let block = EncodedBlock::parse(&file).unwrap().decode();
    let mut envelope = Envelope::decode(block.data.unwrap().data[0].clone()).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let header = payload.header.as_mut().unwrap();
    let mut channel_header = ChannelHeader::decode(header.channel_header.clone()).unwrap();
    channel_header.channel_id = channel.into();
    header.channel_header = channel_header.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    EncodedBlock::parse(&genesis_block_from_envelope(envelope.encode_to_vec().into(), true)).unwrap()
}
