//! `/debug/actors`: the actor tree.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::channel::{Channel, ChannelEntry};
use orderer_actors::status::{Activity, ActorStatus, ArbiterHeartbeat, HealthLevel, STUCK_AFTER, StatusCell, now_ms};
use serde::Serialize;

use super::{DebugApi, Shared};
use crate::http::response::json;

#[derive(Serialize)]
struct Tree {
    now_ms: u64,
    stuck_after_ms: u128,
    times_stuck: u64,
    restart_policy: Policy,
    arbiters: Vec<ArbiterHeartbeat>,
    actors: Vec<Actor>,
}

#[derive(Serialize)]
struct Policy {
    limit: usize,
    window_ms: u128,
    first_pause_ms: u128,
    longest_pause_ms: u128,
}

#[derive(Serialize)]
struct Actor {
    /// The actor's place in the tree: `registrar/CHANNEL/block-writer`.
    path: String,
    #[serde(flatten)]
    report: ActorStatus,
    level: HealthLevel,
    restarts_in_window: usize,
    handled: u64,
    mailbox: Mailbox,
    in_hand: Option<Activity>,
}

#[derive(Serialize)]
struct Mailbox {
    depth: u64,
    high_water: u64,
    bytes: Option<usize>,
    capacity_bytes: Option<usize>,
}

pub(super) async fn actors(State(debug): Shared) -> Response {
    let policy = &debug.context.channel_restarts;
    let restart_policy = Policy {
        limit: policy.limit,
        window_ms: policy.window.as_millis(),
        first_pause_ms: policy.initial_delay.as_millis(),
        longest_pause_ms: policy.max_delay.as_millis(),
    };
    let board = &debug.context.status_board;
    let actors = board.all().into_iter().map(|(path, cell)| Actor::of(&debug, path, &cell)).collect();
    let shown = Tree {
        now_ms: now_ms(),
        stuck_after_ms: STUCK_AFTER.as_millis(),
        times_stuck: board.stuck_total(),
        restart_policy,
        arbiters: board.heartbeats(),
        actors,
    };
    json(StatusCode::OK, &shown)
}

impl Actor {
    fn of(debug: &DebugApi, path: String, cell: &StatusCell) -> Self {
        let (report, depth, in_hand) = (cell.report(), cell.mailbox(), cell.current_activity());
        let stuck = in_hand.as_ref().is_some_and(Activity::is_stuck);
        let at_gate =
            behind_gate(debug, &path, |channel| (channel.gate().bytes_in_flight(), channel.gate().capacity_bytes()));
        Self {
            level: if stuck { HealthLevel::Bad } else { HealthLevel::of_actor(&report.state) },
            restarts_in_window: report.restarts_within(debug.context.channel_restarts.window),
            handled: cell.handled(),
            mailbox: Mailbox {
                depth: depth.depth,
                high_water: depth.high_water,
                bytes: at_gate.map(|(bytes, _)| bytes),
                capacity_bytes: at_gate.map(|(_, capacity)| capacity),
            },
            in_hand,
            report,
            path,
        }
    }
}

/// Returns a value of the channel whose gate leads to this actor.
fn behind_gate<T>(debug: &DebugApi, path: &str, of: impl Fn(&Channel) -> T) -> Option<T> {
    let below = path.strip_prefix("registrar/")?;
    let (name, actor) = below.split_once('/')?;
    if actor != "solo-chain" && actor != "kafka-chain/kafka-producer" {
        return None;
    }
    match debug.context.directory.get(name) {
        Some(ChannelEntry::Open(channel)) => Some(of(&channel)),
        _ => None,
    }
}
