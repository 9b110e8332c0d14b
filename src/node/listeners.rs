//! The listeners that serve gRPC: the general one, and the one for other orderers if it is separate.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use orderer_actors::NodeContext;
use orderer_actors::observer::NodeObserver;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

use crate::admission::{Admission, ConnectionTable};
use crate::connection::{Connection, accept};
use crate::grpc::{AtomicBroadcast, Cluster, GrpcContext, UNARY_MAX_BYTES, UnaryMetrics, is_consenter};
use crate::settings::Keepalive;
use crate::tls::ListenerTls;

/// HTTP/2 flow-control windows in bytes: of one stream, and of one connection.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Maximum number of streams of another orderer, which opens two for each channel that both order, all on one
/// connection.
const ORDERERS_STREAMS: u32 = 1 << 16;
/// Maximum number of connections that are ready for a server.
const READY_MAX: usize = 64;

/// A socket, its TLS, and the table of its connections.
type Bound = (TcpListener, Option<Arc<ListenerTls>>, Arc<ConnectionTable>);

pub(super) struct Listeners {
    pub(super) general: Bound,
    /// The listener for other orderers; without it they use the general one.
    pub(super) orderers: Option<Bound>,
    pub(super) handshake_limit: Duration,
    pub(super) keepalive: Keepalive,
    /// Maximum number of a client's streams on one connection.
    pub(super) streams: u32,
}

/// The services of each server.
#[derive(Clone)]
struct Services<H> {
    broadcast: AtomicBroadcast,
    health: H,
    cluster: Option<Cluster>,
}

impl Listeners {
    /// Accepts connections until the node stops. Serves them until the chains have stopped, then until no stream is open:
    /// consenters exchange messages until then, also on connections that they opened before a chain ran here. `cluster`
    /// serves the streams of other orderers.
    pub(super) async fn serve(
        self,
        shared: GrpcContext,
        cluster: Option<Cluster>,
        chains_stopped: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { general, orderers, handshake_limit, keepalive, streams } = self;
        let (context, admission) = (Arc::clone(&shared.context), shared.admission.clone());
        let stopping = shared.stopping.clone();
        let observer = &context.observer;
        let general = connections(general, handshake_limit, observer, &stopping)?;
        let apart = orderers.map(|bound| connections(bound, handshake_limit, observer, &stopping)).transpose()?;
        let services = Services {
            broadcast: AtomicBroadcast::new(shared),
            health: health(&context, &admission, &stopping).await,
            cluster: cluster.clone().filter(|_| apart.is_none()),
        };
        let (shared_with, clients) = divide(general, &context);
        let of_orderers = services.clone();
        tokio::try_join!(
            services.serve(clients, server(keepalive, streams), chains_stopped.clone()),
            of_orderers.serve(shared_with, server(keepalive, ORDERERS_STREAMS), chains_stopped.clone()),
            async {
                let (Some(apart), Some(cluster)) = (apart, cluster) else { return Ok(()) };
                let (of_consenters, of_others) = divide(apart, &context);
                let router = server(keepalive, ORDERERS_STREAMS).add_service(cluster);
                let all = until_the_end(of_consenters.merge(of_others));
                let served = router.serve_with_incoming_shutdown(all, chains_stopped.clone().cancelled_owned());
                served.await.context("serve gRPC to other orderers")
            },
        )?;
        Ok(())
    }
}

fn server(keepalive: Keepalive, streams: u32) -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(keepalive.interval))
        .http2_keepalive_timeout(Some(keepalive.timeout))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(streams)
}

fn connections(
    (listener, tls, table): Bound,
    handshake_limit: Duration,
    observer: &Arc<NodeObserver>,
    stopping: &CancellationToken,
) -> io::Result<impl Stream<Item = io::Result<Connection>> + Send + Unpin + 'static> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let connections = accept(listener, tls, handshake_limit, table, stopping.clone());
    let counted = Arc::clone(observer);
    Ok(connections.map(move |connection| connection.map(|c| c.counted_by(&counted))))
}

/// Divides the connections into those of consenters, which become favoured, and all others.
fn divide(
    mut connections: impl Stream<Item = io::Result<Connection>> + Send + Unpin + 'static,
    context: &Arc<NodeContext>,
) -> (Divided, Divided) {
    let (to_consenters, of_consenters) = mpsc::channel(READY_MAX);
    let (to_others, of_others) = mpsc::channel(READY_MAX);
    let context = Arc::clone(context);
    tokio::spawn(async move {
        while let Some(connection) = connections.next().await {
            let shown = connection.as_ref().ok().and_then(|connection| connection.info().tls_certificate.clone());
            let Some(certificate) = shown else {
                if to_others.send(connection).await.is_err() {
                    return;
                }
                continue;
            };
            // all channels are searched: in a task, so that other connections do not wait
            let (context, to_consenters, to_others) = (Arc::clone(&context), to_consenters.clone(), to_others.clone());
            tokio::spawn(async move {
                let is_consenter = is_consenter(&context.directory, &certificate);
                if let (true, Ok(Some(peer))) = (is_consenter, connection.as_ref().map(|c| c.info().admitted.as_ref()))
                {
                    peer.favour();
                }
                let to = if is_consenter { to_consenters } else { to_others };
                let _ = to.send(connection).await;
            });
        }
    });
    (ReceiverStream::new(of_consenters), ReceiverStream::new(of_others))
}

type Divided = ReceiverStream<io::Result<Connection>>;

/// Returns the same connections, without an end: a server announces to its clients that it stops when there are no more
/// connections to come, and other orderers would leave theirs before the chains have stopped.
fn until_the_end<S: Stream<Item = io::Result<Connection>>>(
    connections: S,
) -> impl Stream<Item = io::Result<Connection>> + use<S> {
    connections.chain(tokio_stream::pending())
}

/// Creates the health service, which reports SERVING until the node stops.
async fn health(
    context: &NodeContext,
    admission: &Admission,
    stopping: &CancellationToken,
) -> UnaryMetrics<HealthServer<impl Health>> {
    let (health, service) = tonic_health::server::health_reporter();
    health.set_serving::<AtomicBroadcast>().await;
    tokio::spawn(end_health(health, stopping.clone()));
    let service = service.max_decoding_message_size(UNARY_MAX_BYTES);
    UnaryMetrics::new(service, Arc::clone(&context.observer), admission)
}

/// Reports to watchers of the node's health that it stops, and ends their streams, which would otherwise delay its
/// end.
async fn end_health(mut health: HealthReporter, stopping: CancellationToken) {
    stopping.cancelled().await;
    let services = ["", <AtomicBroadcast as NamedService>::NAME];
    for service in services {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
    for service in services {
        health.clear_service_status(service).await;
    }
}

impl<H: Health> Services<UnaryMetrics<HealthServer<H>>> {
    async fn serve(self, connections: Divided, mut server: Server, stopping: CancellationToken) -> anyhow::Result<()> {
        let router = server.add_service(self.broadcast).add_service(self.health).add_optional_service(self.cluster);
        let served = router.serve_with_incoming_shutdown(until_the_end(connections), stopping.cancelled_owned());
        served.await.context("serve gRPC")
    }
}
