//! Writes the seed inputs. Run `cargo run --example seeds` in the directory `fuzz`.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Block, BlockData, BlockMetadata, ChannelHeader, Header, HeaderType, Payload};
use fabric_proto::orderer::seek_position::Type;
use fabric_proto::orderer::{SeekInfo, SeekOldest, SeekPosition, SeekSpecified};
use orderer_core::block::EncodedBlock;
use orderer_core::config::ProposedConfig;
use orderer_core::envelope::SignedEnvelope;
use orderer_fuzz::{GENESIS, OPEN, SNAPSHOT, app, unsigned};

fn main() -> std::io::Result<()> {
    let block = EncodedBlock::parse(GENESIS).expect("is a block").decode();
    let envelope = block.data.expect("has data").data.remove(0);
    let mut target = OPEN.config();
    let root = target.channel_group.as_mut().expect("has one");
    let orderer = root.groups.get_mut("Orderer").expect("has one");
    orderer.values.remove("ChannelRestrictions");
    orderer.values.get_mut("BatchTimeout").expect("has one").value = b"\x0a\x021s".to_vec().into();
    let update = orderer_core::config::compute_update(&app(), &OPEN.config(), &target).expect("differs");
    let position = |r#type| Some(SeekPosition { r#type: Some(r#type) });
    let seek = SeekInfo {
        start: position(Type::Oldest(SeekOldest {})),
        stop: position(Type::Specified(SeekSpecified { number: 5 })),
        ..SeekInfo::default()
    };
    write("envelope", "genesis-block", &[], GENESIS)?;
    write("envelope", "config", &[], &envelope)?;
    write("envelope", "update", &[], unsigned(&update).raw())?;
    write("envelope", "seek", &[], &seek.encode_to_vec())?;
    write("config_update", "update", &[0], &update.encode_to_vec())?;
    let mut small = target.channel_group.clone().expect("has one");
    small.groups.remove("Application");
    small.groups.get_mut("Orderer").expect("has one").groups.clear();
    write("config_update", "tree", &[1], &small.encode_to_vec())?;
    write("config_update", "config", &[2], &SNAPSHOT.config().encode_to_vec())?;
    for (number, msp) in SNAPSHOT.msps().iter().enumerate() {
        for kind in [0, 1, 6, 7] {
            write("msp_config", &format!("msp-{number}-{kind}"), &[kind], msp.definition())?;
        }
    }
    for (name, policy) in &SNAPSHOT.channel_group().groups["Application"].policies {
        write("policy", name, &[], &policy.policy.clone().unwrap_or_default().encode_to_vec())?;
    }
    for (name, policy) in &SNAPSHOT.channel_group().groups["Application"].groups["Org1MSP"].policies {
        write("policy", &format!("org1-{name}"), &[], &policy.policy.clone().unwrap_or_default().encode_to_vec())?;
    }
    let block = |entry: &[u8]| Block {
        header: None,
        data: Some(BlockData { data: vec![Bytes::copy_from_slice(entry)] }),
        metadata: Some(BlockMetadata { metadata: vec![Bytes::new(); 5] }),
    };
    write("pulled_block", "genesis", &[0], GENESIS)?;
    let transaction = unsigned(&update);
    let transaction = SignedEnvelope::from_parts(transaction.payload().clone(), "signature".into());
    write("pulled_block", "transaction", &[1], &block(transaction.raw()).encode_to_vec())?;
    let ProposedConfig { envelope, .. } = OPEN.propose(&unsigned(&update)).expect("nobody has to sign it");
    let channel_header =
        ChannelHeader { r#type: HeaderType::Config as i32, channel_id: "app".to_owned(), ..ChannelHeader::default() };
    let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    let payload = Payload { header: Some(header), data: envelope };
    let config = SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::new());
    write("pulled_block", "config", &[2], &block(config.raw()).encode_to_vec())
}

fn write(target: &str, name: &str, before: &[u8], bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), [before, bytes].concat())
}
