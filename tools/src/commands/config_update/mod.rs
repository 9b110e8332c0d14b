//! `orderer config-update`: computes the update from one configuration to another, and explains it.

mod explain;
mod explain_policy;
mod json_diff;
mod overlay;
mod read;

use std::path::PathBuf;

use anyhow::Context as _;
use fabric_json::{DecodeOptions, from_json, to_json};
use fabric_proto::common::{ChannelHeader, ConfigUpdate, ConfigUpdateEnvelope, Envelope, Header, HeaderType, Payload};
use orderer_core::config::compute_update;
use orderer_core::types::ChannelId;
use prost::Message as _;

use super::io;

/// The end of `orderer config-update --help`.
pub const AFTER_HELP: &str = "\
Computes what Fabric's configtxlator compute_update computes, and says in words
what changes and whose signatures each change needs: on standard output, or on
standard error if the update itself goes there.

A configuration is a common.Config, serialized or as JSON of `orderer decode`,
or the config block it is in.

Try it, and edit after.json before the third command:
  orderer client fetch config before.block -c mychannel
  orderer decode --type common.Block --input before.block --output after.json
  orderer config-update --original before.block --updated after.json \\
      --envelope --output update.tx
  orderer sign -f update.tx
  orderer config-update --original before.block --explain update.tx";

/// Arguments of `orderer config-update`.
#[derive(Debug, clap::Args)]
pub struct ConfigUpdateArguments {
    /// The configuration in force
    #[arg(long, value_name = "FILE")]
    original: PathBuf,
    /// The desired configuration
    #[arg(long, value_name = "FILE", required_unless_present = "explain")]
    updated: Option<PathBuf>,
    /// Name of the channel [default: that of the config block in --original]
    #[arg(long = "channel_id", value_name = "CHANNEL", value_parser = ChannelId::parse)]
    channel: Option<ChannelId>,
    /// Write an envelope that can be signed (`orderer sign`), not the bare update
    #[arg(long)]
    envelope: bool,
    /// File for the update [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only explain this update of --original: an envelope, or a bare update
    #[arg(long, value_name = "UPDATE", conflicts_with_all = ["updated", "output", "envelope", "channel"])]
    explain: Option<PathBuf>,
}

/// Computes the update, explains it on standard error, and writes it.
pub fn run(arguments: &ConfigUpdateArguments) -> anyhow::Result<()> {
    let original = read::config(&arguments.original)?;
    if let Some(file) = &arguments.explain {
        let update = read::update(file)?;
        original.check_channel(&update.channel_id)?;
        return io::write(None, explain::explain(&original.config, &update)?.as_bytes());
    }
    let updated = arguments.updated.as_deref().context("--updated is missing")?;
    let updated = read::config(updated)?;
    let channel = arguments.channel.clone().map_or_else(|| original.channel(), Ok)?;
    let update = compute_update(&channel, &original.config, &updated.config)?;
    let explained = explain::explain(&original.config, &update)?;
    let mut bytes = serialized(&update)?;
    if arguments.envelope {
        bytes = unsigned_envelope(&channel, bytes);
    }
    io::write(arguments.output.as_deref(), &bytes)?;
    if arguments.output.is_some() {
        return io::write(None, explained.as_bytes());
    }
    eprint!("{explained}");
    Ok(())
}

/// Serializes as Fabric's programs do: map entries with their values, also where those are empty.
pub(crate) fn serialized(update: &ConfigUpdate) -> anyhow::Result<Vec<u8>> {
    const KIND: &str = "common.ConfigUpdate";
    let json = to_json(KIND, &update.encode_to_vec(), &DecodeOptions { exact: true, values_max: usize::MAX })?;
    Ok(from_json(KIND, &json)?)
}

fn unsigned_envelope(channel: &ChannelId, update: Vec<u8>) -> Vec<u8> {
    let channel_header = ChannelHeader {
        r#type: HeaderType::ConfigUpdate.into(),
        channel_id: channel.to_string(),
        ..ChannelHeader::default()
    };
    let header = Header { channel_header: channel_header.encode_to_vec().into(), ..Header::default() };
    let data = ConfigUpdateEnvelope { config_update: update.into(), signatures: Vec::new() };
    let payload = Payload { header: Some(header), data: data.encode_to_vec().into() };
    Envelope { payload: payload.encode_to_vec().into(), ..Envelope::default() }.encode_to_vec()
}
