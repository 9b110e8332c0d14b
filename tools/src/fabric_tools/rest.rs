//! The REST server of configtxlator. It has no authentication and keeps nothing. Connections, bodies, the values of a
//! message, conversions at a time and the duration of a request are limited.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Multipart, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderValue, Method, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::configtxlator::{configuration, decode, encode, update};

/// Maximum size in bytes of a body; the largest block that a channel allows by default has 10 MiB.
const BODY_MAX_BYTES: usize = 32 << 20;
/// Maximum number of values of a decoded message; each takes some 60 bytes. More stay base64.
const VALUES_MAX: usize = 2_000_000;
/// Maximum number of conversions at a time.
const CONVERSIONS_MAX: usize = 2;
/// Maximum number of connections at a time, each with one request; others wait in the queue of the socket.
const CONNECTIONS_MAX: usize = 16;
/// Time limit for the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for a connection, from its start until the response was taken.
const CONNECTION_LIMIT: Duration = Duration::from_secs(120);

/// Serves until the process is ended.
pub(super) fn serve(hostname: &str, port: u16, cors: &[String]) -> anyhow::Result<()> {
    let router = router(cors)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let failed = || format!("could not bind to address '{hostname}:{port}'");
    let listener = TcpListener::bind((hostname, port)).with_context(failed)?;
    listener.set_nonblocking(true).with_context(failed)?;
    let address = listener.local_addr().with_context(failed)?;
    let origins = if cors.is_empty() { String::new() } else { format!(" with CORS [{}]", cors.join(" ")) };
    eprintln!("configtxlator: serving HTTP requests on {address}{origins}");
    runtime.block_on(accept(listener, router))
}

async fn accept(listener: TcpListener, router: Router) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("use the listener")?;
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await.context("the server is closed")?;
        // a connection that ended before it was accepted does not concern others
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            // the client learns of a time limit by the end of the connection
            let _ = tokio::time::timeout(CONNECTION_LIMIT, converse(stream, router)).await;
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, router: Router) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).keep_alive(false);
    // an error is that of the client's connection
    let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

type Conversions = State<Arc<Semaphore>>;

fn router(cors: &[String]) -> anyhow::Result<Router> {
    let router = Router::new()
        .route("/protolator/encode/{message}", post(encoded))
        .route("/protolator/decode/{message}", post(decoded))
        .route("/configtxlator/compute/update-from-configs", post(computed))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(Arc::new(Semaphore::new(CONVERSIONS_MAX)));
    if cors.is_empty() {
        return Ok(router);
    }
    let origins = if cors.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origin = |origin: &String| HeaderValue::from_str(origin).with_context(|| format!("--CORS {origin}"));
        AllowOrigin::list(cors.iter().map(origin).collect::<anyhow::Result<Vec<_>>>()?)
    };
    let headers = CorsLayer::new().allow_origin(origins).allow_methods([Method::POST]);
    Ok(router.layer(headers.allow_headers([header::CONTENT_TYPE])))
}

async fn encoded(State(limit): Conversions, Path(message): Path<String>, body: Bytes) -> Response {
    known(
        &message,
        "application/octet-stream",
        convert(limit, move |kind| encode(kind, &body, VALUES_MAX), &message).await,
    )
}

async fn decoded(State(limit): Conversions, Path(message): Path<String>, body: Bytes) -> Response {
    known(&message, "application/json", convert(limit, move |kind| decode(kind, &body, VALUES_MAX), &message).await)
}

/// Query of the computation.
#[derive(Deserialize)]
struct OfChannel {
    channel: Option<String>,
}

async fn computed(State(limit): Conversions, Query(query): Query<OfChannel>, mut form: Multipart) -> Response {
    let (mut original, mut updated, mut channel) = (None, None, None);
    loop {
        let part = match form.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(error) => return refused(error.status(), &error.body_text()),
        };
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = match part.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return refused(error.status(), &format!("Error with field '{name}': {}", error.body_text())),
        };
        match name.as_str() {
            "original" => original = Some(bytes),
            "updated" => updated = Some(bytes),
            "channel" => channel = Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => {}
        }
    }
    let channel = query.channel.or(channel).unwrap_or_default();
    let compute = move |channel: &str| {
        let read = |name: &str, bytes: Option<Bytes>| {
            let bytes = bytes.with_context(|| format!("Error with field '{name}': it is missing"))?;
            configuration(&bytes).with_context(|| format!("Error with field '{name}'"))
        };
        let (original, updated) = (read("original", original)?, read("updated", updated)?);
        update(&original, &updated, channel).context("Error computing update")
    };
    answered("application/octet-stream", convert(limit, compute, &channel).await)
}

/// Converts on a blocking thread, with the name as its argument.
async fn convert(
    limit: Arc<Semaphore>,
    work: impl FnOnce(&str) -> anyhow::Result<Vec<u8>> + Send + 'static,
    name: &str,
) -> anyhow::Result<Vec<u8>> {
    let permit = limit.acquire_owned().await.context("the server is closed")?;
    let name = name.to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&name);
        drop(permit);
        done
    });
    done.await.context("convert")?
}

/// Answers with a conversion, or that there is no such message.
fn known(message: &str, kind: &'static str, converted: anyhow::Result<Vec<u8>>) -> Response {
    if fabric_json::is_known(message) {
        return answered(kind, converted);
    }
    refused(StatusCode::NOT_FOUND, &format!("message type not found: {message}"))
}

fn answered(kind: &'static str, converted: anyhow::Result<Vec<u8>>) -> Response {
    match converted {
        Ok(bytes) => ([(header::CONTENT_TYPE, kind)], Body::from(bytes)).into_response(),
        Err(error) => refused(StatusCode::BAD_REQUEST, &format!("{error:#}")),
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}
