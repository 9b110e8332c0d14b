//! The node: settings to running services, and back to nothing.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use orderer_actors::kafka::KafkaContext;
use orderer_actors::ledgers::{BlockCaches, LedgerStore};
use orderer_actors::node_context::CurrentSigner;
use orderer_actors::status::StatusBoard;
use orderer_actors::supervision::report_panics;
use orderer_actors::system::{Tree, arbiters};
use orderer_actors::{Directory, NodeContext};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{Catalog, ChannelSnapshot};
use orderer_core::crypto::Signer;
use orderer_core::supervision::CHANNEL_RESTARTS;
use orderer_kafka::{Cluster, KafkaCluster};
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::certificates::Keeper;
use crate::grpc::{AtomicBroadcast, IngressBudget, Shared, accept};
use crate::local_msp::read_signing_identity;
use crate::settings::{KafkaSettings, Settings};
use crate::start_record::StartRecord;
use crate::tls::{ListenerTls, TlsFiles};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// What a client may send on one stream, and on one connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Streams that do not end by themselves at shutdown are cut off after this time.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Runs the node until a signal ends it. `genesis` are blocks of channels that are made if they do not exist yet, beside
/// the bootstrap file; `greeting` is printed when the node serves.
pub fn run(settings: &Settings, genesis: &[PathBuf], greeting: Option<&str>) -> anyhow::Result<()> {
    report_panics();
    let began = Instant::now();
    let signer = read_signing_identity(&settings.local_msp_dir, &settings.local_msp_id)
        .with_context(|| format!("General.LocalMSPDir {}", settings.local_msp_dir.display()))?;
    let directory = Arc::new(Directory::default());
    let secure = |files: &TlsFiles| ListenerTls::new(files.clone(), Arc::clone(&directory)).map(Arc::new);
    let tls = settings.tls.as_ref().map(secure).transpose().context("General.TLS")?;
    // bound early, served late: a port that is taken is found before anything is written
    let listener = bind(settings.listen).with_context(|| format!("listen on {}", settings.listen))?;
    let block_caches = BlockCaches { bytes: settings.limits.block_cache_bytes };
    let ledgers = LedgerStore::new(&settings.ledger_location, block_caches)
        .with_context(|| format!("FileLedger.Location {}", settings.ledger_location.display()))?;
    let record = StartRecord::begin(&settings.ledger_location)?;
    let catalog = Arc::default();
    bootstrap(&ledgers, &catalog, settings.bootstrap_file.as_deref(), genesis)?;

    let io = runtime::Builder::new_multi_thread().thread_name("io").enable_all().build().context("start threads")?;
    let system = actix::System::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let served = system.block_on(async {
        let arbiters = arbiters(cores);
        let context = Arc::new(NodeContext {
            signer: CurrentSigner::new(Arc::new(signer) as Arc<dyn Signer>),
            io: io.handle().clone(),
            ledgers,
            catalog,
            loading: Arc::new(Semaphore::new(2 * cores)),
            directory: Arc::clone(&directory),
            board: StatusBoard::default(),
            arbiters: arbiters.iter().map(actix_rt::Arbiter::handle).collect(),
            kafka: kafka_context(&settings.kafka),
            durability: settings.durability,
            gate_bytes: settings.limits.channel_ingress_bytes,
            channel_restarts: CHANNEL_RESTARTS,
            expiration_checks: settings.expiration_checks,
            began,
        });
        let mut tree = Tree::start(Arc::clone(&context));
        tree.ready().await;
        let outcome = serve(settings, context, listener, tls, &io, greeting, began).await;
        tree.stop().await;
        for arbiter in arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
        outcome
    });
    // reads that nobody waits for any more must not hold the process
    io.shutdown_timeout(Duration::from_secs(1));
    if served.is_ok() {
        record.end_cleanly();
        tracing::info!(target: "orderer.node", "stopped");
    }
    served
}

