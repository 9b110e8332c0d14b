//! Runs the node: starts its services from the settings, and shuts them down again.

mod bootstrap;
mod clients;
mod cluster;
mod crash;
mod files;
mod kafka;
mod listeners;
mod sockets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use orderer_actors::consensus::Consenters;
use orderer_actors::consensus::kafka::{KafkaConsenter, KafkaContext};
use orderer_actors::consensus::raft::{LEADER_PATIENCE, RaftConsenter, RaftContext};
use orderer_actors::consensus::solo::SoloConsenter;
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_actors::node_context::SignerCell;
use orderer_actors::observer::NodeObserver;
use orderer_actors::participation::ChannelParticipation;
use orderer_actors::status::StatusBoard;
use orderer_actors::supervision::install_panic_hook;
use orderer_actors::system::{ActorTree, start_arbiters};
use orderer_actors::{ChannelRegistry, NodeContext};

use orderer_core::rate_limit::RateLimiter;
use orderer_core::supervision::CHANNEL_RESTARTS;
use orderer_hsm::TokenPool;
use orderer_kafka::Traffic;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admission::Kind;
use crate::certificates::{CertificateInventory, CertificateReloader};
use crate::crash_guard::CrashLoopGuard;
use crate::disk_monitor::{self, LedgerDisk};
use crate::fabric_ledger_dir;
use crate::grpc::{AtomicBroadcast, Cluster as ClusterService};
use crate::history::History;
use crate::http::{self, OperationsApi, ParticipationApi};
use crate::local_msp::{KeySource, LocalMspError, read_signer};
use crate::metrics::{self, Metrics};
use crate::reload::Reloader;
use crate::settings::{ClusterListener, HttpSettings, MetricsSettings, Settings};
use crate::signals::{DumpSignals, TerminationSignals};
use crate::systemd;
use crate::telemetry::{self, LogControl};
use crate::tls::ClientTrust;
use bootstrap::bootstrap;
use clients::{Connections, admission, shared};
use cluster::{Cluster, OtherOrderers, step_service};
use crash::Crash;
use kafka::{kafka_certificate, kafka_context};
use listeners::Listeners;
use sockets::{Socket, Sockets};

pub use bootstrap::read_genesis;
pub(crate) use bootstrap::{BOOTSTRAP_FIX, PROVISIONAL, PROVISIONAL_FIX};

