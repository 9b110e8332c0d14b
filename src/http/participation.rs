//! The channel participation API, as `osnadmin` of Fabric 2.3 to 3.1 speaks it: list, join, remove, and since 3.1.2
//! update and fetch.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, get, on};
use orderer_actors::NodeContext;
use orderer_actors::chain_state::error_chain;
use orderer_actors::channel::{Channel, ChannelEntry, ChannelState, ConsensusRelation};
use orderer_actors::mailbox::OrderError;
use orderer_actors::participation::{JoinBlock, JoinError, RemoveError};
use orderer_actors::validation_queue::{acquire_validation_permit, on_own_thread};
use orderer_core::types::ChannelId;
use orderer_ledger::Ledger;
use serde::Serialize;

use super::block_lookup;
use super::response::{ApiError, json, not_found, require_json_accept, wrong_method};
use crate::grpc::{ValidEnvelope, config_update_queue, validate_config_update};

const CHANNELS: &str = "/participation/v1/channels";
const BLOCK_PART: &str = "config-block";
const UPDATE_PART: &str = "config-update-envelope";

/// State of the API.
pub struct ParticipationApi {
    /// The node's shared services.
    pub context: Arc<NodeContext>,
    /// Whether the API is enabled.
    pub enabled: bool,
    /// Maximum size in bytes of a body.
    pub max_body_bytes: usize,
}

type Shared = State<Arc<ParticipationApi>>;

/// Returns the API's routes.
pub fn participation(administration: ParticipationApi) -> Router {
    let limit = DefaultBodyLimit::max(administration.max_body_bytes);
    let shared = Arc::new(administration);
    let channel = format!("{CHANNELS}/{{channel}}");
    Router::new()
        .route(CHANNELS, get(list_all).post(join).put(update).fallback(wrong_method_for_all))
        .route(&channel, on(MethodFilter::GET, list_one).delete(remove).fallback(wrong_method_for_one))
        .route(&format!("{channel}/blocks"), get(retained).fallback(wrong_method_for_block))
        .route(&format!("{channel}/blocks/{{block}}"), get(fetch).fallback(wrong_method_for_block))
        .route("/participation/v1/", get(redirect))
        .layer(from_fn(require_json_accept))
        .layer(from_fn_with_state(Arc::clone(&shared), is_enabled))
        .fallback(not_found)
        .layer(limit)
        .with_state(shared)
}

async fn is_enabled(State(shared): Shared, request: Request, next: Next) -> Response {
    if shared.enabled {
        return next.run(request).await;
    }
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "channel participation API is disabled").into_response()
}

async fn wrong_method_for_all(method: Method) -> ApiError {
    wrong_method(&method, "GET, POST, PUT")
}

async fn wrong_method_for_one(method: Method) -> ApiError {
    wrong_method(&method, "GET, DELETE")
}

async fn wrong_method_for_block(method: Method) -> ApiError {
    wrong_method(&method, "GET")
}

async fn redirect() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, CHANNELS)]).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChannelList {
    system_channel: Option<ChannelSummary>,
    channels: Option<Vec<ChannelSummary>>,
}

#[derive(Serialize)]
struct ChannelSummary {
    name: String,
    url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChannelInfo {
    name: String,
    url: String,
    consensus_relation: &'static str,
    status: &'static str,
    height: u64,
}

impl ChannelInfo {
    fn new(id: &ChannelId, consensus_relation: &'static str, status: &'static str, height: u64) -> Self {
        Self { name: id.to_string(), url: url(id), consensus_relation, status, height }
    }

    fn of(channel: &Channel) -> Self {
        let status = match channel.state() {
            ChannelState::Failed { .. } => "failed",
            ChannelState::CatchingUp { .. } | ChannelState::Onboarding { .. } => "onboarding",
            ChannelState::Stopped | ChannelState::Removed => "inactive",
            _ => "active",
        };
        Self::new(channel.id(), word(channel.relation()), status, channel.ledger().height())
    }
}

fn word(relation: ConsensusRelation) -> &'static str {
    match relation {
        ConsensusRelation::Consenter => "consenter",
        ConsensusRelation::Follower => "follower",
        ConsensusRelation::Other => "other",
    }
}

fn url(id: &ChannelId) -> String {
    format!("{CHANNELS}/{id}")
}

