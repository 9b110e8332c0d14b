//! What the node is doing: its actors and its channels, read from what they publish; and a failed channel's restart.
//! Nobody is asked by a message, so a stuck actor is shown as well as any other.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use orderer_actors::NodeContext;
use orderer_actors::channel::{Channel, ChannelState, Entry};
use orderer_actors::kafka::KafkaHealth;
use orderer_actors::membership::RestartError;
use orderer_actors::status::Report;
use orderer_core::channel::ChannelId;
use serde::Serialize;

use super::answer::{Refused, json, wrong_method};

type Shared = State<Arc<NodeContext>>;

/// The routes below `/debug`.
pub(super) fn debug(context: Arc<NodeContext>) -> Router {
    Router::new()
        .route("/debug/actors", get(actors).fallback(only_get))
        .route("/debug/channels", get(channels).fallback(only_get))
        .route("/debug/channels/{channel}", get(channel).fallback(only_get))
        .route("/debug/channels/{channel}/restart", post(restart).fallback(only_post))
        .with_state(context)
}

async fn only_get(method: Method) -> Refused {
    wrong_method(&method, "GET")
}

async fn only_post(method: Method) -> Refused {
    wrong_method(&method, "POST")
}

/// One actor. Times are milliseconds since 1970.
#[derive(Serialize)]
struct Actor {
    /// Its place in the tree: `registrar/CHANNEL/block-writer`.
    path: String,
    #[serde(flatten)]
    report: Report,
    /// Messages handled so far, by all that were in this place.
    handled: u64,
}

async fn actors(State(context): Shared) -> Response {
    let actor = |(path, report, handled)| Actor { path, report, handled };
    fresh(json(StatusCode::OK, &context.board.all().into_iter().map(actor).collect::<Vec<_>>()))
}

/// One channel.
#[derive(Serialize)]
struct Shown {
    name: String,
    #[serde(flatten)]
    state: ChannelState,
    /// The state in a sentence.
    says: String,
    #[serde(flatten)]
    chain: Option<Chain>,
}

/// What there is of a channel that could be opened.
#[derive(Serialize)]
struct Chain {
    height: u64,
    /// The first block of those that are all there.
    horizon: u64,
    last_block_hash: String,
    last_config_block: u64,
    config_sequence: u64,
    consensus_type: String,
    is_system_channel: bool,
    /// Envelopes that are not answered yet, in bytes; how many there is room for; and how many came in so far.
    waiting_bytes: usize,
    room_bytes: usize,
    ordered: u64,
    kafka: Option<KafkaHealth>,
}

impl Shown {
    fn of(id: &ChannelId, entry: &Entry) -> Self {
        let (state, chain) = match entry {
            Entry::Open(channel) => (channel.state(), Some(Chain::of(channel))),
            Entry::Broken(broken) => {
                let action = "see to its ledger's file, then restart the channel".to_owned();
                (ChannelState::Failed { cause: broken.cause.clone(), action }, None)
            }
        };
        Self { name: id.to_string(), says: state.to_string(), state, chain }
    }
}

impl Chain {
    fn of(channel: &Channel) -> Self {
        let (snapshot, last) = (channel.snapshot(), channel.ledger().last_block());
        Self {
            height: last.number().0 + 1,
            horizon: channel.ledger().horizon().0,
            last_block_hash: orderer_core::crypto::hex(last.header_hash()),
            last_config_block: last.last_config().0,
            config_sequence: snapshot.sequence().0,
            consensus_type: snapshot.orderer().consensus_type.clone(),
            is_system_channel: snapshot.is_system_channel(),
            waiting_bytes: channel.gate().taken_bytes(),
            room_bytes: channel.gate().capacity_bytes(),
            ordered: channel.gate().passed(),
            kafka: channel.kafka_health().map(|health| KafkaHealth::clone(&health)),
        }
    }
}

async fn channels(State(context): Shared) -> Response {
    let all = context.directory.all();
    let shown: Vec<Shown> = all.iter().map(|(id, entry)| Shown::of(id, entry)).collect();
    fresh(json(StatusCode::OK, &shown))
}

async fn channel(State(context): Shared, Path(name): Path<String>) -> Result<Response, Refused> {
    let id = parse(&name)?;
    let entry = context.directory.find(&name);
    let entry = entry.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "channel does not exist"))?;
    Ok(fresh(json(StatusCode::OK, &Shown::of(&id, &entry))))
}

/// Tries a failed channel again. Answered when its ledger is open; how its chain fares is shown at the channel's path.
async fn restart(State(context): Shared, Path(name): Path<String>) -> Result<StatusCode, Refused> {
    let restarted = context.membership.restart(parse(&name)?).await;
    restarted.map(|()| StatusCode::ACCEPTED).map_err(|refused| {
        let status = match refused {
            RestartError::NoSuchChannel => StatusCode::NOT_FOUND,
            RestartError::NotFailed(_) => StatusCode::CONFLICT,
            RestartError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused::new(status, refused.to_string())
    })
}

fn parse(name: &str) -> Result<ChannelId, Refused> {
    ChannelId::parse(name).map_err(|e| Refused::bad(format!("invalid channel ID: {e}")))
}

fn fresh(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
