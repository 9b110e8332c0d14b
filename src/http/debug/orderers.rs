//! `/debug/orderers`: the connections to other orderers, and the queues of each channel.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::status::now_ms;
use orderer_cluster::{ConnectionState, DestinationStatus, LastError, PeerStatus, QueueStatus};
use serde::Serialize;

use super::Shared;
use crate::http::response::json;

#[derive(Serialize)]
struct Orderers {
    now_ms: u64,
    /// Streams of other orderers.
    incoming: Incoming,
    connections: Vec<Destination>,
    channels: Vec<OfChannel>,
}

#[derive(Default, Serialize)]
struct Incoming {
    streams: usize,
    consensus: u64,
    submit: u64,
    dropped: u64,
    refused: u64,
}

/// The state of a connection.
#[derive(Serialize)]
struct Connection {
    state: &'static str,
    since_ms: Option<u64>,
    certificate_expires_ms: Option<i64>,
    failures: Option<u32>,
    next_attempt_ms: Option<u64>,
    last_error: Option<String>,
    last_error_ms: Option<u64>,
}

#[derive(Serialize)]
struct Destination {
    endpoint: String,
    #[serde(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct OfChannel {
    channel: String,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Peer {
    id: u64,
    endpoint: String,
    #[serde(flatten)]
    connection: Connection,
    consensus: Queue,
    submit: Queue,
}

#[derive(Serialize)]
struct Queue {
    is_open: bool,
    length: usize,
    capacity: usize,
    sent: u64,
    sent_bytes: u64,
    dropped: u64,
}

fn since_1970(at: SystemTime) -> u64 {
    let time = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Connection {
    fn of(state: &ConnectionState, error: Option<&LastError>) -> Self {
        let shown = Self {
            state: "closed",
            since_ms: None,
            certificate_expires_ms: None,
            failures: None,
            next_attempt_ms: None,
            last_error: error.map(|error| error.text.clone()),
            last_error_ms: error.map(|error| since_1970(error.at)),
        };
        match state {
            ConnectionState::Closed => shown,
            ConnectionState::Connecting => Self { state: "connecting", ..shown },
            ConnectionState::Impossible => Self { state: "impossible", ..shown },
            ConnectionState::Connected { since, certificate_expires } => Self {
                state: "connected",
                since_ms: Some(since_1970(*since)),
                certificate_expires_ms: Some(certificate_expires.saturating_mul(1000)),
                ..shown
            },
            ConnectionState::Waiting { failures, until } => {
                Self { state: "waiting", failures: Some(*failures), next_attempt_ms: Some(since_1970(*until)), ..shown }
            }
        }
    }
}

impl From<DestinationStatus> for Destination {
    fn from(status: DestinationStatus) -> Self {
        let connection = Connection::of(&status.connection, status.last_error.as_ref());
        Self { endpoint: status.endpoint, connection }
    }
}

impl From<QueueStatus> for Queue {
    fn from(status: QueueStatus) -> Self {
        let QueueStatus { is_open, length, capacity, sent, sent_bytes, dropped, .. } = status;
        Self { is_open, length, capacity, sent, sent_bytes, dropped }
    }
}

impl From<PeerStatus> for Peer {
    fn from(status: PeerStatus) -> Self {
        Self {
            id: status.id,
            connection: Connection::of(&status.connection, status.last_error.as_ref()),
            endpoint: status.endpoint,
            consensus: status.consensus.into(),
            submit: status.submit.into(),
        }
    }
}

pub(super) async fn orderers(State(debug): Shared) -> Response {
    let mut shown =
        Orderers { now_ms: now_ms(), incoming: Incoming::default(), connections: Vec::new(), channels: Vec::new() };
    if let Some(cluster) = &debug.cluster {
        let figures = cluster.service.figures();
        shown.incoming = Incoming {
            streams: figures.streams,
            consensus: figures.consensus,
            submit: figures.submit,
            dropped: figures.dropped,
            refused: figures.refused,
        };
        shown.connections = cluster.network.destinations().into_iter().map(Destination::from).collect();
        let of_channel = |(channel, peers): (std::sync::Arc<str>, Vec<PeerStatus>)| OfChannel {
            channel: channel.to_string(),
            peers: peers.into_iter().map(Peer::from).collect(),
        };
        shown.channels = cluster.network.channels().into_iter().map(of_channel).collect();
    }
    json(StatusCode::OK, &shown)
}
