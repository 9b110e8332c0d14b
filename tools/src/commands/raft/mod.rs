//! `orderer raft check`: checks whether the consenters of a channel can connect to each other.

mod checks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::join_all;
use orderer_actors::node_context::unix_now;
use orderer_cluster::{ClientSettings, Identity, PinnedKey, Probe, Roots, run_probe};
use orderer_core::config::{ChannelSnapshot, ConfigCache, consensus_metadata};
use orderer_kafka::check::{Finding, Severity};
use orderer_localconfig::environment::{find_settings, variables};
use orderer_localconfig::settings::{self, ClusterSettings, Settings};
use orderer_x509::{Certificate, pem};

use super::client::{ConnectArguments, newest_config};
use super::output::print_errors;
use super::{config_file, subjects};
use checks::{Facts, Named, Own, Pinned, judge};

/// Arguments of `orderer raft check`.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// Configuration file, as for `orderer start`. The check connects to the consenters with this node's certificate
    /// and settings; without --block, -o and --dev it checks the channels in this node's ledgers, while the node is
    /// stopped
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// File with a config block of the channel
    #[arg(long, value_name = "FILE", conflicts_with = "orderer")]
    block: Option<PathBuf>,
    /// Name of the channel [default with --config alone: every channel of type etcdraft]
    #[arg(short = 'c', long = "channelID", visible_alias = "channel", value_name = "NAME")]
    channel: Option<String>,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// The node whose configuration was read.
struct Node {
    settings: Settings,
    cluster: ClusterSettings,
    identity: Identity,
    roots: Vec<Arc<Certificate>>,
}

/// Finds the channels, connects to their consenters, and prints each finding.
pub fn run(arguments: &CheckArguments) -> ExitCode {
    let settings = match read_settings(arguments) {
        Ok(settings) => settings,
        Err(mistakes) => return print_errors(mistakes),
    };
    check(arguments, settings).unwrap_or_else(|error| print_errors([format!("{error:#}")]))
}

/// Reads the settings from the named configuration file, or from the file that `orderer start` would use. Returns
/// `None` if there is no file.
///
/// # Errors
/// Fails with a line for each error of the configuration.
fn read_settings(arguments: &CheckArguments) -> Result<Option<Settings>, Vec<String>> {
    let dev = arguments.connect.dev_folder().map(PathBuf::from);
    let config = config_file(arguments.config.as_ref(), dev.as_ref());
    let origin = find_settings(config, &variables()).map_err(|mistake| vec![mistake.to_string()])?;
    if origin.file.is_none() {
        return Ok(None);
    }
    let examined = settings::examine(&origin);
    if examined.mistakes.is_empty() {
        return Ok(examined.settings);
    }
    Err(examined.mistakes.iter().map(ToString::to_string).collect())
}