/// Serves gRPC on the I/O runtime until a signal comes, then until nothing is in flight.
async fn serve(
    settings: &Settings,
    context: Arc<NodeContext>,
    listener: TcpListener,
    tls: Option<Arc<ListenerTls>>,
    io: &runtime::Runtime,
    greeting: Option<&str>,
    began: Instant,
) -> anyhow::Result<()> {
    let address = listener.local_addr().context("read the listener's address")?;
    let stopping = CancellationToken::new();
    let secured = if tls.is_some() { "TLS" } else { "plaintext" };
    let shared = Shared {
        stopping: stopping.clone(),
        budget: IngressBudget::new(settings.limits.large_message_bytes),
        max_receive_bytes: settings.max_receive_bytes,
        time_window: settings.time_window,
        client_certificate_required: settings.tls.as_ref().is_some_and(|tls| tls.client_roots.is_some()),
        context: Arc::clone(&context),
    };
    let keeper = Keeper::new(Arc::clone(&context), &settings.local_msp_dir, &settings.local_msp_id, tls.clone());
    io.spawn(keeper.run(stopping.clone()));
    let (keepalive, limits) = (settings.keepalive, settings.limits);
    let handshake_limit = settings.connection_timeout;
    let mut serving = io.spawn(async move {
        let connections =
            accept(tokio::net::TcpListener::from_std(listener)?, tls, handshake_limit, shared.stopping.clone());
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<AtomicBroadcast>().await;
        let stop = shared.stopping.clone();
        Server::builder()
            .http2_keepalive_interval(Some(keepalive.interval))
            .http2_keepalive_timeout(Some(keepalive.timeout))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(limits.streams_per_connection)
            .add_service(AtomicBroadcast::new(shared))
            .add_service(health_service)
            .serve_with_incoming_shutdown(connections, stop.cancelled_owned())
            .await
            .context("serve gRPC")
    });
    let channels = context.directory.all().len();
    tracing::info!(target: "orderer.node", version = env!("CARGO_PKG_VERSION"), %address, secured, channels,
        settings = %settings.source, millis = began.elapsed().as_millis(), "serving");
    if let Some(greeting) = greeting {
        println!("{greeting}");
    }
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        name = crate::signals::ended() => {
            tracing::info!(target: "orderer.node", signal = name, "stopping: answering what is in flight");
            None
        }
    };
    stopping.cancel();
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => tokio::time::timeout(DRAIN_LIMIT, &mut serving).await,
    };
    let Ok(ended) = ended else {
        tracing::warn!(target: "orderer.node", limit = ?DRAIN_LIMIT, "some streams did not end, they are cut off");
        serving.abort();
        return Ok(());
    };
    ended.context("the server's task")?
}

/// Makes the channels of the given genesis blocks, if there are none yet.
fn bootstrap(
    ledgers: &LedgerStore,
    catalog: &Arc<Catalog>,
    file: Option<&Path>,
    genesis: &[PathBuf],
) -> anyhow::Result<()> {
    let existing = ledgers.list()?;
    if let Some(file) = file {
        if existing.is_empty() {
            create(ledgers, catalog, file).with_context(|| format!("General.BootstrapFile {}", file.display()))?;
        } else {
            tracing::info!(target: "orderer.node", channels = existing.len(), "bootstrap file is not used: there are channels already");
        }
    }
    for file in genesis {
        create(ledgers, catalog, file).with_context(|| format!("genesis block {}", file.display()))?;
    }
    Ok(())
}

fn create(ledgers: &LedgerStore, catalog: &Arc<Catalog>, file: &Path) -> anyhow::Result<()> {
    let block = EncodedBlock::parse(&std::fs::read(file)?)?;
    anyhow::ensure!(block.number().0 == 0, "is block {}, not a genesis block", block.number());
    let snapshot = ChannelSnapshot::from_config_block(&block.decode(), catalog)?;
    snapshot.check_supported()?;
    let consensus = &snapshot.orderer().consensus_type;
    let is_supported = matches!(consensus.as_str(), "solo" | "kafka");
    anyhow::ensure!(is_supported, "consensus type '{consensus}' is not supported by this version, solo and kafka are");
    if ledgers.path(snapshot.channel()).exists() {
        return Ok(());
    }
    ledgers.create(snapshot.channel(), &block)?;
    tracing::info!(target: "orderer.node", channel = %snapshot.channel(), file = %file.display(), "channel made from its genesis block");
    Ok(())
}

/// How chains reach their brokers.
fn kafka_context(settings: &KafkaSettings) -> KafkaContext {
    let mut reach = orderer_kafka::Settings::new(Vec::new());
    reach.tls.clone_from(&settings.tls);
    reach.sasl.clone_from(&settings.sasl);
    reach.timeouts = settings.timeouts;
    let connector = move |brokers: &[String]| {
        let settings = orderer_kafka::Settings { brokers: brokers.to_vec(), ..reach.clone() };
        KafkaCluster::new(settings).map(|cluster| Arc::new(cluster) as Arc<dyn Cluster>)
    };
    KafkaContext {
        connector: Box::new(connector),
        replication_factor: settings.replication_factor,
        retry: settings.retry,
        produce_again: settings.produce_again,
        produce_pause: settings.produce_pause,
    }
}

/// A restarted node must get its port back although old connections linger.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
