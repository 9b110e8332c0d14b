//! Endpoints that show what the node is doing, for operators and for the dashboard; and a failed channel's restart.
//! `docs/openapi.yaml` describes every response.
//!
//! All data is read from the status that actors, streams and chains publish. No actor is queried, so stuck actors are
//! shown too.

mod actors;
mod block;
mod block_metadata;
mod certificates;
mod channel;
mod channel_config;
mod channels;
mod config;
mod events;
mod history;
mod limits;
mod logs;
mod orderers;
mod refusals;
mod restart;
mod streams;
mod transaction;
mod warnings;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use orderer_actors::NodeContext;
use orderer_actors::channel::ChannelEntry;
use orderer_core::types::ChannelId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::response::{ApiError, wrong_method};
use crate::admission::Admission;
use crate::certificates::CertificateInventory;
use crate::disk_monitor::LedgerDisk;
use crate::history::History;
use crate::metrics::ClusterSides;
use crate::settings::EffectiveValue;
use crate::telemetry::LogControl;

pub(super) use events::EventReaders;

/// Maximum number of decoded values of a block or a configuration; the bytes beyond stay base64. About 20 MB of
/// memory while it is shown.
const VALUES_MAX: usize = 200_000;
/// Maximum number of concurrent tasks that read disks and certificates, because blocks are committed and envelopes
/// validated on the same threads.
const MAX_BLOCKING_READS: usize = 4;

/// State of the endpoints.
pub(super) struct DebugApi {
    /// The node's shared services.
    pub(super) context: Arc<NodeContext>,
    /// The disk of the ledgers.
    pub(super) disk: LedgerDisk,
    /// The history of the last minutes.
    pub(super) history: History,
    /// Limits on clients.
    pub(super) admission: Admission,
    /// Both sides of the connections to other orderers; `None` if there can be none.
    pub(super) cluster: Option<ClusterSides>,
    /// Controls what is logged.
    pub(super) logs: LogControl,
    /// The name of the configuration file, and the settings in force.
    pub(super) settings: (String, Vec<EffectiveValue>),
    /// The node's own certificates.
    pub(super) certificates: CertificateInventory,
    /// Cancelled when the node stops; ends streams of events.
    pub(super) stopping: CancellationToken,
    pub(super) event_readers: EventReaders,
    /// Permits for blocking tasks.
    pub(super) blocking_reads: BlockingReads,
}

/// Permits for tasks on blocking threads.
#[derive(Clone, Debug)]
pub(super) struct BlockingReads(Arc<Semaphore>);

impl Default for BlockingReads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BLOCKING_READS)))
    }
}

type Shared = axum::extract::State<Arc<DebugApi>>;

/// Returns the routes below `/debug`.
pub(super) fn debug(debug: DebugApi) -> Router {
    Router::new()
        .route("/debug/actors", get(actors::actors).fallback(only_get))
        .route("/debug/channels", get(channels::channels).fallback(only_get))
        .route("/debug/channels/{channel}", get(channel::channel).fallback(only_get))
        .route("/debug/channels/{channel}/restart", post(restart::restart).fallback(only_post))
        .route("/debug/channels/{channel}/blocks/{block}", get(block::block).fallback(only_get))
        .route("/debug/channels/{channel}/config", get(channel_config::config).fallback(only_get))
        .route("/debug/channels/{channel}/history", get(history::channel).fallback(only_get))
        .route("/debug/history", get(history::node).fallback(only_get))
        .route("/debug/refusals", get(refusals::refusals).fallback(only_get))
        .route("/debug/tx/{tx_id}", get(transaction::transaction).fallback(only_get))
        .route("/debug/streams", get(streams::streams).fallback(only_get))
        .route("/debug/orderers", get(orderers::orderers).fallback(only_get))
        .route("/debug/certificates", get(certificates::certificates).fallback(only_get))
        .route("/debug/warnings", get(warnings::warnings).fallback(only_get))
        .route("/debug/events", get(events::events).fallback(only_get))
        .route("/debug/config", get(config::config).fallback(only_get))
        .route("/debug/limits", get(limits::limits).fallback(only_get))
        .route("/debug/logs", get(logs::logs).fallback(only_get))
        .layer(from_fn(fresh))
        .with_state(Arc::new(debug))
}

async fn only_get(method: Method) -> ApiError {
    wrong_method(&method, "GET")
}

async fn only_post(method: Method) -> ApiError {
    wrong_method(&method, "POST")
}

/// Forbids caching, since every response soon is out of date.
async fn fresh(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn parse(name: &str) -> Result<ChannelId, ApiError> {
    ChannelId::parse(name).map_err(|e| ApiError::bad_request(format!("invalid channel ID: {e}")))
}

impl DebugApi {
    /// Runs on a blocking thread what waits for a disk or takes milliseconds, a few tasks at a time.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a task that has begun; it holds its permit until it ends.
    async fn run_blocking<T: Send + 'static>(&self, at: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let failed = |text: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text);
        let room = Arc::clone(&self.blocking_reads.0).acquire_owned().await.map_err(|e| failed(e.to_string()))?;
        let looked = tokio::task::spawn_blocking(move || {
            let _room = room;
            at()
        });
        looked.await.map_err(|e| failed(e.to_string()))
    }

    fn find(&self, name: &str) -> Result<(ChannelId, ChannelEntry), ApiError> {
        let id = parse(name)?;
        let entry = self.context.directory.get(name);
        entry.map(|entry| (id, entry)).ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "channel does not exist"))
    }
}