/// Prints each finding. Returns 0 if none is an error.
fn check(arguments: &CheckArguments, settings: Option<Settings>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let channels = channels(arguments, settings.as_ref(), &runtime)?;
    let node = settings.map(Node::read).transpose()?.flatten();
    let mut worst = Severity::Fine;
    for snapshot in channels {
        let (facts, places) = runtime.block_on(facts(&snapshot, node.as_ref()))?;
        say!("channel {}, consenters {}", snapshot.channel(), places.join(", "));
        for (place, Finding { level, found, fix }) in judge(&facts) {
            let place = place.map_or_else(String::new, |at| format!("{}: ", places[at]));
            say!("  {level:<8} {place}{found}");
            if let Some(fix) = fix {
                say!("           fix: {fix}");
            }
            worst = worst.max(level);
        }
    }
    Ok(if worst == Severity::Error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Reads the configurations of the channels to check: from the block file, from a running orderer, or from the ledgers.
fn channels(
    arguments: &CheckArguments,
    settings: Option<&Settings>,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Vec<ChannelSnapshot>> {
    let catalog = Arc::<ConfigCache>::default();
    let is_raft = |snapshot: &ChannelSnapshot| snapshot.orderer().consensus_type == "etcdraft";
    let one = if let Some(file) = &arguments.block {
        subjects::read_block(file, &catalog).with_context(|| format!("block {}", file.display()))?
    } else if arguments.connect.orderer.is_some() || arguments.connect.dev_folder().is_some() {
        let own = settings.map(|settings| (settings.local_msp_dir.clone(), settings.local_msp_id.clone()));
        let connecting = arguments.connect.resolve_as(own)?;
        let channel = connecting.channel(arguments.channel.as_deref())?;
        let block = runtime.block_on(newest_config(&connecting, &channel))?;
        ChannelSnapshot::from_config_block(&block.decode(), &catalog)?
    } else {
        let settings =
            settings.context("nothing to look at: give --block FILE, -o HOST:PORT, --dev or --config FILE")?;
        let wanted = arguments.channel.as_deref();
        let hint = "give --block, or -o HOST:PORT while the node runs";
        let found = subjects::of_ledgers(settings, wanted, hint, &catalog, |_, snapshot| Ok(snapshot))?;
        let found: Vec<_> = found.into_iter().filter(is_raft).collect();
        anyhow::ensure!(!found.is_empty(), "no such channel of type etcdraft is here; {hint}");
        return Ok(found);
    };
    anyhow::ensure!(
        is_raft(&one),
        "channel {} is of type {}, and not etcdraft",
        one.channel(),
        one.orderer().consensus_type
    );
    if let Some(wanted) = &arguments.channel {
        anyhow::ensure!(one.channel().as_str() == wanted, "the block is one of channel {}", one.channel());
    }
    Ok(vec![one])
}

impl Node {
    /// Reads the node's certificates. Returns `None` without TLS, because the node then connects to no other orderer.
    fn read(settings: Settings) -> anyhow::Result<Option<Self>> {
        let Some(cluster) = settings.cluster.clone() else { return Ok(None) };
        let read = |file: &PathBuf| std::fs::read(file).with_context(|| file.display().to_string());
        let identity = Identity::from_pem(&read(&cluster.client_certificate)?, &read(&cluster.client_key)?)
            .with_context(|| format!("General.Cluster.ClientCertificate {}", cluster.client_certificate.display()))?;
        let mut roots = Vec::new();
        for file in &cluster.roots {
            roots.extend(authorities_in(&read(file)?));
        }
        Ok(Some(Self { settings, cluster, identity, roots }))
    }

    fn own(&self) -> anyhow::Result<Own> {
        let listener = self.cluster.listener.as_ref().map(|listener| &listener.tls).or(self.settings.tls.as_ref());
        let server_key = match listener {
            Some(files) => {
                let file = &files.certificate;
                let text = std::fs::read(file).with_context(|| file.display().to_string())?;
                PinnedKey::of_pem(&text).ok()
            }
            None => None,
        };
        Ok(Own { server_key, client_key: self.identity.key().clone() })
    }
}

fn authorities_in(text: &[u8]) -> Vec<Arc<Certificate>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((block, behind)) = pem::decode(rest) {
        found.extend(Certificate::parse(&block.contents).ok().map(Arc::new));
        rest = behind;
    }
    found
}

/// Connects to the consenters of a channel. Returns the facts, and the endpoint of each consenter for the output.
async fn facts(snapshot: &ChannelSnapshot, node: Option<&Node>) -> anyhow::Result<(Facts, Vec<String>)> {
    let named = consensus_metadata(snapshot).with_context(|| format!("channel {}", snapshot.channel()))?.consenters;
    let mut authorities: Vec<_> = node.map(|node| node.roots.clone()).unwrap_or_default();
    let organizations = &snapshot.orderer().organizations;
    for msp in snapshot.msps().iter().filter(|msp| organizations.values().any(|id| id == msp.id())) {
        authorities.extend(msp.tls_roots().iter().chain(msp.tls_intermediates()).cloned());
    }
    let roots = Roots::new(authorities.iter().cloned());
    let (mut consenters, mut probes) = (Vec::new(), Vec::new());
    for consenter in named {
        let server = Pinned::read(&consenter.server_tls_cert);
        let host = consenter.host;
        let endpoint = if host.contains(':') {
            format!("[{host}]:{}", consenter.port)
        } else {
            format!("{host}:{}", consenter.port)
        };
        probes.push(Probe {
            // no process listens on port 0, so an invalid port is reported as unreachable
            port: u16::try_from(consenter.port).unwrap_or(0),
            key: server.key().cloned(),
            identity: node.map(|node| node.identity.clone()),
            roots: roots.clone(),
            settings: node.map_or_else(ClientSettings::default, |node| node.cluster.connections.clone()),
            host,
        });
        consenters.push(Named { endpoint, server, client: Pinned::read(&consenter.client_tls_cert) });
    }
    let seen = join_all(probes.iter().map(run_probe)).await;
    let places = consenters.iter().map(|named| named.endpoint.clone()).collect();
    let own = node.map(Node::own).transpose()?;
    Ok((Facts { consenters, seen, authorities, own, now: unix_now().0 }, places))
}
