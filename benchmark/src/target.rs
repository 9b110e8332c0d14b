//! The targets of a measurement: a node inside this process, a node of its own, or an orderer at an address.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fabric_proto::common::Status as FabricStatus;
use futures_util::StreamExt as _;
use orderer_core::crypto::Signer;

use super::child_node::ChildNode;
use super::cpu_time::{self, Owner};
use super::in_process::{InsideNode, RunInside};
use super::load_generator::{self, Observations, Transport};
use super::profile::{Profiler, write_profile};
use super::report::{Run, Settings};
use super::workload::{Workload, public_key};
use super::{CLIENT_THREADS, Progress};
use orderer_client::{BlockPosition, OrdererClient, OrdererTarget, seek, seek_info};
use orderer_localconfig::settings::ConfigSource;
use tokio::task::JoinHandle;

/// The channels and the signer of requests.
#[derive(Clone)]
pub struct RequestOptions {
    /// The channels' names, at least one.
    pub channels: Vec<String>,
    /// Signs the requests.
    pub signer: Arc<dyn Signer>,
}

/// The network of nodes that are started.
#[derive(Clone, Debug)]
pub struct OwnNetwork {
    /// Configuration file of a node.
    pub config_file: PathBuf,
    /// Blocks 0 of the channels, in the order of their names in [`RequestOptions`].
    pub genesis_blocks: Vec<PathBuf>,
}

/// The profile to take of a node that is started.
#[derive(Clone, Debug)]
pub struct ProfileOptions {
    /// The file: a flame graph if its name ends in `.svg`, otherwise in pprof's format.
    pub file: PathBuf,
    /// Duration of the profile, from the beginning of the first run.
    pub duration: Duration,
}

/// A target of the measurement. Dropping it ends what it started.
pub struct BenchmarkTarget {
    profile: Option<(Profiler, ProfileOptions)>,
    name: String,
    what: String,
    asking: RequestOptions,
    place: Place,
    owner: Owner,
}

