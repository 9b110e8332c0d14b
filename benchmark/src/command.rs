//! `orderer benchmark`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use orderer_core::crypto::Signer;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    BenchmarkTarget, OwnNetwork, Payload, ProfileOptions, Program, Progress as Step, Report, RequestOptions, RunInside,
    Settings, Workload, client_runtime, file_system, html, measure, public_key, text,
};
use orderer_client::OrdererTarget;
use orderer_localconfig::local_msp::read_signing_identity;
use orderer_tools::commands::client::ConnectArguments;
use orderer_tools::commands::crypto::Keys;
use orderer_tools::commands::io;
use orderer_tools::commands::output::print_errors;
use orderer_tools::commands::progress::Progress;
use orderer_tools::dev_network::{self, APPLICATION_CHANNEL};
use orderer_tools::say;

/// The end of `orderer benchmark --help`.
pub const AFTER_HELP: &str = "\
Without --address, measures two own nodes: one inside this process, called
without a network, and one in a process of its own, over loopback. They use a
development network created for the benchmark, and empty ledgers that are
removed afterwards.

Try it:
  orderer benchmark
  orderer benchmark --over grpc --runs 1 --profile profile.svg
  orderer benchmark --address localhost:7050 --channelID mychannel

Exit codes:
  0  every envelope arrived in a block exactly once
  1  an envelope was rejected, not answered, lost or delivered twice
  2  the arguments are invalid";

/// Maximum number of channels of an own node.
const CHANNELS_MAX: usize = 1000;

/// Arguments of `orderer benchmark`.
#[derive(Debug, clap::Args)]
pub struct BenchmarkArguments {
    /// Own nodes to measure [default: both]
    #[arg(long, value_enum, value_delimiter = ',')]
    over: Vec<Over>,
    /// Compare with the orderer at this address, in alternating runs
    #[arg(long, value_name = "HOST:PORT")]
    against: Option<String>,
    /// Process ID of the orderer at --address, to measure its CPU time
    #[arg(long, value_name = "ID", requires = "orderer")]
    pid: Option<u32>,
    /// Process ID of the orderer at --against, to measure its CPU time
    #[arg(long, value_name = "ID", requires = "against")]
    against_pid: Option<u32>,
    /// Channel at an address [default: the development network's]
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
    channel: Option<String>,
    /// Number of channels of own nodes, at most 1000; each stream sends to all of them in turn
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = channels)]
    channels: usize,
    /// Key algorithm of the network that is created, and so of the signatures. An existing identity must have a key of
    /// this algorithm [default: ecdsa]
    #[arg(long, value_enum)]
    algorithm: Option<Keys>,
    /// Number of envelopes in a run; all are signed before the first run
    #[arg(long, value_name = "COUNT", default_value_t = 20_000, value_parser = at_least_one)]
    envelopes: usize,
    /// Size of a payload in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = payload_bytes)]
    payload_bytes: usize,
    /// Number of Broadcast streams, each on its own connection
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = at_least_one)]
    streams: usize,
    /// Maximum number of unanswered envelopes per stream
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Envelopes per second over all streams [default: each response triggers the next]
    #[arg(long, value_name = "COUNT", value_parser = rate)]
    rate: Option<f64>,
    /// Number of subscribers, each with a Deliver stream a channel
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = at_least_one)]
    subscribers: usize,
    /// Number of runs of each target
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = at_least_one)]
    runs: usize,
    /// Number of envelopes sent to each target before its first run [default: a tenth of a run's]
    #[arg(long, value_name = "COUNT")]
    warm_up: Option<usize>,
    /// The point at which own nodes acknowledge an envelope
    #[arg(long, value_enum, default_value = "disk")]
    durability: Durability,
    /// Folder for the ledgers of own nodes [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Maximum time in seconds that a run waits for blocks after the last response
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write a CPU profile of the own node that is reached by gRPC, and count its allocations: a flame graph if the file
    /// ends in .svg, otherwise for `go tool pprof`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["orderer"])]
    profile: Option<PathBuf>,
    /// Duration of the profile in seconds, from the beginning of the first run
    #[arg(long, value_name = "SECONDS", requires = "profile", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=50))]
    profile_seconds: u64,
    /// Write the report with charts to this HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    connect: ConnectArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Over {
    /// Inside this process, without a network
    InProcess,
    /// A process of its own, over gRPC
    Grpc,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Durability {
    Disk,
    Memory,
}

impl Durability {
    /// Returns the value of `Solo.Durability`.
    fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a number, at least 1".to_owned())
}

fn channels(text: &str) -> Result<usize, String> {
    let wanted = format!("a number from 1 to {CHANNELS_MAX}");
    text.parse().ok().filter(|count| (1..=CHANNELS_MAX).contains(count)).ok_or(wanted)
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let wanted = format!("a number of bytes from {} to {}", Payload::MIN_BYTES, 64 << 20);
    text.parse().ok().filter(|bytes| (Payload::MIN_BYTES..=64 << 20).contains(bytes)).ok_or(wanted)
}

