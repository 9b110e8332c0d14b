//! `orderer decode` and `orderer encode`: Fabric's messages as JSON, and back.

use std::path::PathBuf;

use anyhow::Context as _;
use fabric_json::{DecodeOptions, Json, from_json, message_types, to_json};

use super::io;

/// The end of `orderer decode --help`.
pub const DECODE_HELP: &str = "\
The JSON is that of Fabric's configtxlator proto_decode. Bytes that would not be
the same again after `orderer encode` stay base64, and entries of maps keep
their order, so that encoding what was decoded gives the same bytes.

Types, among others: common.Block, common.Envelope, common.Config,
common.ConfigUpdate, common.ConfigUpdateEnvelope, orderer.KafkaMessage,
protos.Transaction

Try it:
  orderer decode --type common.Block --input mychannel.block
  orderer decode --type common.Envelope < update.tx | jq .payload.data";

/// The end of `orderer encode --help`.
pub const ENCODE_HELP: &str = "\
Takes the JSON of `orderer decode` and of Fabric's configtxlator. Members that
are missing have their default value; where JSON has an object for a message
that is held in bytes, base64 is taken as well.

Try it:
  orderer encode --type common.Config --input config.json --output config.pb";

/// Arguments of `orderer decode`.
#[derive(Debug, clap::Args)]
pub struct DecodeArguments {
    /// Full name of the message, such as common.Block
    #[arg(long = "type", value_name = "TYPE", value_parser = message_type)]
    kind: String,
    /// File with the message [default: standard input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// File for the JSON [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Decode all nested messages, even if encoding would not restore their bytes; omit unknown fields
    #[arg(long)]
    readable: bool,
}

/// Arguments of `orderer encode`.
#[derive(Debug, clap::Args)]
pub struct EncodeArguments {
    /// Full name of the message, such as common.Block
    #[arg(long = "type", value_name = "TYPE", value_parser = message_type)]
    kind: String,
    /// File with the JSON [default: standard input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// File for the message [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn message_type(name: &str) -> Result<String, String> {
    if fabric_json::is_known(name) {
        return Ok(name.to_owned());
    }
    let types = message_types();
    let near = types.iter().map(|known| (strsim::jaro_winkler(known, name), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    let near = near.map_or(String::new(), |(_, known)| format!("; did you mean {known}?"));
    Err(format!("no such message{near}"))
}

/// Reads a serialized message and writes it as JSON.
pub fn decode(arguments: &DecodeArguments) -> anyhow::Result<()> {
    let bytes = io::read(arguments.input.as_deref())?;
    let how = DecodeOptions { exact: !arguments.readable, values_max: usize::MAX };
    let json = to_json(&arguments.kind, &bytes, &how)?;
    let mut text = Vec::new();
    json.write_pretty(&mut text).context("write the JSON")?;
    io::write(arguments.output.as_deref(), &text)?;
    if how.exact && from_json(&arguments.kind, &json).ok().as_ref() != Some(&bytes) {
        eprintln!(
            "orderer: note: encoding this again gives other bytes: it has unknown fields, or is written unusually"
        );
    }
    Ok(())
}

/// Reads JSON and writes it as a serialized message.
pub fn encode(arguments: &EncodeArguments) -> anyhow::Result<()> {
    let text = io::read(arguments.input.as_deref())?;
    let json = Json::parse(&text).context("this is no JSON")?;
    io::write(arguments.output.as_deref(), &from_json(&arguments.kind, &json)?)
}