enum Place {
    Inside(InsideNode),
    Child(#[expect(dead_code, reason = "ends when it is dropped")] ChildNode, OrdererTarget),
    Address(OrdererTarget),
}

impl BenchmarkTarget {
    /// Starts a node of the network, inside this process, over empty ledgers in `ledger`.
    pub async fn inside(
        run: RunInside,
        network: &OwnNetwork,
        ledger: &Path,
        durability: &str,
        asking: RequestOptions,
    ) -> anyhow::Result<Self> {
        let variables = [
            ("ORDERER_FILELEDGER_LOCATION", ledger.display().to_string()),
            ("ORDERER_SOLO_DURABILITY", durability.to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        let file = Some(network.config_file.clone());
        let origin = ConfigSource { file, working_folder: ledger.to_owned(), variables };
        let loaded = orderer_localconfig::settings::load(origin).map_err(|mistakes| {
            anyhow::anyhow!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let genesis = network.genesis_blocks.clone();
        let node = InsideNode::start(run, loaded.settings, genesis, asking.channels.clone()).await?;
        Ok(Self {
            name: "in-process".to_owned(),
            what: "a node inside this process, called without a network".to_owned(),
            asking,
            place: Place::Inside(node),
            owner: Owner::OwnWithout(CLIENT_THREADS),
            profile: None,
        })
    }

    /// Starts a node of the network, as a process of its own on loopback, over empty ledgers in `ledger`.
    pub async fn child(
        network: &OwnNetwork,
        ledger: &Path,
        durability: &str,
        asking: RequestOptions,
        profile: Option<ProfileOptions>,
    ) -> anyhow::Result<Self> {
        let OwnNetwork { config_file, genesis_blocks } = network;
        let profiled = profile.is_some();
        let node =
            ChildNode::start(config_file, genesis_blocks, ledger, durability, &asking.channels, profiled).await?;
        let profile = profile.and_then(|options| Some((Profiler::at(node.profiler.as_deref()?), options)));
        let target =
            OrdererTarget { address: node.address.clone(), tls: None, connect_timeout: Duration::from_secs(5) };
        Ok(Self {
            name: "grpc".to_owned(),
            what: "a process of its own, over gRPC on loopback without TLS".to_owned(),
            asking,
            owner: Owner::Process(node.id()),
            profile,
            place: Place::Child(node, target),
        })
    }

    /// Measures an orderer at an address; `process` is its ID if it runs on this machine.
    pub fn at(target: OrdererTarget, process: Option<u32>, asking: RequestOptions) -> Self {
        let secured = if target.tls.is_some() { "TLS" } else { "no TLS" };
        Self {
            name: target.address.clone(),
            what: format!("over gRPC at {}, {secured}", target.address),
            asking,
            owner: process.map_or(Owner::Unknown, Owner::Process),
            profile: None,
            place: Place::Address(target),
        }
    }

    /// Returns the name in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the description.
    pub fn what(&self) -> &str {
        &self.what
    }

    async fn line(&self) -> anyhow::Result<Transport> {
        Ok(match &self.place {
            Place::Inside(node) => Transport::Inside(OrdererClient::new(node.service.clone())),
            Place::Child(_, target) | Place::Address(target) => Transport::Grpc(target.connect().await?),
        })
    }

    fn certificate_hash(&self) -> Option<[u8; 32]> {
        match &self.place {
            Place::Address(target) => target.certificate_hash(),
            Place::Inside(_) | Place::Child(..) => None,
        }
    }

    /// Requests the latest block of the first channel from an orderer at an address, so that its rejections are reported before anything is
    /// started.
    pub async fn smoke_test(&self, patience: Duration) -> anyhow::Result<()> {
        if !matches!(self.place, Place::Address(_)) {
            return Ok(());
        }
        let RequestOptions { channels, signer } = &self.asking;
        let channel = channels.first().context("no channel to ask for")?;
        let info = seek_info(BlockPosition::Newest, BlockPosition::Newest, false, false);
        let request = seek(&**signer, channel, &info, self.certificate_hash())?;
        let mut answers = self.line().await?.deliver(request);
        let answer = tokio::time::timeout(patience, answers.next()).await;
        let answer = answer.ok().flatten().with_context(|| format!("{}: it answers nothing", self.name))?;
        let answer = answer.with_context(|| self.name.clone())?;
        if answer.block.is_some() {
            return Ok(());
        }
        let status = answer.status.and_then(|status| FabricStatus::try_from(status).ok()).unwrap_or_default();
        let key = public_key(&**signer)?;
        let hint = match status {
            FabricStatus::Forbidden if key.is_ed25519() => {
                "; an identity with an Ed25519 key counts from channel capability V3_0 on"
            }
            _ => "",
        };
        anyhow::bail!(
            "{}: a request for a block of channel {channel} ends with {}{hint}",
            self.name,
            status.as_str_name()
        )
    }

    /// Sends the first `count` envelopes of the load and waits for their blocks, then verifies some of its
    /// signatures.
    pub(super) async fn run(
        &self,
        load: &Arc<Workload>,
        count: usize,
        settings: &Settings,
        progress: &mut (impl FnMut(Progress) + ?Sized),
    ) -> anyhow::Result<Run> {
        let before = self.allocations().await?;
        let (seen, used) = self.drive(load, count, settings, progress).await?;
        let allocations = before.zip(self.allocations().await?).map(|(before, after)| after.saturating_sub(before));
        let load = Arc::clone(load);
        let verification = tokio::task::spawn_blocking(move || cpu_time::verification(&load)).await??;
        Ok(Run::new(seen, used, verification, allocations))
    }

    async fn allocations(&self) -> anyhow::Result<Option<u64>> {
        match &self.profile {
            Some((profiler, _)) => profiler.allocations().await.map(Some),
            None => Ok(None),
        }
    }

    /// Begins the profile, if one is wanted.
    pub(super) fn begin_profile(&self) -> Option<JoinHandle<anyhow::Result<Vec<u8>>>> {
        self.profile.as_ref().map(|(profiler, options)| profiler.begin(options.duration))
    }

    /// Waits for the profile and writes it.
    pub(super) async fn end_profile(&self, taken: JoinHandle<anyhow::Result<Vec<u8>>>) -> anyhow::Result<()> {
        let Some((_, options)) = &self.profile else { return Ok(()) };
        let profile = taken.await.context("take a profile")?.context("take a profile")?;
        let title = format!("CPU time of {}, {} s", self.what, options.duration.as_secs());
        write_profile(&profile, &options.file, &title)
    }

    /// Sends the first `count` envelopes of the load and waits for their blocks. Returns the observations, and the
    /// CPU time that the target used.
    pub(super) async fn drive(
        &self,
        load: &Arc<Workload>,
        count: usize,
        settings: &Settings,
        progress: &mut (impl FnMut(Progress) + ?Sized),
    ) -> anyhow::Result<(Observations, Option<Duration>)> {
        let (mut lines, mut followers) = (Vec::new(), Vec::new());
        for _ in 0..settings.streams {
            lines.push(self.line().await.with_context(|| self.name.clone())?);
        }
        for _ in 0..settings.subscribers.max(1) {
            followers.push(self.line().await.with_context(|| self.name.clone())?);
        }
        let RequestOptions { channels, signer } = &self.asking;
        let info = seek_info(BlockPosition::Newest, BlockPosition::Number(u64::MAX), true, false);
        let seeks = channels.iter().map(|channel| seek(&**signer, channel, &info, self.certificate_hash()));
        let seeks = seeks.collect::<Result<Vec<_>, _>>()?;
        let before = self.owner.used();
        let seen = load_generator::run(lines, followers, &seeks, load, count, settings, progress).await;
        let seen = seen.with_context(|| self.name.clone())?;
        let used = before.zip(self.owner.used()).map(|(before, after)| after.saturating_sub(before));
        Ok((seen, used))
    }
}