fn rate(text: &str) -> Result<f64, String> {
    // with less, the last envelope's time exceeds the clock's range
    text.parse()
        .ok()
        .filter(|rate| (0.001..1e9).contains(rate))
        .ok_or_else(|| "a number from 0.001 to 1000000000".to_owned())
}

/// Prepares the targets, measures them, and prints the report. Blocks the thread until that is done.
pub fn run(arguments: &BenchmarkArguments, program: Program) -> ExitCode {
    match benchmark(arguments, program) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => print_errors([format!("{error:#}")]),
    }
}

fn benchmark(arguments: &BenchmarkArguments, program: Program) -> anyhow::Result<Report> {
    let place = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let place = std::fs::canonicalize(&place).with_context(|| format!("folder {}", place.display()))?;
    // removed when this function ends, in whatever way
    let folder = tempfile::Builder::new().prefix("orderer-benchmark-").tempdir_in(&place).context("make a folder")?;
    let runtime = client_runtime()?;
    let report = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            report = prepare_and_measure(arguments, program, folder.path()) => report,
            _ = terminated.recv() => Err(anyhow::anyhow!("ended by SIGTERM")),
            _ = interrupted.recv() => Err(anyhow::anyhow!("ended by SIGINT")),
        }
    });
    // streams that wait for a response must not hold the process
    runtime.shutdown_timeout(Duration::from_secs(1));
    let report = report?;
    if let Some(file) = &arguments.html {
        std::fs::write(file, html(&report)).with_context(|| format!("write {}", file.display()))?;
    }
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        io::write(None, text(&report).as_bytes())?;
        if let Some(file) = &arguments.html {
            say!("\ncharts   {}", file.display());
        }
        if let Some(file) = &arguments.profile {
            say!("\nprofile  {}", file.display());
        }
    }
    Ok(report)
}

async fn prepare_and_measure(
    arguments: &BenchmarkArguments,
    program: Program,
    folder: &Path,
) -> anyhow::Result<Report> {
    let Plan { asking, own_network, addressed } = Plan::of(arguments, folder)?;
    let patience = Duration::from_secs(arguments.wait);
    for subject in &addressed {
        subject.smoke_test(patience).await?;
    }
    anyhow::ensure!(
        arguments.profile.is_none() || arguments.own_nodes().any(|kind| kind == Over::Grpc),
        "--profile is of the own node that is reached by gRPC, and --over leaves it out"
    );
    let profile = arguments
        .profile
        .as_ref()
        .map(|file| ProfileOptions { file: file.clone(), duration: Duration::from_secs(arguments.profile_seconds) });
    let mut bar = ProgressBar::default();
    let RequestOptions { channels, signer } = asking.clone();
    let (count, payload) = (arguments.envelopes, Payload(arguments.payload_bytes));
    let mut tell = |signed| bar.show(Step::Signing(signed, count));
    let sign = || Workload::sign(count, payload, &channels, arguments.streams, &*signer, &mut tell);
    let load = Arc::new(tokio::task::block_in_place(sign)?);
    let settings = Settings {
        channel: channels.first().cloned().unwrap_or_default(),
        channels: channels.len(),
        envelopes: count,
        payload_bytes: arguments.payload_bytes,
        envelope_bytes: load.envelope_bytes(),
        signatures: load.algorithm().to_owned(),
        streams: arguments.streams,
        window: arguments.window.into(),
        rate: arguments.rate,
        subscribers: arguments.subscribers,
        warm_up: arguments.warm_up.unwrap_or(count / 10).min(count),
        runs: arguments.runs,
        durability: arguments.durability.word().to_owned(),
        storage: format!("ledgers of own nodes on {}", file_system(folder)),
        wait: patience,
    };
    // all checks that can fail have passed
    let mut subjects = Vec::new();
    if let Some(network) = own_network {
        for kind in arguments.own_nodes() {
            let (asking, profile) = (asking.clone(), profile.clone());
            subjects
                .push(own(kind, program.run_inside, &network, folder, (arguments.durability, profile), asking).await?);
        }
    }
    subjects.extend(addressed);
    let report = measure(&subjects, &load, settings, program.version, |step| bar.show(step)).await;
    drop(bar);
    // own nodes end before the directory that they store in
    tokio::task::block_in_place(|| drop(subjects));
    report
}

/// The targets to measure, and the identity that sends requests; nothing is started yet.
struct Plan {
    asking: RequestOptions,
    /// The network of own nodes, if there are any.
    own_network: Option<OwnNetwork>,
    /// Nodes that run already; they come last.
    addressed: Vec<BenchmarkTarget>,
}

