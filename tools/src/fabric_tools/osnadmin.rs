//! `osnadmin`: joins and removes channels of a node. Unlike `orderer channel`, the exit code is 0 whatever the node
//! responded, as with Fabric's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use orderer_client::HttpResponse;
use orderer_core::types::ChannelId;

use crate::commands::channel::{
    CHANNELS, EndpointArguments, channel_of_block, channel_of_envelope, check_channel, duration, indented,
};
use crate::commands::io;
use crate::say;

/// The end of `osnadmin --help`.
pub const AFTER_HELP: &str = "\
Exit codes are those of Fabric's osnadmin: 0 if the node responded, also if it
rejected the request; 1 otherwise. `orderer channel` reports rejections by 1.

Try it:
  osnadmin channel list -o localhost:9443
  osnadmin channel join -o orderer.example.com:9443 --ca-file tlsca.pem \\
      --client-cert admin.crt --client-key admin.key \\
      -c mychannel -b mychannel.block";

/// Arguments of `osnadmin`. As with Fabric's, the endpoint may be named before or after the command.
#[derive(Debug, clap::Args)]
pub struct OsnadminArguments {
    /// The node's admin endpoint
    #[arg(short = 'o', long, value_name = "HOST:PORT", global = true)]
    orderer_address: Option<String>,
    /// Use TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// PEM file of the client certificate
    #[arg(long, value_name = "FILE", global = true)]
    client_cert: Option<PathBuf>,
    /// PEM file of the client certificate's key
    #[arg(long, value_name = "FILE", global = true)]
    client_key: Option<PathBuf>,
    /// Do not print the HTTP status
    #[arg(long, global = true)]
    no_status: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List, join, remove, update and fetch channels
    #[command(subcommand)]
    Channel(ChannelCommand),
}

#[derive(Debug, clap::Subcommand)]
enum ChannelCommand {
    /// List the channels, or one with its height and state
    List {
        /// Channel [default: all]
        #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
        channel: Option<String>,
    },
    /// Join a channel: create it from its genesis block
    #[command(override_usage = "osnadmin channel join -o <HOST:PORT> -c <CHANNEL> -b <FILE> [OPTIONS]")]
    Join {
        /// Channel
        #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
        channel: String,
        /// File with the channel's genesis block
        #[arg(short = 'b', long, value_name = "FILE")]
        config_block: PathBuf,
    },
    /// Remove a channel and its blocks
    #[command(override_usage = "osnadmin channel remove -o <HOST:PORT> -c <CHANNEL> [OPTIONS]")]
    Remove {
        /// Channel
        #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
        channel: String,
    },
    /// Send a signed config update to a channel
    #[command(override_usage = "osnadmin channel update -o <HOST:PORT> -c <CHANNEL> -e <FILE> [OPTIONS]")]
    Update {
        /// Channel
        #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
        channel: String,
        /// File with the signed envelope of the config update
        #[arg(short = 'e', long, value_name = "FILE")]
        config_update_envelope: PathBuf,
        /// Verify the node's certificate as of this long ago, such as 48h
        #[arg(short = 't', long = "tlsHandshakeTimeShift", value_name = "DURATION", default_value = "0",
            value_parser = duration)]
        shift: Duration,
    },
    /// Write a block to a file
    #[command(override_usage = "osnadmin channel fetch -o <ADDR> -c <NAME> -b <BLOCK> -f <FILE> [OPTIONS]")]
    Fetch {
        /// Channel
        #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
        channel: String,
        /// newest, oldest, config, or a number
        #[arg(short = 'b', long = "blockID", value_name = "BLOCK")]
        block: String,
        /// File for the block
        #[arg(short = 'f', long = "outputfile", value_name = "FILE")]
        file: PathBuf,
        /// Verify the node's certificate as of this long ago, such as 48h
        #[arg(short = 't', long = "tlsHandshakeTimeShift", value_name = "DURATION", default_value = "0",
            value_parser = duration)]
        shift: Duration,
    },
}

