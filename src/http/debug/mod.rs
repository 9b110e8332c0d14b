//! What the node is doing, for people and for the page that shows it; and a failed channel's restart. `docs/openapi.yaml`
//! describes every answer.
//!
//! Everything is read from what actors, streams and chains publish. Nobody is asked by a message, so a stuck actor is shown
//! as well as any other.

mod actors;
mod block;
mod certificates;
mod channel;
mod channel_config;
mod channels;
mod config;
mod events;
mod limits;
mod logs;
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
use orderer_actors::channel::Entry;
use orderer_core::channel::ChannelId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer::{Refused, wrong_method};
use crate::admission::Admission;
use crate::certificates::CertificatesInUse;
use crate::settings::Effective;
use crate::telemetry::LogControl;

pub(super) use events::EventReaders;

/// So many values of a block or a configuration are unfolded; the bytes of what is beyond stay base64. About 20 MB of memory
/// while it is shown.
const VALUES_MAX: usize = 200_000;
/// So many looks at disks and certificates are under way at once: blocks are committed and envelopes judged on the same
/// threads.
const LOOKS_MAX: usize = 4;

/// What is shown.
pub(super) struct Debug {
    /// The node.
    pub(super) context: Arc<NodeContext>,
    /// What bounds clients.
    pub(super) admission: Admission,
    /// What is logged.
    pub(super) logs: LogControl,
    /// The node's own configuration, and the file that it is from.
    pub(super) settings: (String, Vec<Effective>),
    /// The node's own certificates.
    pub(super) certificates: CertificatesInUse,
    /// Streams of events end then.
    pub(super) stopping: CancellationToken,
    pub(super) event_readers: EventReaders,
    /// See [`Looks`].
    pub(super) looks: Looks,
}

/// Room for what is looked at on blocking threads.
#[derive(Clone, Debug)]
pub(super) struct Looks(Arc<Semaphore>);

impl Default for Looks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKS_MAX)))
    }
}

type Shared = axum::extract::State<Arc<Debug>>;

/// The routes below `/debug`.
pub(super) fn debug(debug: Debug) -> Router {
    Router::new()
        .route("/debug/actors", get(actors::actors).fallback(only_get))
        .route("/debug/channels", get(channels::channels).fallback(only_get))
        .route("/debug/channels/{channel}", get(channel::channel).fallback(only_get))
        .route("/debug/channels/{channel}/restart", post(restart::restart).fallback(only_post))
        .route("/debug/channels/{channel}/blocks/{block}", get(block::block).fallback(only_get))
        .route("/debug/channels/{channel}/config", get(channel_config::config).fallback(only_get))
        .route("/debug/refusals", get(refusals::refusals).fallback(only_get))
        .route("/debug/tx/{tx_id}", get(transaction::transaction).fallback(only_get))
        .route("/debug/streams", get(streams::streams).fallback(only_get))
        .route("/debug/certificates", get(certificates::certificates).fallback(only_get))
        .route("/debug/warnings", get(warnings::warnings).fallback(only_get))
        .route("/debug/events", get(events::events).fallback(only_get))
        .route("/debug/config", get(config::config).fallback(only_get))
        .route("/debug/limits", get(limits::limits).fallback(only_get))
        .route("/debug/logs", get(logs::logs).fallback(only_get))
        .layer(from_fn(fresh))
        .with_state(Arc::new(debug))
}

async fn only_get(method: Method) -> Refused {
    wrong_method(&method, "GET")
}

async fn only_post(method: Method) -> Refused {
    wrong_method(&method, "POST")
}

/// Nothing here is true for long.
async fn fresh(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn parse(name: &str) -> Result<ChannelId, Refused> {
    ChannelId::parse(name).map_err(|e| Refused::bad(format!("invalid channel ID: {e}")))
}

impl Debug {
    /// Does on a blocking thread what waits for a disk or takes milliseconds, a few at a time.
    ///
    /// # Cancel safety
    /// A look that has begun goes on when nobody waits for it any more, and takes its room until it ends.
    async fn look<T: Send + 'static>(&self, at: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
        let failed = |text: String| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text);
        let room = Arc::clone(&self.looks.0).acquire_owned().await.map_err(|e| failed(e.to_string()))?;
        let looked = tokio::task::spawn_blocking(move || {
            let _room = room;
            at()
        });
        looked.await.map_err(|e| failed(e.to_string()))
    }

    fn find(&self, name: &str) -> Result<(ChannelId, Entry), Refused> {
        let id = parse(name)?;
        let entry = self.context.directory.find(name);
        entry.map(|entry| (id, entry)).ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "channel does not exist"))
    }
}
