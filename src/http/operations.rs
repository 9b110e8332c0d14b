//! The operations endpoint: health, log levels, version, and what the node is doing.

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
use orderer_actors::channel::{ChannelState, Entry};
use orderer_actors::node_context::unix_now;
use orderer_core::identity::CertificateFacts;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::answer::{Refused, has_certificate, json, not_found};
use super::debug::{Debug, EventReaders, Looks, debug};
use super::exposure::on_this_machine;
use super::page::page;
use crate::admission::Admission;
use crate::certificates::CertificatesInUse;
use crate::metrics::{Metrics, TEXT_FORMAT};
use crate::settings::{DebugEndpoint, Effective};
use crate::telemetry::LogControl;

/// A log spec is a line.
const BODY_MAX_BYTES: usize = 64 << 10;

/// What the endpoint works on.
pub struct Operations {
    /// The node.
    pub context: Arc<NodeContext>,
    /// What bounds clients.
    pub admission: Admission,
    /// What is logged.
    pub logs: LogControl,
    /// What is measured, if somebody fetches it from here.
    pub metrics: Option<Arc<Metrics>>,
    /// The node's own configuration, and the file that it is from.
    pub settings: (String, Vec<Effective>),
    /// The node's own certificates.
    pub certificates: CertificatesInUse,
    /// To whom the node's content is shown.
    pub debug: DebugEndpoint,
    /// The host of the listener's address, as the configuration has it.
    pub listens_on: Arc<str>,
    /// Streams of events end then.
    pub stopping: CancellationToken,
    /// Whether the listener has TLS; then log levels are only for those with a certificate.
    pub secured: bool,
}

type Shared = State<Arc<Operations>>;

/// The endpoint's routes.
pub fn operations(operations: Operations) -> Router {
    let secured = operations.secured;
    let debug = debug(Debug {
        context: Arc::clone(&operations.context),
        admission: operations.admission.clone(),
        logs: operations.logs.clone(),
        settings: operations.settings.clone(),
        certificates: operations.certificates.clone(),
        stopping: operations.stopping.clone(),
        event_readers: EventReaders::default(),
        looks: Looks::default(),
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
        inner = inner.layer(from_fn(has_certificate));
    }
    Router::new()
        .route("/healthz", get(health).fallback(wrong_method))
        .route("/version", get(version).fallback(wrong_method))
        .with_state(shared)
        .merge(inner)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
}

/// Nothing, unless Prometheus is the provider; as in the reference.
fn operations_metrics(shared: &Arc<Operations>) -> Router<Arc<Operations>> {
    if shared.metrics.is_none() {
        return Router::new();
    }
    Router::new().route("/metrics", get(metrics).fallback(wrong_method))
}

async fn metrics(State(shared): Shared) -> Result<Response, Refused> {
    let failed = |error: String| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    let Some(metrics) = shared.metrics.clone() else { return Err(not_found().await) };
    // with a thousand channels it is a long text
    let text = tokio::task::spawn_blocking(move || metrics.text()).await.map_err(|e| failed(e.to_string()))?;
    let text = text.map_err(|e| failed(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// 400, as the reference.
async fn wrong_method(method: Method) -> Refused {
    Refused::bad(format!("invalid request method: {method}"))
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

/// A channel that takes no messages, and will not by itself in a moment, is a failed check.
async fn health(State(shared): Shared) -> Response {
    let mut failed_checks = Vec::new();
    for (id, entry) in &*shared.context.directory.all() {
        let reason = match entry {
            Entry::Broken(broken) => Some(broken.cause.clone()),
            Entry::Open(channel) => match channel.state() {
                state @ (ChannelState::Failed { .. }
                | ChannelState::Retrying { .. }
                | ChannelState::Restarting { .. }) => Some(state.to_string()),
                _ => channel.kafka_health().and_then(|health| health.trouble.clone()),
            },
        };
        failed_checks.extend(reason.map(|reason| FailedCheck { component: format!("channel {id}"), reason }));
    }
    // nobody who looks at it gets in any more
    for listener in &shared.certificates.listeners {
        let facts = listener.certificate().and_then(|der| CertificateFacts::of_der(&der).ok());
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

async fn set_log_spec(State(shared): Shared, body: Bytes) -> Result<Response, Refused> {
    let wanted: LogSpec = serde_json::from_slice(&body).map_err(|e| Refused::bad(e.to_string()))?;
    shared.logs.set(&wanted.spec).map_err(|e| Refused::bad(e.to_string()))?;
    tracing::info!(target: "orderer.node", spec = %wanted.spec, "log levels were changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}