async fn list_all(State(shared): Shared) -> Response {
    let system = shared.context.directory.system_channel();
    let short = |id: &ChannelId| ChannelSummary { name: id.to_string(), url: url(id) };
    let all = shared.context.directory.entries();
    let others = all.keys().filter(|id| system.as_ref().is_none_or(|system| system.id() != *id));
    let others: Vec<ChannelSummary> = others.map(short).collect();
    let list = ChannelList {
        system_channel: system.as_ref().map(|system| short(system.id())),
        channels: (!others.is_empty()).then_some(others),
    };
    not_stored(json(StatusCode::OK, &list))
}

async fn list_one(State(shared): Shared, Path(channel): Path<String>) -> Result<Response, ApiError> {
    let id = parse_id(&channel)?;
    let info = match shared.context.directory.get(&channel) {
        Some(ChannelEntry::Open(channel)) => ChannelInfo::of(&channel),
        Some(ChannelEntry::Unavailable(_)) => ChannelInfo::new(&id, "other", "failed", 0),
        None if shared.context.membership.pending_removals().contains(&id) => {
            ChannelInfo::new(&id, "other", "inactive", 0)
        }
        None => return Err(ApiError::new(StatusCode::NOT_FOUND, "channel does not exist")),
    };
    Ok(not_stored(json(StatusCode::OK, &info)))
}

async fn join(State(shared): Shared, request: Request) -> Result<Response, ApiError> {
    let block = only_part(request, BLOCK_PART).await?;
    let of_thread = Arc::clone(&shared);
    let read = on_own_thread(move || JoinBlock::parse(&block, &of_thread.context));
    let block = read.await.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let block = block.map_err(|refused| refuse_join(&refused))?;
    let (is_first, relation) = (block.is_first(), block.relation(&shared.context));
    let joined = shared.context.membership.join(block).await;
    let channel = joined.map_err(|refused| refuse_join(&refused))?;
    if is_first && relation != ConsensusRelation::Follower {
        return Ok(created(&ChannelInfo::of(&channel)));
    }
    // as Fabric: there are no blocks at first of a channel that it follows, or that it has to catch up with
    Ok(created(&ChannelInfo::new(channel.id(), word(relation), "onboarding", 0)))
}

fn refuse_join(refused: &JoinError) -> ApiError {
    let text = refused.to_string();
    match refused {
        JoinError::SystemChannelExists => ApiError::not_allowed("GET", text),
        JoinError::ChannelExists => ApiError::not_allowed("GET, DELETE", text),
        JoinError::ApplicationChannelsExist => ApiError::new(StatusCode::FORBIDDEN, text),
        JoinError::OperationPending(_) => ApiError::new(StatusCode::CONFLICT, text),
        JoinError::Ledger(_) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        JoinError::Unavailable => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text),
        _ => ApiError::bad_request(text),
    }
}

async fn remove(State(shared): Shared, Path(channel): Path<String>) -> Result<StatusCode, ApiError> {
    let id = parse_id(&channel)?;
    let removed = shared.context.membership.remove(id).await;
    removed.map(|()| StatusCode::NO_CONTENT).map_err(|refused| {
        let text = refused.to_string();
        match refused {
            RemoveError::SystemChannelExists => ApiError::not_allowed("GET", text),
            RemoveError::NoSuchChannel => ApiError::new(StatusCode::NOT_FOUND, text),
            RemoveError::OperationPending(_) => ApiError::new(StatusCode::CONFLICT, text),
            RemoveError::Unavailable => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text),
            _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    })
}

/// Orders a config update, as if it had come over Broadcast. Responds when it is ordered.
async fn update(State(shared): Shared, request: Request) -> Result<Response, ApiError> {
    let envelope = only_part(request, UPDATE_PART).await?;
    let of_thread = Arc::clone(&shared);
    let unavailable = |why: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("cannot update: {why}"));
    let line = config_update_queue(&envelope, &shared.context).unwrap_or_default();
    // the client's address distinguishes nothing: administrators come by way of one machine
    let turn = acquire_validation_permit(&line, None).await.map_err(|crowded| unavailable(crowded.to_string()))?;
    let judged = on_own_thread(move || {
        let judged = validate_config_update(envelope, &of_thread.context);
        drop(turn);
        judged
    });
    let judged = judged.await.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let ValidEnvelope { channel, submission, .. } = judged.map_err(|refused| {
        let text = format!("cannot update: {}", refused.info);
        match refused.status {
            fabric_proto::common::Status::NotFound => ApiError::not_allowed("GET, POST", text),
            fabric_proto::common::Status::ServiceUnavailable => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text),
            // also where a signature is missing: 403 is the status of channels that are not ready
            _ => ApiError::bad_request(text),
        }
    })?;
    let Some(answer) = channel.gate().order(submission).await else {
        return Err(unavailable(channel.unavailable().await.to_string()));
    };
    match answer.await {
        Ok(Ok(())) => Ok(created(&ChannelInfo::of(&channel))),
        Ok(Err(OrderError::NoLongerValid { text, .. })) => Err(ApiError::bad_request(format!("cannot update: {text}"))),
        Ok(Err(refusal)) => Err(unavailable(refusal.to_string())),
        Err(_) => Err(unavailable(channel.unavailable().await.to_string())),
    }
}

