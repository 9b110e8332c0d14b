//! The operations endpoint: health, metrics, log levels, version, and the routes below `/debug`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use orderer_actors::NodeContext;
use orderer_actors::channel::{ChannelEntry, ChannelState};
use orderer_actors::node_context::unix_now;
use orderer_core::identity::CertificateInfo;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::debug::{BlockingReads, DebugApi, EventReaders, debug};
use super::exposure::on_this_machine;
use super::page::page;
use super::response::{ApiError, json, not_found, require_client_certificate};
use crate::admission::Admission;
use crate::certificates::CertificateInventory;
use crate::disk_monitor::LedgerDisk;
use crate::history::History;
use crate::metrics::{ClusterSides, Metrics, TEXT_FORMAT};
use crate::settings::{DebugEndpoint, EffectiveValue};
use crate::telemetry::LogControl;

/// Maximum size in bytes of a body, which is a log spec.
const BODY_MAX_BYTES: usize = 64 << 10;

/// State of the endpoint.
pub struct OperationsApi {
    /// The node's shared services.
    pub context: Arc<NodeContext>,
    /// Limits on clients.
    pub admission: Admission,
    /// The disk of the ledgers.
    pub disk: LedgerDisk,
    /// The history of the last minutes.
    pub history: History,
    /// Both sides of the connections to other orderers; `None` if there can be none.
    pub cluster: Option<ClusterSides>,
    /// Controls what is logged.
    pub logs: LogControl,
    /// The metrics, if Prometheus is the provider.
    pub metrics: Option<Arc<Metrics>>,
    /// The name of the configuration file, and the settings in force.
    pub settings: (String, Vec<EffectiveValue>),
    /// The node's own certificates.
    pub certificates: CertificateInventory,
    /// The clients that may see the node's content.
    pub debug: DebugEndpoint,
    /// The host of the listener's address, as the configuration has it.
    pub listens_on: Arc<str>,
    /// Cancelled when the node stops; ends streams of events.
    pub stopping: CancellationToken,
    /// Whether the listener has TLS; then only clients with a certificate may use log levels.
    pub secured: bool,
}

type Shared = State<Arc<OperationsApi>>;

/// Returns the endpoint's routes.
pub fn operations(operations: OperationsApi) -> Router {
    let secured = operations.secured;
    let debug = debug(DebugApi {
        context: Arc::clone(&operations.context),
        admission: operations.admission.clone(),
        disk: operations.disk.clone(),
        history: operations.history.clone(),
        cluster: operations.cluster.clone(),
        logs: operations.logs.clone(),
        settings: operations.settings.clone(),
        certificates: operations.certificates.clone(),
        stopping: operations.stopping.clone(),
        event_readers: EventReaders::default(),
        blocking_reads: BlockingReads::default(),
    });
    let content = debug.merge(page());
    let content = match operations.debug {
        DebugEndpoint::Off => Router::new(),
        DebugEndpoint::Protected if !secured => {
            content.layer(from_fn_with_state(Arc::clone(&operations.listens_on), on_this_machine))
        }
        DebugEndpoint::Protected | DebugEndpoint::Open => content,
    };
    let shared = Arc::new(operations);
    let log_spec = Router::new().route("/logspec", get(log_spec).put(set_log_spec).fallback(wrong_method));
    let metrics = operations_metrics(&shared);
    let mut inner = log_spec.merge(metrics).with_state(Arc::clone(&shared)).merge(content);
    if secured {
        inner = inner.layer(from_fn(require_client_certificate));
    }
    Router::new()
        .route("/healthz", get(health).fallback(wrong_method))
        .route("/version", get(version).fallback(wrong_method))
        .with_state(shared)
        .merge(inner)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
}

/// Returns the route of the metrics, which exists only if Prometheus is the provider; as in Fabric.
fn operations_metrics(shared: &Arc<OperationsApi>) -> Router<Arc<OperationsApi>> {
    if shared.metrics.is_none() {
        return Router::new();
    }
    Router::new().route("/metrics", get(metrics).fallback(wrong_method))
}

async fn metrics(State(shared): Shared) -> Result<Response, ApiError> {
    let failed = |error: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    let Some(metrics) = shared.metrics.clone() else { return Err(not_found().await) };
    // with a thousand channels it is a long text
    let text = tokio::task::spawn_blocking(move || metrics.text()).await.map_err(|e| failed(e.to_string()))?;
    let text = text.map_err(|e| failed(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// Rejects the method with 400, as Fabric.
async fn wrong_method(method: Method) -> ApiError {
    ApiError::bad_request(format!("invalid request method: {method}"))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    time: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_checks: Vec<FailedCheck>,
}

#[derive(Serialize)]
struct FailedCheck {
    component: String,
    reason: String,
}

/// Reports health. A channel that accepts no messages, and will not by itself in a moment, is a failed check.
async fn health(State(shared): Shared) -> Response {
    let mut failed_checks = Vec::new();
    for (id, entry) in &*shared.context.directory.entries() {
        let reason = match entry {
            ChannelEntry::Unavailable(broken) => Some(broken.cause.clone()),
            ChannelEntry::Open(channel) => match channel.state() {
                state @ (ChannelState::Failed { .. }
                | ChannelState::Retrying { .. }
                | ChannelState::AwaitingKey { .. }
                | ChannelState::Restarting { .. }) => Some(state.to_string()),
                _ => channel.topic_health().and_then(|health| health.trouble.clone()),
            },
        };
        failed_checks.extend(reason.map(|reason| FailedCheck { component: format!("channel {id}"), reason }));
    }
    if let Some(status) = shared.context.token.as_ref().map(|token| token.status())
        && let Some(away) = status.away
    {
        let component = format!("token {}", status.label);
        failed_checks.push(FailedCheck { component, reason: format!("it does not sign: {}", away.cause) });
    }
    // clients that verify it can no longer connect
    for listener in &shared.certificates.listeners {
        let facts = listener.certificate().and_then(|der| CertificateInfo::of_der(&der).ok());
        if facts.is_some_and(|facts| facts.not_after.0 < unix_now().0) {
            let component = format!("certificate {}", listener.files().certificate.display());
            failed_checks.push(FailedCheck { component, reason: "it has expired".to_owned() });
        }
    }
    let time = OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap_or_default();
    let (code, status) = if failed_checks.is_empty() {
        (StatusCode::OK, "OK")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
    };
    json(code, &Health { status, time, failed_checks })
}

#[derive(Serialize)]
struct Version {
    #[serde(rename = "Version")]
    version: &'static str,
    #[serde(rename = "CommitSHA")]
    commit: &'static str,
}

async fn version() -> Response {
    let version = Version { version: env!("CARGO_PKG_VERSION"), commit: env!("ORDERER_BUILD_COMMIT") };
    json(StatusCode::OK, &version)
}

#[derive(Serialize, Deserialize)]
struct LogSpec {
    spec: String,
}

async fn log_spec(State(shared): Shared) -> Response {
    json(StatusCode::OK, &LogSpec { spec: shared.logs.spec() })
}

async fn set_log_spec(State(shared): Shared, body: Bytes) -> Result<Response, ApiError> {
    let wanted: LogSpec = serde_json::from_slice(&body).map_err(|e| ApiError::bad_request(e.to_string()))?;
    shared.logs.set(&wanted.spec).map_err(|e| ApiError::bad_request(e.to_string()))?;
    tracing::info!(target: "orderer.node", spec = %wanted.spec, "log levels were changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}
