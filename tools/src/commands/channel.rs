//! `orderer channel`: a client of a node's admin endpoint, with the flags and the output of Fabric's `osnadmin`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use fabric_json::Json;
use fabric_proto::common::{Block, Envelope};
use http::Method;
use orderer_actors::node_context::nonce;
use orderer_core::config::parse_go_duration;
use orderer_core::crypto::hex;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::types::ChannelId;
use prost::Message as _;

use super::io;
use orderer_client::{HttpEndpoint, HttpResponse, RequestBody};
use orderer_client::{ServerTrust, client_config};

pub(crate) const CHANNELS: &str = "/participation/v1/channels";

/// The end of `orderer channel --help`.
pub const AFTER_HELP: &str = "\
Flags and output are those of Fabric's osnadmin. Unlike osnadmin, the exit code
reports whether the request succeeded.

Try it:
  orderer channel list -o localhost:9443
  orderer channel join -o orderer.example.com:9443 --ca-file tlsca.pem \\
      --client-cert admin.crt --client-key admin.key \\
      -c mychannel -b mychannel.block

Exit codes:
  0  success
  1  the node rejected the request, or cannot be reached
  2  the arguments are invalid";

/// Subcommands of `orderer channel`.
#[derive(Debug, clap::Subcommand)]
pub enum ChannelCommand {
    /// List the channels, or one with its height and state
    List(ListArguments),
    /// Join a channel: create it from its genesis block
    #[command(override_usage = "orderer channel join -o <HOST:PORT> -c <CHANNEL> -b <FILE> [OPTIONS]")]
    Join(JoinArguments),
    /// Remove a channel and its blocks
    #[command(override_usage = "orderer channel remove -o <HOST:PORT> -c <CHANNEL> [OPTIONS]")]
    Remove(RemoveArguments),
    /// Send a signed config update to a channel
    #[command(override_usage = "orderer channel update -o <HOST:PORT> -c <CHANNEL> -e <FILE> [OPTIONS]")]
    Update(UpdateArguments),
    /// Write a block to a file
    #[command(override_usage = "orderer channel fetch -o <ADDR> -c <NAME> -b <BLOCK> -f <FILE> [OPTIONS]")]
    Fetch(FetchArguments),
    /// Try a failed channel again; -o is the operations endpoint
    #[command(override_usage = "orderer channel restart -o <HOST:PORT> -c <CHANNEL> [OPTIONS]")]
    Restart(RestartArguments),
}

/// The admin endpoint, and the TLS files for it.
#[derive(Debug, clap::Args)]
pub struct EndpointArguments {
    /// The node's admin endpoint
    #[arg(short = 'o', long, value_name = "HOST:PORT")]
    pub(crate) orderer_address: String,
    /// Use TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM file of the client certificate
    #[arg(long, value_name = "FILE", requires = "ca_file", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// PEM file of the client certificate's key
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// Do not print the HTTP status
    #[arg(long)]
    pub(crate) no_status: bool,
}

/// The time shift of osnadmin, which has it for connections to nodes whose certificates have expired.
#[derive(Debug, clap::Args)]
pub struct ShiftArguments {
    /// Verify the node's certificate as of this long ago, such as 48h
    #[arg(short = 't', long = "tlsHandshakeTimeShift", value_name = "DURATION", default_value = "0", value_parser = duration)]
    shift: Duration,
}

/// Arguments of `orderer channel list`.
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// Channel [default: all]
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL", value_parser = ChannelId::parse)]
    channel: Option<ChannelId>,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