/// Time after which streams that do not end by themselves at shutdown are cut off.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The same for connections, after the chains have stopped.
const CONNECTIONS_DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Runs the node until a signal ends it. `genesis` are blocks of channels that are created if they do not exist yet,
/// beside the bootstrap file; `greeting` is printed when the node serves.
pub fn run(
    settings: &Settings,
    logs: &LogControl,
    reread: Reloader,
    genesis: &[PathBuf],
    greeting: Option<&str>,
) -> anyhow::Result<()> {
    anyhow::ensure!(settings.profile.is_none() || cfg!(feature = "profiles"), http::NO_PROFILES);
    install_panic_hook();
    if settings.profile.is_some()
        && let Err(error) = http::begin_heap_profile()
    {
        tracing::warn!(target: "orderer.node", %error, "General.Profile without heap profiles");
    }
    let started_at = Instant::now();
    let io = io_threads()?;
    // a signal during startup shuts the node down cleanly
    let (mut ends, dumps) = {
        let _within = io.enter();
        (TerminationSignals::new(), DumpSignals::new())
    };
    let pause = CrashLoopGuard::check(&settings.ledger_location)?;
    if !pause.is_zero() {
        tracing::warn!(target: "orderer.node", ?pause,
            "the node was killed several times within minutes; delaying the start (check memory limits and health checks)");
        let signal = io.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(pause) => None,
                name = ends.next() => Some(name),
            }
        });
        if let Some(name) = signal {
            tracing::info!(target: "orderer.node", signal = name, "stopping during startup");
            return Ok(());
        }
    }
    let keys = KeySource::open(&settings.keys).map_err(LocalMspError::from).context("General.BCCSP.PKCS11")?;
    let signer = read_signer(&settings.local_msp_dir, &settings.local_msp_id, &keys)
        .with_context(|| format!("General.LocalMSPDir {}", settings.local_msp_dir.display()))?;
    let signer = Arc::new(SignerCell::new(signer));
    let directory = Arc::new(ChannelRegistry::default());
    let members = ClientTrust::Members(Arc::clone(&directory));
    let cluster_listener = settings.cluster.as_ref().and_then(|cluster| cluster.listener.as_ref());
    let open_for_orderers = |listener: &ClusterListener| {
        let orderers = ClientTrust::Orderers(Arc::clone(&directory));
        Socket::open("General.Cluster", listener.address, Some(&listener.tls), orderers)
    };
    // bound early, served late: a port that is in use is found before anything is written
    let sockets = Sockets {
        grpc: Socket::open("General", settings.listen, settings.tls.as_ref(), members)?,
        cluster: cluster_listener.map(open_for_orderers).transpose()?,
        operations: Socket::open_for_operators("Operations", settings.http.operations.as_ref())?,
        admin: Socket::open_for_operators("Admin", settings.http.admin.as_ref())?,
        profile: (settings.profile)
            .map(|address| Socket::open("General.Profile", address, None, ClientTrust::Operators))
            .transpose()?,
    };
    let kafka = kafka_context(&settings.kafka);
    let brokers = Arc::clone(&kafka.traffic);
    let own_signer = || (Arc::clone(&signer), keys.token().cloned());
    let cluster =
        settings.cluster.as_ref().map(|cluster| Cluster::new(cluster, &directory, own_signer(), &io)).transpose()?;
    let consenters = consenters(kafka, cluster.as_ref().map(Cluster::raft), settings);
    let parts = NodeParts { started_at, io, signer, token: keys.token().cloned(), directory, consenters };
    let operators = operators_thread()?;
    let served = with_tree(settings, genesis, parts, async |context, io, tree| {
        tokio::select! {
            () = tree.ready() => {}
            name = ends.next() => {
                tracing::info!(target: "orderer.node", signal = name, "stopping during startup");
                return Ok(());
            }
        }
        let tree = Running { context, brokers, cluster, tree };
        let threads = Threads { io, operators: &operators };
        serve(settings, logs, SignalHandlers { ends, dumps, reread }, tree, (sockets, keys), threads, greeting).await
    });
    operators.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Runs the node without any socket while `inside` works with its service, on the I/O runtime.
