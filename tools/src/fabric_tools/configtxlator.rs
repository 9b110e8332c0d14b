//! `configtxlator`: messages as JSON and back, config updates, and both as a REST server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use fabric_json::{DecodeOptions, Json, from_json, to_json};
use fabric_proto::common::{Config, ConfigUpdate};
use orderer_core::config::compute_difference;
use prost::Message as _;

use super::rest;
use crate::commands::config_update::serialized;
use crate::commands::io;
use crate::say;

/// The end of `configtxlator --help`.
pub const AFTER_HELP: &str = "\
Try it:
  configtxlator proto_decode --type common.Block --input mychannel.block
  configtxlator compute_update --channel_id mychannel \\
      --original before.pb --updated after.pb --output update.pb
  configtxlator start
  curl --data-binary @mychannel.block \\
      http://127.0.0.1:7059/protolator/decode/common.Block";

/// Arguments of `configtxlator`.
#[derive(Debug, clap::Args)]
pub struct ConfigtxlatorArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serve the conversions by HTTP, without authentication
    Start(StartArguments),
    /// Convert JSON to a serialized message
    #[command(name = "proto_encode")]
    ProtoEncode(ConvertArguments),
    /// Convert a serialized message to JSON
    #[command(name = "proto_decode")]
    ProtoDecode(ConvertArguments),
    /// Compute the update from one serialized common.Config to another
    #[command(name = "compute_update")]
    ComputeUpdate(ComputeArguments),
    /// Print the version
    Version,
}

#[derive(Debug, clap::Args)]
struct StartArguments {
    /// Host name or address to listen on
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    hostname: String,
    /// Port to listen on
    #[arg(long, value_name = "PORT", default_value_t = 7059)]
    port: u16,
    /// Origin whose pages may use the server, such as https://example.com, or '*'; may be repeated
    #[arg(long = "CORS", value_name = "ORIGIN")]
    cors: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct ConvertArguments {
    /// Full name of the message, such as common.Config
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// File to convert [default: standard input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// File for the result [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ComputeArguments {
    /// File with the configuration in force
    #[arg(long, value_name = "FILE")]
    original: Option<PathBuf>,
    /// File with the desired configuration
    #[arg(long, value_name = "FILE")]
    updated: Option<PathBuf>,
    /// Name of the channel
    #[arg(long = "channel_id", value_name = "CHANNEL")]
    channel_id: String,
    /// File for the serialized update [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command. Performs blocking I/O.
pub fn run(arguments: &ConfigtxlatorArguments, version: fn(&str) -> String) -> ExitCode {
    let done = match &arguments.command {
        Command::Version => {
            say!("{}", version("configtxlator"));
            Ok(())
        }
        Command::Start(it) => rest::serve(&it.hostname, it.port, &it.cors),
        Command::ProtoEncode(it) => it.convert(encode).context("error encoding"),
        Command::ProtoDecode(it) => it.convert(decode).context("error decoding"),
        Command::ComputeUpdate(it) => it.compute().context("error computing update"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failed("configtxlator", &format!("{error:#}")),
    }
}

impl ConvertArguments {
    fn convert(&self, how: fn(&str, &[u8], usize) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<()> {
        let bytes = how(&self.kind, &io::read(self.input.as_deref())?, usize::MAX)?;
        io::write(self.output.as_deref(), &bytes)
    }
}

impl ComputeArguments {
    fn compute(&self) -> anyhow::Result<()> {
        let read = |file: Option<&PathBuf>, which: &str| -> anyhow::Result<Vec<u8>> {
            io::read(Some(
                file.with_context(|| format!("error reading {which} config: no file is named by --{which}"))?,
            ))
        };
        let (original, updated) = (read(self.original.as_ref(), "original")?, read(self.updated.as_ref(), "updated")?);
        let update = update(&configuration(&original)?, &configuration(&updated)?, &self.channel_id)?;
        io::write(self.output.as_deref(), &update)
    }
}

/// Converts JSON to a message of this type. The number of values is limited by the text.
pub(super) fn encode(kind: &str, text: &[u8], _: usize) -> anyhow::Result<Vec<u8>> {
    let json = Json::parse(text).context("error decoding input")?;
    Ok(from_json(kind, &json)?)
}

/// Converts a message of this type to JSON with about this many values at most.
pub(super) fn decode(kind: &str, bytes: &[u8], values_max: usize) -> anyhow::Result<Vec<u8>> {
    let json = to_json(kind, bytes, &DecodeOptions { exact: false, values_max })?;
    let mut text = Vec::new();
    json.write_pretty(&mut text).context("write the JSON")?;
    Ok(text)
}

/// Parses a serialized configuration.
pub(super) fn configuration(bytes: &[u8]) -> anyhow::Result<Config> {
    Config::decode(bytes).context("no serialized common.Config")
}

/// Returns the serialized update from one configuration to another.
pub(super) fn update(original: &Config, updated: &Config, channel: &str) -> anyhow::Result<Vec<u8>> {
    let update = compute_difference(original, updated)?;
    serialized(&ConfigUpdate { channel_id: channel.to_owned(), ..update })
}