/// The blocks that a channel's ledger has.
#[derive(Serialize)]
struct RetainedBlocks {
    name: String,
    height: u64,
    /// The first of the blocks that are all there.
    horizon: u64,
    /// Numbers of the config blocks before the horizon.
    history: Vec<u64>,
}

/// Responds which blocks can be fetched, for a backup.
async fn retained(State(shared): Shared, Path(channel): Path<String>) -> Result<Response, ApiError> {
    let ledger = open_ledger(&shared, &channel)?;
    let read = tokio::task::spawn_blocking(move || {
        let history = ledger.history().map_err(|e| internal(error_chain(&e)))?;
        let history = history.into_iter().map(|number| number.0).collect();
        Ok(RetainedBlocks { name: channel, height: ledger.height(), horizon: ledger.horizon().0, history })
    });
    let retained = read.await.map_err(|e| internal(e.to_string()))??;
    Ok(not_stored(json(StatusCode::OK, &retained)))
}

async fn fetch(State(shared): Shared, Path((channel, block)): Path<(String, String)>) -> Result<Response, ApiError> {
    let ledger = open_ledger(&shared, &channel)?;
    let number = block_lookup::number_of(&ledger, &block)?;
    let read = tokio::task::spawn_blocking(move || block_lookup::read(&ledger, number));
    let block = read.await.map_err(|e| internal(e.to_string()))??;
    let content = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok(not_stored((content, block.block_bytes()).into_response()))
}

fn internal(text: String) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}

fn open_ledger(shared: &ParticipationApi, channel: &str) -> Result<Arc<Ledger>, ApiError> {
    parse_id(channel)?;
    let missing = |text: String| ApiError::new(StatusCode::NOT_FOUND, text);
    match shared.context.directory.get(channel) {
        Some(ChannelEntry::Open(channel)) => Ok(Arc::clone(channel.ledger())),
        Some(ChannelEntry::Unavailable(broken)) => {
            Err(missing(format!("the channel cannot be opened: {}", broken.cause)))
        }
        None => Err(missing("channel does not exist".to_owned())),
    }
}

fn parse_id(channel: &str) -> Result<ChannelId, ApiError> {
    ChannelId::parse(channel).map_err(|e| ApiError::bad_request(format!("invalid channel ID: {e}")))
}

fn created(info: &ChannelInfo) -> Response {
    let mut response = json(StatusCode::CREATED, info);
    if let Ok(location) = info.url.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    response
}

/// Returns the content of a form's only part, a file of this name.
async fn only_part(request: Request, name: &'static str) -> Result<Bytes, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    if !content_type.starts_with("multipart/form-data") {
        return Err(ApiError::bad_request(format!("unsupported Content-Type: [{content_type}]")));
    }
    let unreadable = |text: String| ApiError::bad_request(format!("cannot read form from request body: {text}"));
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| unreadable(e.body_text()))?;
    let (mut found, mut parts) = (None, 0);
    while let Some(part) = form.next_field().await.map_err(|e| unreadable(e.body_text()))? {
        parts += 1;
        let is_it = part.name() == Some(name) && part.file_name().is_some();
        let content = part.bytes().await.map_err(|e| unreadable(e.body_text()))?;
        if is_it {
            found = Some(content);
        }
    }
    match found {
        None => Err(ApiError::bad_request(format!("form does not contains part key: {name}"))),
        Some(_) if parts > 1 => Err(ApiError::bad_request("form contains too many parts")),
        Some(content) => Ok(content),
    }
}