pub fn run_embedded<T>(
    settings: &Settings,
    genesis: &[PathBuf],
    inside: impl AsyncFnOnce(AtomicBroadcast, Arc<NodeContext>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let keys = KeySource::open(&settings.keys).map_err(LocalMspError::from)?;
    let signer = Arc::new(SignerCell::new(read_signer(&settings.local_msp_dir, &settings.local_msp_id, &keys)?));
    // without sockets there are no other orderers
    let consenters = consenters(kafka_context(&settings.kafka), None, settings);
    let parts = NodeParts {
        started_at: Instant::now(),
        io: io_threads()?,
        signer,
        token: keys.token().cloned(),
        directory: Arc::default(),
        consenters,
    };
    with_tree(settings, genesis, parts, async |context, _, tree| {
        tree.ready().await;
        let stopping = CancellationToken::new();
        let _stop = stopping.clone().drop_guard();
        let shared = shared(settings, &context, &admission(settings, Connections::Unbounded), stopping)?;
        inside(AtomicBroadcast::new(shared), context).await
    })
}

/// Lists the consenters; the one place that names them.
fn consenters(kafka: KafkaContext, orderers: Option<OtherOrderers>, settings: &Settings) -> Arc<Consenters> {
    let consenters = Consenters::default().with(SoloConsenter).with(KafkaConsenter::new(kafka));
    let Some(OtherOrderers { network, replication }) = orderers else { return Arc::new(consenters) };
    let parts = RaftContext {
        network,
        replication,
        settings: settings.raft,
        log_bytes: settings.limits.raft_log_bytes,
        leader_patience: LEADER_PATIENCE,
    };
    Arc::new(consenters.with(RaftConsenter::new(parts)))
}

/// Parts that exist before any ledger is opened.
struct NodeParts {
    started_at: Instant,
    io: runtime::Runtime,
    signer: Arc<SignerCell>,
    token: Option<Arc<TokenPool>>,
    directory: Arc<ChannelRegistry>,
    consenters: Arc<Consenters>,
}

/// Starts the threads that serve connections, verify signatures and wait for disks.
fn io_threads() -> anyhow::Result<runtime::Runtime> {
    runtime::Builder::new_multi_thread().thread_name("io").enable_all().build().context("start threads")
}

/// Starts the thread that serves operators and checks admission, apart from the others because clients may occupy
/// those.
fn operators_thread() -> anyhow::Result<runtime::Runtime> {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("operators").enable_all().build().context("start a thread")
}

/// Opens the ledgers and runs the actor tree while `inside` runs.
fn with_tree<T>(
    settings: &Settings,
    genesis: &[PathBuf],
    parts: NodeParts,
    inside: impl AsyncFnOnce(Arc<NodeContext>, &runtime::Runtime, &mut ActorTree) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let NodeParts { started_at, io, signer, token, directory, consenters } = parts;
    let block_caches = BlockCacheConfig { bytes: settings.limits.block_cache_bytes };
    let ledgers = LedgerProvider::new(&settings.ledger_location, block_caches)
        .with_context(|| format!("FileLedger.Location {}", settings.ledger_location.display()))?;
    let _lock =
        ledgers.lock().with_context(|| format!("FileLedger.Location {}", settings.ledger_location.display()))?;
    CrashLoopGuard::check(&settings.ledger_location)?;
    let catalog = Arc::default();
    fabric_ledger_dir::inspect(&settings.ledger_location, &ledgers.list()?)
        .with_context(|| format!("FileLedger.Location {}", settings.ledger_location.display()))?
        .context("FileLedger.Location")?;
    // a wrong file is no crash, however often the node is started with it
    bootstrap(&ledgers, &catalog, settings, genesis)?;
    let record = CrashLoopGuard::record_start(&settings.ledger_location)?;

    let system = actix::System::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let served = system.block_on(async {
        let arbiters = start_arbiters(cores);
        let context = Arc::new(NodeContext {
            signer,
            blocking_runtime: io.handle().clone(),
            token,
            ledgers,
            catalog,
            ledger_open_permits: Arc::new(Semaphore::new(2 * cores)),
            directory: Arc::clone(&directory),
            fairness: RateLimiter::new(settings.throttling),
            membership: ChannelParticipation::default(),
            status_board: StatusBoard::from_environment(),
            observer: NodeObserver::new(),
            arbiters: arbiters.iter().map(actix_rt::Arbiter::handle).collect(),
            consensus_mapping: settings.consensus_mapping.clone(),
            tls_keys: arc_swap::ArcSwap::from_pointee(settings.tls_keys()),
            durability: settings.durability,
            ingress_capacity_bytes: settings.limits.channel_ingress_bytes,
            channel_restarts: CHANNEL_RESTARTS,
            expiration_checks: settings.expiration_checks,
            started_at,
        });
        let mut tree = ActorTree::start(Arc::clone(&context), consenters);
        let outcome = inside(context, &io, &mut tree).await;
        tree.stop().await;
        for arbiter in arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
        outcome
    });
    // reads whose results are no longer needed must not hold the process
    io.shutdown_timeout(Duration::from_secs(1));
    match &served {
        Err(error) if error.is::<Crash>() => record.record_crash(),
        // the next start finds and reports an error in the settings again
        Err(_) => record.record_clean_exit(),
        Ok(_) => {
            record.record_clean_exit();
            tracing::info!(target: "orderer.node", "stopped");
        }
    }
    served
}

/// The parts of a running node that its services need.
struct Running<'a> {
    context: Arc<NodeContext>,
    /// Counts the traffic with brokers.
    brokers: Arc<Traffic>,
    /// Connections to other orderers; `None` if there can be none.
    cluster: Option<Cluster>,
    tree: &'a mut ActorTree,
}