/// Arguments of `orderer channel join`.
#[derive(Debug, clap::Args)]
pub struct JoinArguments {
    /// Channel
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL", value_parser = ChannelId::parse)]
    channel: ChannelId,
    /// File with the channel's genesis block
    #[arg(short = 'b', long, value_name = "FILE")]
    config_block: PathBuf,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

/// Arguments of `orderer channel remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveArguments {
    /// Channel
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL", value_parser = ChannelId::parse)]
    channel: ChannelId,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

/// Arguments of `orderer channel update`.
#[derive(Debug, clap::Args)]
pub struct UpdateArguments {
    /// Channel
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL", value_parser = ChannelId::parse)]
    channel: ChannelId,
    /// File with the signed envelope of the config update
    #[arg(short = 'e', long, value_name = "FILE")]
    config_update_envelope: PathBuf,
    #[command(flatten)]
    shift: ShiftArguments,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

/// Arguments of `orderer channel fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArguments {
    /// Channel
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL", value_parser = ChannelId::parse)]
    channel: ChannelId,
    /// newest, oldest, config, or a number
    #[arg(short = 'b', long = "blockID", value_name = "BLOCK", value_parser = block)]
    block: String,
    /// File for the block
    #[arg(short = 'f', long = "outputfile", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    shift: ShiftArguments,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

/// Arguments of `orderer channel restart`.
#[derive(Debug, clap::Args)]
pub struct RestartArguments {
    /// Channel
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL", value_parser = ChannelId::parse)]
    channel: ChannelId,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match parse_go_duration(text) {
        Some((duration, false)) => Ok(duration),
        _ => Err("a duration such as 48h".to_owned()),
    }
}

fn block(text: &str) -> Result<String, String> {
    match text {
        "newest" | "oldest" | "config" => Ok(text.to_owned()),
        number if number.parse::<u64>().is_ok() => Ok(text.to_owned()),
        _ => Err("newest, oldest, config, or a number".to_owned()),
    }
}

/// Sends the request and prints the response. Performs blocking I/O.
pub fn run(command: &ChannelCommand) -> anyhow::Result<ExitCode> {
    let none = Duration::ZERO;
    match command {
        ChannelCommand::List(it) => {
            let path = it.channel.as_ref().map_or(CHANNELS.to_owned(), |channel| format!("{CHANNELS}/{channel}"));
            it.endpoint.do_ask(none, Method::GET, &path, None, None)
        }
        ChannelCommand::Join(it) => {
            let bytes = io::read(Some(&it.config_block))?;
            let found = channel_of_block(&bytes).with_context(|| format!("{}", it.config_block.display()))?;
            check_channel(&it.channel, &found, "config block")?;
            it.endpoint.do_ask(none, Method::POST, CHANNELS, Some(("config-block", &bytes)), None)
        }
        ChannelCommand::Remove(it) => {
            it.endpoint.do_ask(none, Method::DELETE, &format!("{CHANNELS}/{}", it.channel), None, None)
        }
        ChannelCommand::Update(it) => {
            let bytes = io::read(Some(&it.config_update_envelope))?;
            let found = channel_of_envelope(&bytes);
            let found = found.with_context(|| format!("{}", it.config_update_envelope.display()))?;
            check_channel(&it.channel, &found, "config update envelope")?;
            let form = Some(("config-update-envelope", &bytes[..]));
            it.endpoint.do_ask(it.shift.shift, Method::PUT, CHANNELS, form, None)
        }
        ChannelCommand::Fetch(it) => {
            let path = format!("{CHANNELS}/{}/blocks/{}", it.channel, it.block);
            it.endpoint.do_ask(it.shift.shift, Method::GET, &path, None, Some(&it.file))
        }
        ChannelCommand::Restart(it) => {
            let path = format!("/debug/channels/{}/restart", it.channel);
            it.endpoint.do_ask(none, Method::POST, &path, None, None)
        }
    }
}

impl EndpointArguments {
    /// Sends a request and prints the response; a success's body goes to the file, if there is one.
    fn do_ask(
        &self,
        behind: Duration,
        method: Method,
        path: &str,
        form: Option<(&str, &[u8])>,
        file: Option<&PathBuf>,
    ) -> anyhow::Result<ExitCode> {
        let HttpResponse { status, body } = self.send(behind, method, path, form)?;
        let mut shown = if self.no_status { String::new() } else { format!("Status: {status}\n") };
        match file {
            Some(file) if status == 200 => io::write(Some(file), &body)?,
            _ => shown.push_str(&indented(&body).unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned())),
        }
        io::write(None, format!("{shown}\n").as_bytes())?;
        Ok(if status < 400 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Sends a request, with the node's certificate verified as of `behind` ago. Performs blocking I/O.
    pub(crate) fn send(
        &self,
        behind: Duration,
        method: Method,
        path: &str,
        form: Option<(&str, &[u8])>,
    ) -> anyhow::Result<HttpResponse> {
        let own = self.client_cert.as_deref().zip(self.client_key.as_deref());
        let endpoint = match &self.ca_file {
            Some(roots) => {
                let config = client_config(&ServerTrust::Authorities(vec![roots.clone()]), own, b"http/1.1", behind)?;
                HttpEndpoint::secured(&self.orderer_address, config, None)?
            }
            None => HttpEndpoint::plain(&self.orderer_address),
        };
        let content = form.map(|(part, file)| RequestBody::form(part, file, &hex(&nonce())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
        Ok(runtime.block_on(endpoint.request(method, path, content))?)
    }
}

/// Formats JSON as osnadmin does; returns `None` for anything else.
pub(crate) fn indented(body: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    Json::parse(body).ok()?.write_pretty(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).trim_end().to_owned())
}

pub(crate) fn check_channel(wanted: &ChannelId, found: &str, what: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        wanted.as_str() == found,
        "specified --channelID {wanted} does not match channel ID {found} in {what}"
    );
    Ok(())
}

pub(crate) fn channel_of_block(bytes: &[u8]) -> anyhow::Result<String> {
    let block = Block::decode(bytes).context("no block")?;
    let first = block.data.and_then(|data| data.data.into_iter().next()).context("the block has no envelope")?;
    channel_of_envelope(&first)
}

pub(crate) fn channel_of_envelope(bytes: &[u8]) -> anyhow::Result<String> {
    let Envelope { payload, signature } = Envelope::decode(bytes).context("no envelope")?;
    let message =
        ParsedEnvelope::parse(SignedEnvelope::from_parts(payload, signature)).context("no envelope of a channel")?;
    Ok(message.channel_header.channel_id)
}
