//! `orderer client`: sample clients for this orderer and for Fabric's.

mod broadcast;
mod deliver;
mod fetch;

pub(super) use fetch::newest_config;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use orderer_core::crypto::Signer;
use tonic::transport::Channel;

use super::DEV_FOLDER;
use super::identity::SignerArguments;
use crate::commands::output::print_errors;
use crate::dev_network::{self, DevNetwork};
use orderer_client::{ClientTls, OrdererClient, OrdererTarget};
use orderer_localconfig::environment::{load_settings, variables};

/// Subcommands of `orderer client`.
#[derive(Debug, clap::Subcommand)]
pub enum ClientCommand {
    /// Send envelopes, or lines of text as transactions, and print each response
    #[command(after_help = broadcast::AFTER_HELP)]
    Broadcast(broadcast::BroadcastArguments),
    /// Receive a channel's blocks: as JSON lines, or as a table on a terminal
    Deliver(deliver::DeliverArguments),
    /// Write a block to a file
    Fetch(fetch::FetchArguments),
}

/// The orderer to connect to, and the client's identity. The flags are those of Fabric's `peer`. None is required if
/// the working directory contains a development network (`orderer start --dev`).
#[derive(Debug, clap::Args)]
pub struct ConnectArguments {
    /// Address of the orderer [default: the development network's]
    #[arg(short = 'o', long = "orderer", visible_alias = "address", value_name = "HOST:PORT")]
    pub orderer: Option<String>,
    /// Use TLS
    #[arg(long)]
    tls: bool,
    /// With --tls: PEM file of the authorities of the orderer's certificate
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// With --tls: present a client certificate, from --certfile and --keyfile
    #[arg(long)]
    clientauth: bool,
    /// PEM file of the client certificate, for --clientauth
    #[arg(long, value_name = "FILE")]
    certfile: Option<PathBuf>,
    /// PEM file of the client certificate's key, for --clientauth
    #[arg(long, value_name = "FILE")]
    keyfile: Option<PathBuf>,
    /// Name in the orderer's certificate [default: the host in the address]
    #[arg(long = "ordererTLSHostnameOverride", value_name = "NAME")]
    name: Option<String>,
    /// Time limit for connecting, in seconds
    #[arg(long = "connTimeout", value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    connect_timeout: Duration,
    #[command(flatten)]
    signer: SignerArguments,
    /// Folder of the development network that supplies defaults [default: orderer-dev]
    #[arg(long, value_name = "DIR")]
    dev: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds = number.parse().map_err(|_| "a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "a number of seconds".to_owned())
}

/// The resolved arguments of a client command.
pub struct ConnectionConfig {
    /// The orderer to connect to.
    pub target: OrdererTarget,
    /// Signs the requests.
    pub signer: Arc<dyn Signer>,
    /// ID of the signer's MSP, for messages.
    msp_id: String,
    dev: Option<DevNetwork>,
}

impl ConnectArguments {
    /// Combines the arguments, the environment variables and the development network.
    pub fn resolve(&self) -> anyhow::Result<ConnectionConfig> {
        self.resolve_as(None)
    }

    /// Combines the arguments, the environment variables and the development network. Without a signing identity in
    /// them, uses `default` (MSP directory and MSP ID), otherwise the development network's client.
    pub fn resolve_as(&self, default: Option<(PathBuf, String)>) -> anyhow::Result<ConnectionConfig> {
        let dev = DevNetwork::find(self.dev_folder().unwrap_or(Path::new(DEV_FOLDER)));
        let (identity, msp_id) = self.signer.read(default.or_else(|| dev.as_ref().map(DevNetwork::client)))?;
        let signer: Arc<dyn Signer> = Arc::new(identity);
        let target = match (&self.orderer, &dev) {
            (Some(address), _) => {
                OrdererTarget { address: address.clone(), tls: self.tls()?, connect_timeout: self.connect_timeout }
            }
            (None, Some(network)) => self.dev_target(network)?,
            (None, None) => anyhow::bail!(
                "no orderer: name one with -o HOST:PORT, or begin a development network here with `orderer start --dev`"
            ),
        };
        Ok(ConnectionConfig { target, signer, msp_id, dev })
    }

    /// Returns the value of `--dev`.
    pub fn dev_folder(&self) -> Option<&Path> {
        self.dev.as_deref()
    }

    /// Returns the time limit for connecting.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn tls(&self) -> anyhow::Result<Option<ClientTls>> {
        if !self.tls {
            anyhow::ensure!(!self.clientauth && self.cafile.is_none(), "--cafile and --clientauth are for --tls");
            return Ok(None);
        }
        let cafile = self
            .cafile
            .as_ref()
            .context("--tls needs --cafile FILE, the authority that the orderer's certificate leads to")?;
        let tls = ClientTls::new(cafile, self.name.clone())?;
        if !self.clientauth {
            return Ok(Some(tls));
        }
        let certificate = self.certfile.as_ref().context("--clientauth needs --certfile")?;
        let key = self.keyfile.as_ref().context("--clientauth needs --keyfile")?;
        Ok(Some(tls.show(certificate, key)?))
    }

    /// Returns the address of the development network's node from its configuration, with TLS if it is enabled there.
    fn dev_target(&self, network: &DevNetwork) -> anyhow::Result<OrdererTarget> {
        let loaded = load_settings(Some(network.config_file.clone()), &variables());
        let settings = loaded.map_err(|mistakes| anyhow::anyhow!(mistakes.join("; ")))?.settings;
        let tls = match (&settings.tls, self.tls) {
            (None, false) => None,
            (_, true) => self.tls()?,
            (Some(_), false) => {
                let (certificate, key) = network.client_tls();
                let tls = ClientTls::new(&network.orderer_tls_root(), Some("localhost".to_owned()))?;
                Some(tls.show(&certificate, &key)?)
            }
        };
        let address = settings.listen.to_string();
        Ok(OrdererTarget { address, tls, connect_timeout: self.connect_timeout })
    }
}

impl ConnectionConfig {
    /// Returns the given channel, or the development network's.
    ///
    /// # Errors
    /// Fails if there is neither.
    pub fn channel(&self, given: Option<&str>) -> anyhow::Result<String> {
        match given {
            Some(name) => Ok(name.to_owned()),
            None if self.dev.is_some() => Ok(dev_network::APPLICATION_CHANNEL.to_owned()),
            None => anyhow::bail!("no channel: name one with -c CHANNEL"),
        }
    }

    async fn connect(&self) -> anyhow::Result<OrdererClient<Channel>> {
        let connected = self.target.connect().await;
        if connected.is_err() && self.dev.is_some() {
            return connected.context("is the development node running? `orderer start --dev` starts it");
        }
        Ok(connected?)
    }
}

/// Runs a client command. Blocks the thread until it has ended.
pub fn run(command: ClientCommand) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return print_errors([format!("start: {error}")]),
    };
    let done = runtime.block_on(async {
        match command {
            ClientCommand::Broadcast(arguments) => broadcast::run(arguments).await,
            ClientCommand::Deliver(arguments) => deliver::run(arguments).await,
            ClientCommand::Fetch(arguments) => fetch::run(arguments).await,
        }
    });
    // a thread that is blocked reading standard input must not delay the exit
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => print_errors([format!("{error:#}")]),
    }
}

/// Returns whether the reader of standard output has closed the pipe, which is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints a line on standard output.
fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(line)?;
    out.write_all(b"\n")?;
    out.flush()
}