impl Plan {
    fn of(arguments: &BenchmarkArguments, folder: &Path) -> anyhow::Result<Self> {
        let connect = &arguments.connect;
        if connect.orderer.is_some() {
            anyhow::ensure!(arguments.over.is_empty(), "--over is about nodes of its own, and not for --address");
            anyhow::ensure!(
                arguments.channels == 1,
                "--channels is about nodes of its own, and not for --address (name its channel with --channelID)"
            );
            let connecting = connect.resolve()?;
            let channels = vec![connecting.channel(arguments.channel.as_deref())?];
            let asking = RequestOptions { channels, signer: connecting.signer };
            arguments.check_key(&*asking.signer, "the identity", "sign as another")?;
            let mut addressed = vec![BenchmarkTarget::at(connecting.target.clone(), arguments.pid, asking.clone())];
            if let Some(against) = &arguments.against {
                let other = OrdererTarget { address: against.clone(), ..connecting.target };
                addressed.push(BenchmarkTarget::at(other, arguments.against_pid, asking.clone()));
            }
            return Ok(Self { asking, own_network: None, addressed });
        }
        let given = connect.dev_folder();
        anyhow::ensure!(
            arguments.against.is_none() || given.is_some(),
            "--against needs a network that both know: give --dev DIR, and start the other node with that network; or \
             --address and an identity"
        );
        anyhow::ensure!(
            arguments.channels == 1 || arguments.against.is_none(),
            "--channels is about nodes of its own, which create these channels: the node at --against does not have them \
             (leave one of the two out)"
        );
        let algorithm = arguments.algorithm.unwrap_or(Keys::Ecdsa).into();
        let network = dev_network::prepare(given.unwrap_or(&folder.join("network")), algorithm)?;
        let (msp, id) = network.client();
        let signer: Arc<dyn Signer> = Arc::new(read_signing_identity(&msp, &id)?);
        let whose = format!("the network in {}", given.unwrap_or(folder).display());
        arguments.check_key(&*signer, &whose, "name a folder for a new one")?;
        let more: Vec<_> = (2..=arguments.channels).map(|number| format!("{APPLICATION_CHANNEL}-{number}")).collect();
        let mut genesis_blocks = vec![network.genesis_block(APPLICATION_CHANNEL)];
        if !more.is_empty() {
            genesis_blocks.extend(network.make_genesis_blocks(&more, &folder.join("genesis"))?);
        }
        let own_network = OwnNetwork { config_file: network.config_file, genesis_blocks };
        let channels = [vec![APPLICATION_CHANNEL.to_owned()], more].concat();
        let asking = RequestOptions { channels, signer };
        let other = |against: &String| {
            let target =
                OrdererTarget { address: against.clone(), tls: None, connect_timeout: connect.connect_timeout() };
            BenchmarkTarget::at(target, arguments.against_pid, asking.clone())
        };
        let addressed = arguments.against.iter().map(other).collect();
        Ok(Self { asking, own_network: Some(own_network), addressed })
    }
}

impl BenchmarkArguments {
    fn own_nodes(&self) -> impl Iterator<Item = Over> {
        [Over::InProcess, Over::Grpc].into_iter().filter(|kind| self.over.is_empty() || self.over.contains(kind))
    }

    /// Checks that a key has the requested algorithm, if one was requested.
    fn check_key(&self, signer: &dyn Signer, whose: &str, instead: &str) -> anyhow::Result<()> {
        let Some(wanted) = self.algorithm else { return Ok(()) };
        let key = public_key(signer)?;
        anyhow::ensure!(
            key.is_ed25519() == (wanted == Keys::Ed25519),
            "--algorithm {}: {whose} has {}; leave --algorithm out, or {instead}",
            wanted.word(),
            key.algorithm()
        );
        Ok(())
    }
}

async fn own(
    kind: Over,
    run_inside: RunInside,
    network: &OwnNetwork,
    folder: &Path,
    (durability, profile): (Durability, Option<ProfileOptions>),
    asking: RequestOptions,
) -> anyhow::Result<BenchmarkTarget> {
    let durability = durability.word();
    match kind {
        Over::InProcess => {
            BenchmarkTarget::inside(run_inside, network, &folder.join("in-process"), durability, asking).await
        }
        Over::Grpc => BenchmarkTarget::child(network, &folder.join("grpc"), durability, asking, profile).await,
    }
}

/// The progress bar of the current step.
#[derive(Default)]
struct ProgressBar(Option<Progress>);

impl ProgressBar {
    fn show(&mut self, step: Step) {
        match step {
            Step::Signing(done, of) => {
                self.0.get_or_insert_with(|| Progress::of("signing", of as u64)).at(done as u64);
            }
            Step::Running(what, of) => self.0 = Some(Progress::of(what, of as u64)),
            Step::Profile(what) => self.0 = Some(Progress::of(what, 1)),
            Step::Answered(done) => {
                if let Some(progress) = &mut self.0 {
                    progress.at(done as u64);
                }
            }
        }
    }
}