/// SIGTERM and SIGINT, SIGUSR1, and the settings that SIGHUP reloads.
struct SignalHandlers {
    ends: TerminationSignals,
    dumps: DumpSignals,
    reread: Reloader,
}

/// The runtimes of a running node.
struct Threads<'a> {
    io: &'a runtime::Runtime,
    operators: &'a runtime::Runtime,
}

/// Serves gRPC and operators until a signal comes, then until nothing is in flight.
#[expect(clippy::too_many_lines, reason = "one service after the other")]
async fn serve(
    settings: &Settings,
    logs: &LogControl,
    signals: SignalHandlers,
    running: Running<'_>,
    (sockets, keys): (Sockets, KeySource),
    Threads { io, operators: operators_thread }: Threads<'_>,
    greeting: Option<&str>,
) -> anyhow::Result<()> {
    let SignalHandlers { mut ends, dumps, reread } = signals;
    let Running { context, brokers, cluster, tree } = running;
    let stopping = CancellationToken::new();
    // consenters exchange messages until the chains have stopped: a leader is followed by another one
    let chains_stopped = CancellationToken::new();
    let admission = admission(settings, Connections::Within(files::raise_limit()));
    operators_thread.spawn(admission.clone().watch(stopping.clone()));
    let table = {
        let _within = io.enter();
        admission.table(Kind::Clients)
    };
    let tls = sockets.tls();
    let Sockets { grpc: Socket { listener, tls: grpc_tls, .. }, cluster: for_orderers, operations, admin, profile } =
        sockets;
    let orderers = cluster.as_ref().map(|cluster| Arc::clone(cluster.orderers()));
    let step = settings.cluster.as_ref().map(|cluster| step_service(cluster, &context));
    let sides = cluster.as_ref().zip(step.clone()).map(|(cluster, service)| cluster.sides(service));
    let address = listener.local_addr().context("read the listener's address")?;
    let mut opened = Vec::new();
    let disk = LedgerDisk { folder: context.ledgers.folder().to_owned(), low_bytes: settings.low_disk_bytes };
    if let Some(socket) = operations {
        let history = History::default();
        operators_thread.spawn(history.clone().record(Arc::clone(&context), disk.clone(), stopping.clone()));
        let (context, secured) = (Arc::clone(&context), socket.tls.is_some());
        let metrics = matches!(settings.metrics, MetricsSettings::Prometheus)
            .then(|| Arc::new(Metrics::new(&context, &brokers, sides.clone(), admission.clone())));
        let listens_on = settings.http.operations.as_ref().map_or("", |listener| listener.host.as_str());
        let router = http::operations(OperationsApi {
            debug: settings.http.debug,
            listens_on: listens_on.into(),
            context,
            logs: logs.clone(),
            metrics,
            cluster: sides.clone(),
            admission: admission.clone(),
            disk: disk.clone(),
            history,
            settings: (settings.source.clone(), settings.effective.clone()),
            certificates: CertificateInventory {
                msp_dir: settings.local_msp_dir.clone(),
                msp_id: settings.local_msp_id.clone(),
                listeners: tls.clone(),
                orderers: orderers.clone(),
                kafka_client: kafka_certificate(&settings.kafka),
            },
            stopping: stopping.clone(),
            secured,
        });
        opened.push(socket.serve("operations", router, (settings, &admission), operators_thread, &stopping)?);
    }
    if let Some(socket) = admin {
        let HttpSettings { participation: enabled, max_body_bytes, .. } = settings.http;
        let router = http::participation(ParticipationApi { context: Arc::clone(&context), enabled, max_body_bytes });
        opened.push(socket.serve("admin", router, (settings, &admission), operators_thread, &stopping)?);
    }
    if let Some(socket) = profile {
        opened.push(socket.serve(
            "profile",
            http::profile(Arc::clone(&context)),
            (settings, &admission),
            operators_thread,
            &stopping,
        )?);
    }
    if let MetricsSettings::Statsd(statsd) = &settings.metrics {
        io.spawn(metrics::send(
            Arc::new(Metrics::new(&context, &brokers, sides, admission.clone())),
            statsd.clone(),
            stopping.clone(),
        ));
    }
    let secured = if grpc_tls.is_some() { "TLS" } else { "plaintext" };
    let shared = shared(settings, &context, &admission, stopping.clone())?;
    let keeper = CertificateReloader::new(
        Arc::clone(&context),
        &settings.local_msp_dir,
        &settings.local_msp_id,
        keys,
        tls,
        orderers,
    );
    io.spawn(keeper.run(reread, stopping.clone()));
    io.spawn(dumps.report(context.status_board.clone(), stopping.clone()));
    io.spawn(telemetry::report_left_out(stopping.clone()));
    io.spawn(disk_monitor::watch(disk, stopping.clone()));
    let informing = systemd::run_notifier(Arc::clone(&context), stopping.clone());
    let cluster_service = step.map(|step| {
        let (context, admission, max_bytes) = (Arc::clone(&context), admission.clone(), settings.max_receive_bytes);
        ClusterService::new(step, context, admission, max_bytes, chains_stopped.clone())
    });
    if let Some(socket) = &for_orderers {
        opened.push(("cluster", socket.listener.local_addr().context("read the listener's address")?, "TLS"));
    }
    let listeners = Listeners {
        general: (listener, grpc_tls, table),
        orderers: for_orderers.map(|socket| {
            let _within = io.enter();
            (socket.listener, socket.tls, admission.table(Kind::Clients))
        }),
        handshake_limit: settings.connection_timeout,
        keepalive: settings.keepalive,
        streams: settings.limits.streams_per_connection,
    };
    let open_streams = shared.open_streams.clone();
    let mut serving = io.spawn(listeners.serve(shared, cluster_service, chains_stopped.clone()));
    let channels = context.directory.entries().len();
    if context.directory.system_channel().is_none() {
        // Fabric's text
        tracing::info!(target: "orderer.registrar",
            "Registrar initializing without a system channel, number of application channels: {channels}");
    }
    for (name, address, secured) in opened {
        tracing::info!(target: "orderer.node", %address, secured, "{name} endpoint is open");
    }
    tracing::info!(target: "orderer.node", version = env!("CARGO_PKG_VERSION"), %address, secured, channels,
        settings = %settings.source, millis = context.uptime().as_millis(), "Beginning to serve requests");
    systemd::ready();
    io.spawn(informing);
    if let Some(greeting) = greeting {
        println!("{greeting}");
    }
    let mut crash = None;
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        name = ends.next() => {
            tracing::info!(target: "orderer.node", signal = name, "stopping: completing requests in flight");
            systemd::stopping();
            None
        }
        cause = tree.wait_for_failure() => {
            crash = Some(Crash::Tree(cause));
            None
        }
    };
    stopping.cancel();
    let ended = if let Some(ended) = ended {
        Ok(ended)
    } else {
        open_streams.close();
        let clients_left = tokio::time::timeout(DRAIN_LIMIT, open_streams.wait()).await.is_ok();
        tree.shut_down().await;
        chains_stopped.cancel();
        let limit = if clients_left { CONNECTIONS_DRAIN_LIMIT } else { Duration::ZERO };
        tokio::time::timeout(limit, &mut serving).await
    };
    let Ok(ended) = ended else {
        tracing::warn!(target: "orderer.node", limit = ?DRAIN_LIMIT, "some streams did not end in time; closing them");
        serving.abort();
        return crash.map_or(Ok(()), |crash| Err(crash.into()));
    };
    match (crash, ended) {
        (Some(crash), _) => Err(crash.into()),
        (None, Ok(Ok(()))) => Ok(()),
        (None, Ok(Err(error))) => Err(Crash::Server(format!("{error:#}")).into()),
        (None, Err(panicked)) => Err(Crash::Server(panicked.to_string()).into()),
    }
}
