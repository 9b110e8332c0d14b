//! Profiles for Go's pprof, in its format and at its paths: processor time, memory in use, and the state of the
//! actors.

use orderer_core::counted::counted;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use orderer_actors::NodeContext;
use serde::Serialize;
use tokio::sync::Mutex;

use super::allocation_count;
use super::heap_profile::{self, HeapProfileError};
use super::pprof_format::gzipped;
use super::response::{ApiError, json, not_found};

/// Samples per second, of all threads together. Not a round number, so that nothing which happens as often hides.
const FREQUENCY: i32 = 99;
/// Default and maximum duration of sampling in seconds; a response may take no longer than a minute.
const SECONDS: u64 = 30;
const SECONDS_MAX: u64 = 50;
/// Libraries in which a signal must not unwind the stack.
const NOT_WITHIN: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

const INDEX: &str = "\
/debug/pprof/

profile     processors: go tool pprof -http : 'http://ADDRESS/debug/pprof/profile?seconds=30'
goroutine   the actors, and what each is doing (text; there are no goroutines here)
cmdline     the command line
allocations the number of allocations of memory since the start, as JSON
heap        memory that is in use, by who allocated it: go tool pprof -http : http://ADDRESS/debug/pprof/heap
";

#[derive(Clone)]
struct Profiling {
    context: Arc<NodeContext>,
    /// Locked while a profile is taken, because there is one timer for the whole process.
    in_use: Arc<Mutex<()>>,
}

/// Returns the endpoint's routes.
pub fn profile(context: Arc<NodeContext>) -> Router {
    Router::new()
        .route("/debug/pprof/", get(async || text(INDEX.to_owned())))
        .route("/debug/pprof/profile", get(processors))
        .route("/debug/pprof/goroutine", get(actors))
        .route("/debug/pprof/cmdline", get(async || text(std::env::args().collect::<Vec<_>>().join("\0"))))
        .route("/debug/pprof/heap", get(heap))
        .route("/debug/pprof/allocations", get(allocations))
        .with_state(Profiling { context, in_use: Arc::default() })
        .fallback(not_found)
}

fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn heap() -> Result<Response, ApiError> {
    let taken = tokio::task::spawn_blocking(heap_profile::take).await;
    let taken =
        taken.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("take a heap profile: {e}")))?;
    let profile = taken.map_err(|error| {
        let status = match error {
            HeapProfileError::NotBuilt => StatusCode::NOT_IMPLEMENTED,
            HeapProfileError::Busy => StatusCode::CONFLICT,
            HeapProfileError::Refused(_) | HeapProfileError::Taken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    })?;
    Ok(attached("heap", profile))
}

/// Number of allocations since the start, those that are freed among them.
#[derive(Serialize)]
struct Allocations {
    allocations: u64,
}

async fn allocations() -> Result<Response, ApiError> {
    let counted = tokio::task::spawn_blocking(allocation_count::read).await;
    let failed = |error: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("count: {error}"));
    let allocations = counted.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    Ok(json(StatusCode::OK, &Allocations { allocations }))
}

fn attached(name: &str, profile: Vec<u8>) -> Response {
    let named = (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""));
    ([(header::CONTENT_TYPE, "application/octet-stream".to_owned()), named], profile).into_response()
}

async fn processors(State(profiling): State<Profiling>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let asked = query.as_deref().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = asked.map_or(Ok(SECONDS), str::parse).ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    let seconds = seconds.ok_or_else(|| ApiError::bad_request(format!("seconds must be from 1 to {SECONDS_MAX}")))?;
    let Ok(_alone) = profiling.in_use.try_lock() else {
        return Err(ApiError::new(StatusCode::CONFLICT, "a profile is being taken already"));
    };
    let failed = |error: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("take a profile: {error}"));
    let sampling = pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_WITHIN).build();
    let sampling = sampling.map_err(|e| failed(e.to_string()))?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // looks up names in the debug information: not on a thread that serves
    let taken = tokio::task::spawn_blocking(move || {
        let report = sampling.report().build().map_err(|e| e.to_string())?;
        drop(sampling);
        // the symbol tables would stay until the process ends
        backtrace::clear_symbol_cache();
        gzipped(&report).map_err(|e| e.to_string())
    });
    let profile = taken.await.map_err(|e| failed(e.to_string()))?.map_err(failed)?;
    Ok(attached("profile", profile))
}

async fn actors(State(profiling): State<Profiling>) -> Response {
    let all = profiling.context.status_board.all();
    let lines = all.iter().map(|(path, cell)| {
        let (report, handled) = (cell.report(), cell.handled());
        let mut line = format!("{path}: {}", report.state);
        for more in [
            &report.detail,
            &report.last_error.as_ref().map_or(String::new(), |error| format!("last error: {}", error.text)),
        ] {
            if !more.is_empty() {
                line = format!("{line}, {more}");
            }
        }
        format!("{line}; {}, {}\n", counted(handled, "message"), counted(report.restarts, "restart"))
    });
    text(format!("actors: {}\n{}", all.len(), lines.collect::<String>()))
}