/// A request, checked before anything is sent.
struct Prepared<'a> {
    endpoint: EndpointArguments,
    method: Method,
    path: String,
    form: Option<(&'static str, Vec<u8>)>,
    shift: Duration,
    file: Option<&'a Path>,
}

/// Sends the request and prints the response. Performs blocking I/O.
pub fn run(arguments: &OsnadminArguments) -> ExitCode {
    let prepared = match arguments.prepared() {
        Ok(prepared) => prepared,
        Err(error) => return super::failed("osnadmin", &format!("parsing arguments: {error:#}. Try --help")),
    };
    match prepared.send() {
        Ok(output) => {
            say!("{output}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say!("Error: {error:#}\n");
            ExitCode::FAILURE
        }
    }
}

impl OsnadminArguments {
    fn prepared(&self) -> anyhow::Result<Prepared<'_>> {
        let address = self.orderer_address.clone().context("required flag --orderer-address not provided")?;
        let endpoint = EndpointArguments {
            orderer_address: address,
            ca_file: self.ca_file.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
            no_status: self.no_status,
        };
        if endpoint.ca_file.is_some() {
            let given = endpoint.client_cert.is_some() && endpoint.client_key.is_some();
            anyhow::ensure!(given, "loading client cert/key pair: --client-cert and --client-key are needed for TLS");
        }
        let Command::Channel(command) = &self.command;
        let plain = |method, path| Prepared { endpoint, method, path, form: None, shift: Duration::ZERO, file: None };
        Ok(match command {
            ChannelCommand::List { channel } => {
                let path = channel.as_deref().filter(|channel| !channel.is_empty());
                plain(Method::GET, path.map_or_else(|| Ok(CHANNELS.to_owned()), of_channel)?)
            }
            ChannelCommand::Join { channel, config_block } => {
                let bytes = io::read(Some(config_block)).context("reading config block")?;
                check_channel(&ChannelId::parse(channel)?, &channel_of_block(&bytes)?, "config block")?;
                Prepared { form: Some(("config-block", bytes)), ..plain(Method::POST, CHANNELS.to_owned()) }
            }
            ChannelCommand::Remove { channel } => plain(Method::DELETE, of_channel(channel)?),
            ChannelCommand::Update { channel, config_update_envelope, shift } => {
                let bytes = io::read(Some(config_update_envelope)).context("reading config update envelope")?;
                let found = channel_of_envelope(&bytes)?;
                check_channel(&ChannelId::parse(channel)?, &found, "config update envelope")?;
                let form = Some(("config-update-envelope", bytes));
                Prepared { form, shift: *shift, ..plain(Method::PUT, CHANNELS.to_owned()) }
            }
            ChannelCommand::Fetch { channel, block, file, shift } => {
                let named = matches!(block.as_str(), "newest" | "oldest" | "config") || block.parse::<u64>().is_ok();
                anyhow::ensure!(named, "'{block}' not equal <newest|oldest|config|(number)>");
                let path = format!("{}/blocks/{block}", of_channel(channel)?);
                Prepared { shift: *shift, file: Some(file), ..plain(Method::GET, path) }
            }
        })
    }
}

/// Returns the path of a channel. The name is checked, because it becomes a part of a URL.
fn of_channel(channel: &str) -> anyhow::Result<String> {
    Ok(format!("{CHANNELS}/{}", ChannelId::parse(channel)?))
}

impl Prepared<'_> {
    /// Returns the text to print.
    fn send(self) -> anyhow::Result<String> {
        let form = self.form.as_ref().map(|(part, bytes)| (*part, &bytes[..]));
        let HttpResponse { status, body } = self.endpoint.send(self.shift, self.method, &self.path, form)?;
        let mut shown = if self.endpoint.no_status { String::new() } else { format!("Status: {status}\n") };
        match self.file {
            _ if body.is_empty() => {}
            Some(file) if status == 200 => io::write(Some(file), &body)?,
            _ => shown.push_str(&indented(&body).context("the node's response is no JSON")?),
        }
        Ok(shown)
    }
}
