//! The chains of a running node, which it hands out block by block through its admin endpoint.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use orderer_client::{HttpEndpoint, HttpResponse, HttpSession, ServerTrust, client_config};
use orderer_core::block::{ChainVerifier, EncodedBlock};
use orderer_core::config::ConfigCache;
use orderer_core::types::{BlockNumber, ChannelId};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::list;
use crate::commands::channel::CHANNELS;
use crate::commands::progress::Progress;

/// Status codes with which a node without the list of retained blocks responds: Fabric's, or an earlier version.
const NO_LIST: [u16; 2] = [404, 405];

/// A running node, and the TLS files for it.
#[derive(Debug, clap::Args)]
pub struct NodeArguments {
    /// Read from the running node with this admin endpoint
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "ledger"])]
    pub from_node: Option<String>,
    #[command(flatten)]
    pub tls: TlsArguments,
}

/// The TLS files for an admin endpoint.
#[derive(Debug, clap::Args)]
pub struct TlsArguments {
    /// Use TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// PEM file of the client certificate
    #[arg(long, value_name = "FILE", requires = "ca_file", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// PEM file of the client certificate's key
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

/// A connection to a node.
pub(super) struct RemoteNode {
    runtime: Runtime,
    session: HttpSession,
    catalog: Arc<ConfigCache>,
}

/// The part of a chain that exists at one moment. Its blocks never change, so what is read later is consistent.
pub(super) struct RemoteChain {
    pub(super) channel: ChannelId,
    pub(super) height: u64,
    pub(super) horizon: u64,
    history: Vec<u64>,
}

/// The blocks that were read and verified.
#[derive(Debug, Default)]
pub(super) struct RemoteReport {
    pub(super) blocks: u64,
    pub(super) config_blocks: u64,
    pub(super) bytes: u64,
}

#[derive(Deserialize)]
struct ChannelList {
    #[serde(rename = "systemChannel")]
    system_channel: Option<ChannelName>,
    channels: Option<Vec<ChannelName>>,
}

#[derive(Deserialize)]
struct ChannelName {
    name: String,
}

#[derive(Deserialize)]
struct Retained {
    height: u64,
    #[serde(default)]
    horizon: u64,
    #[serde(default)]
    history: Vec<u64>,
}

impl RemoteNode {
    /// Connects to the admin endpoint at this address.
    pub(super) fn connect(address: &str, tls: &TlsArguments) -> anyhow::Result<Self> {
        let own = tls.client_cert.as_deref().zip(tls.client_key.as_deref());
        let endpoint = match &tls.ca_file {
            Some(roots) => {
                let trust = ServerTrust::Authorities(vec![roots.clone()]);
                let config = client_config(&trust, own, b"http/1.1", Duration::ZERO)?;
                HttpEndpoint::secured(address, config, None)?
            }
            None => HttpEndpoint::plain(address),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
        let session = runtime.block_on(endpoint.session())?;
        Ok(Self { runtime, session, catalog: Arc::default() })
    }

    /// Returns the chains of the named channels, or all, as they are now.
    pub(super) fn chains(&mut self, named: &[String]) -> anyhow::Result<Vec<RemoteChain>> {
        let ChannelList { system_channel, channels } = self.json(CHANNELS)?;
        let names = system_channel.into_iter().chain(channels.into_iter().flatten());
        let there = names.map(|channel| Ok(ChannelId::parse(&channel.name)?)).collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(name) = named.iter().find(|name| !there.iter().any(|id| id.as_str() == *name)) {
            anyhow::bail!("channel {name}: the node does not have it; there are {}", list(&there));
        }
        let wanted = there.into_iter().filter(|id| named.is_empty() || named.iter().any(|name| id.as_str() == name));
        wanted.map(|channel| self.chain(channel)).collect()
    }

    fn chain(&mut self, channel: ChannelId) -> anyhow::Result<RemoteChain> {
        let path = format!("{CHANNELS}/{channel}");
        let listed = self.get(&format!("{path}/blocks"))?;
        let Retained { height, horizon, history } = if NO_LIST.contains(&listed.status) {
            self.json(&path)?
        } else {
            parsed(&listed).with_context(|| format!("channel {channel}"))?
        };
        anyhow::ensure!(
            height > horizon && history.iter().all(|&number| number < horizon),
            "channel {channel}: the node has no blocks of it yet (height {height})"
        );
        Ok(RemoteChain { channel, height, horizon, history })
    }

    /// Hands over each block in order, verified as the next of the chain.
    pub(super) fn read(
        &mut self,
        chain: &RemoteChain,
        what: &str,
        work: &mut dyn FnMut(&EncodedBlock) -> anyhow::Result<()>,
    ) -> anyhow::Result<RemoteReport> {
        let channel = &chain.channel;
        let mut check = ChainVerifier::new(Some(channel.clone()), Arc::clone(&self.catalog));
        let total = chain.history.len() as u64 + chain.height - chain.horizon;
        let mut progress = Progress::of(format!("{what} {channel}"), total);
        let mut report = RemoteReport::default();
        for number in chain.history.iter().copied().chain(chain.horizon..chain.height) {
            let block = self.block(channel, BlockNumber(number))?;
            // the first block after removed ones is verified by its signature over the previous hash
            let verified =
                if number <= chain.horizon { check.verify_next_pruned(&block) } else { check.verify_next(&block) };
            verified.with_context(|| format!("channel {channel}"))?;
            work(&block)?;
            report.blocks += 1;
            report.bytes += block.size_bytes() as u64;
            progress.at(report.blocks);
        }
        report.config_blocks = check.config_blocks();
        Ok(report)
    }

    fn block(&mut self, channel: &ChannelId, number: BlockNumber) -> anyhow::Result<EncodedBlock> {
        let place = || format!("channel {channel}: block {number}");
        let response = self.get(&format!("{CHANNELS}/{channel}/blocks/{number}"))?;
        anyhow::ensure!(response.status == 200, "{}: the node responded {}", place(), shown(&response));
        EncodedBlock::parse(&response.body).with_context(place)
    }

    fn json<T: for<'a> Deserialize<'a>>(&mut self, path: &str) -> anyhow::Result<T> {
        let response = self.get(path)?;
        parsed(&response).with_context(|| path.to_owned())
    }

    fn get(&mut self, path: &str) -> anyhow::Result<HttpResponse> {
        Ok(self.runtime.block_on(self.session.get(path))?)
    }
}

fn parsed<T: for<'a> Deserialize<'a>>(response: &HttpResponse) -> anyhow::Result<T> {
    anyhow::ensure!(response.status == 200, "the node responded {}", shown(response));
    serde_json::from_slice(&response.body).context("the node's response is no JSON that is known here")
}

/// Describes a response that is an error.
fn shown(HttpResponse { status, body }: &HttpResponse) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_slice(body) {
        Ok(Refusal { error }) => format!("{status}: {error}"),
        Err(_) => status.to_string(),
    }
}
