//! `orderer client`: sample clients, of this or any other orderer.

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
use crate::commands::output::complain;
use crate::dev::{self, DevNetwork};
use orderer_client::{ClientTls, Orderer, Target};
use orderer_localconfig::environment::{load_settings, variables};

/// Subcommands of `orderer client`.
#[derive(Debug, clap::Subcommand)]
pub enum ClientCommand {
    /// Send envelopes, or lines of text as transactions, and print each answer
    #[command(after_help = broadcast::AFTER_HELP)]
    Broadcast(broadcast::BroadcastArguments),
    /// Follow a channel: a line of JSON a block, or a table on a terminal
    Deliver(deliver::DeliverArguments),
    /// Write a block to a file
    Fetch(fetch::FetchArguments),
}

/// Which orderer, and who asks. As in Fabric's `peer`; none of it is needed with a development network (`orderer start
/// --dev`) in the working folder.
#[derive(Debug, clap::Args)]
pub struct ConnectArguments {
    /// The orderer, HOST:PORT [default: the development network's]
    #[arg(short = 'o', long = "orderer", visible_alias = "address", value_name = "HOST:PORT")]
    pub orderer: Option<String>,
    /// Connect by TLS
    #[arg(long)]
    tls: bool,
    /// With --tls: certificates of the authorities that the orderer's leads to, PEM
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// With --tls: show the certificate --certfile with the key --keyfile
    #[arg(long)]
    clientauth: bool,
    /// Certificate for --clientauth, PEM
    #[arg(long, value_name = "FILE")]
    certfile: Option<PathBuf>,
    /// Key for --clientauth, PEM
    #[arg(long, value_name = "FILE")]
    keyfile: Option<PathBuf>,
    /// The name that the orderer's certificate is for, if it is not that in the address
    #[arg(long = "ordererTLSHostnameOverride", value_name = "NAME")]
    name: Option<String>,
    /// How long connecting may take, in seconds
    #[arg(long = "connTimeout", value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    connect_timeout: Duration,
    #[command(flatten)]
    signer: SignerArguments,
    /// Folder of the development network that fills in what is not given [default: orderer-dev]
    #[arg(long, value_name = "DIR")]
    dev: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds = number.parse().map_err(|_| "a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "a number of seconds".to_owned())
}

/// What a client command works with.
pub struct Connecting {
    /// The orderer.
    pub target: Target,
    /// Signs the requests.
    pub signer: Arc<dyn Signer>,
    /// Name of the signer's MSP, for messages.
    msp_id: String,
    dev: Option<DevNetwork>,
}

impl ConnectArguments {
    /// Puts together what was given, what the environment says, and the development network.
    pub fn resolve(&self) -> anyhow::Result<Connecting> {
        self.resolve_as(None)
    }

    /// The same; who signs, if nothing says so: MSP folder and name of `default`, otherwise the development network's client.
    pub fn resolve_as(&self, default: Option<(PathBuf, String)>) -> anyhow::Result<Connecting> {
        let dev = DevNetwork::find(self.dev_folder().unwrap_or(Path::new(DEV_FOLDER)));
        let (identity, msp_id) = self.signer.read(default.or_else(|| dev.as_ref().map(DevNetwork::client)))?;
        let signer: Arc<dyn Signer> = Arc::new(identity);
        let target = match (&self.orderer, &dev) {
            (Some(address), _) => {
                Target { address: address.clone(), tls: self.tls()?, connect_timeout: self.connect_timeout }
            }
            (None, Some(network)) => self.dev_target(network)?,
            (None, None) => anyhow::bail!(
                "no orderer: name one with -o HOST:PORT, or begin a development network here with `orderer start --dev`"
            ),
        };
        Ok(Connecting { target, signer, msp_id, dev })
    }

    /// The development network's folder, if one was named.
    pub fn dev_folder(&self) -> Option<&Path> {
        self.dev.as_deref()
    }

    /// How long a connection may take to be made.
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

    /// The development node, as its own configuration says, with TLS if that is turned on there.
    fn dev_target(&self, network: &DevNetwork) -> anyhow::Result<Target> {
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
        Ok(Target { address, tls, connect_timeout: self.connect_timeout })
    }
}

impl Connecting {
    /// The channel that was named, or the development network's.
    pub fn channel(&self, given: Option<&str>) -> anyhow::Result<String> {
        match given {
            Some(name) => Ok(name.to_owned()),
            None if self.dev.is_some() => Ok(dev::APPLICATION_CHANNEL.to_owned()),
            None => anyhow::bail!("no channel: name one with -c CHANNEL"),
        }
    }

    async fn connect(&self) -> anyhow::Result<Orderer<Channel>> {
        let connected = self.target.connect().await;
        if connected.is_err() && self.dev.is_some() {
            return connected.context("is the development node running? `orderer start --dev` starts it");
        }
        Ok(connected?)
    }
}

/// Runs one of them until it ends or a signal does. Blocks.
pub fn run(command: ClientCommand) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain([format!("start: {error}")]),
    };
    let done = runtime.block_on(async {
        match command {
            ClientCommand::Broadcast(arguments) => broadcast::run(arguments).await,
            ClientCommand::Deliver(arguments) => deliver::run(arguments).await,
            ClientCommand::Fetch(arguments) => fetch::run(arguments).await,
        }
    });
    // standard input may be waited for on a thread that nothing else can end
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => complain([format!("{error:#}")]),
    }
}

/// Whoever read what is printed has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints a line.
fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(line)?;
    out.write_all(b"\n")?;
    out.flush()
}
