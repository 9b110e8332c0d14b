//! `/debug/channels`: a summary of every channel.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::NodeContext;
use orderer_actors::channel::{Channel, ChannelEntry, ChannelState};
use orderer_actors::status::{HealthLevel, now_ms};
use orderer_core::config::ConsenterKind;
use orderer_core::types::ChannelId;
use serde::Serialize;

use super::Shared;
use crate::http::response::json;

#[derive(Serialize)]
struct Channels {
    now_ms: u64,
    channels: Vec<ChannelSummary>,
}

/// The summary of one channel.
#[derive(Serialize)]
pub(super) struct ChannelSummary {
    name: String,
    #[serde(flatten)]
    state: ChannelState,
    level: HealthLevel,
    /// The state in a sentence.
    says: String,
    #[serde(flatten)]
    chain: Option<Chain>,
}

/// Details of a channel that could be opened.
#[derive(Serialize)]
struct Chain {
    since_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_ms: Option<u64>,
    height: u64,
    /// Number of the first block from which on no block is missing.
    horizon: u64,
    last_block_hash: String,
    last_block_ms: Option<u64>,
    last_config_block: u64,
    config_sequence: u64,
    consensus_type: String,
    engine: Option<&'static str>,
    is_system_channel: bool,
    /// Bytes of envelopes in flight, the gate's capacity in bytes, and the number of envelopes admitted so far.
    waiting_bytes: usize,
    room_bytes: usize,
    ordered: u64,
    /// Envelopes that wait for the next block; only while there is a chain.
    pending: Option<usize>,
    subscribers: usize,
    kafka_lag: Option<i64>,
}

impl ChannelSummary {
    pub(super) fn of(id: &ChannelId, entry: &ChannelEntry, context: &NodeContext) -> Self {
        let (state, chain) = match entry {
            ChannelEntry::Open(channel) => (channel.state(), Some(Chain::of(channel, context))),
            ChannelEntry::Unavailable(broken) => {
                let action = "restore the file of its ledger from a copy and restart the channel; or remove the \
                              channel and join it again, on Raft after this orderer was removed from the consenters"
                    .to_owned();
                (ChannelState::Failed { cause: broken.cause.clone(), action }, None)
            }
        };
        let level = level_of(&state, chain.as_ref().map_or(0, |chain| chain.since_ms));
        Self { name: id.to_string(), says: state.to_string(), level, state, chain }
    }
}

/// Milliseconds without a leader after which an operator has to act: an election takes a few seconds.
pub(super) const LEADERLESS_MS: u64 = 30_000;

/// Returns the level of a channel's state, which has lasted since `since_ms`.
pub(super) fn level_of(state: &ChannelState, since_ms: u64) -> HealthLevel {
    match state {
        ChannelState::Electing if now_ms().saturating_sub(since_ms) > LEADERLESS_MS => HealthLevel::Bad,
        state => HealthLevel::of_channel(state),
    }
}

/// Returns whether the channel has a chain. Without one, only the ledger knows what is pending.
fn has_chain(state: &ChannelState) -> bool {
    match state {
        ChannelState::Running
        | ChannelState::Electing
        | ChannelState::Following
        | ChannelState::Onboarding { .. }
        | ChannelState::CatchingUp { .. }
        | ChannelState::Retrying { .. } => true,
        ChannelState::Starting
        | ChannelState::Connecting
        | ChannelState::AwaitingKey { .. }
        | ChannelState::Restarting { .. }
        | ChannelState::Failed { .. }
        | ChannelState::Stopped
        | ChannelState::Removed => false,
    }
}

impl Chain {
    fn of(channel: &Channel, context: &NodeContext) -> Self {
        let (snapshot, last, observer) = (channel.snapshot(), channel.ledger().last_block(), channel.observer());
        Self {
            since_ms: channel.state_since_ms(),
            next_attempt_ms: channel.next_attempt_ms(),
            height: last.number().0 + 1,
            horizon: channel.ledger().horizon().0,
            last_block_hash: orderer_core::crypto::hex(last.header_hash()),
            last_block_ms: channel.gauges().last_written_ms(),
            last_config_block: last.last_config().0,
            config_sequence: snapshot.sequence().0,
            consensus_type: snapshot.orderer().consensus_type.clone(),
            engine: context.engine(&snapshot).ok().map(|engine| match engine {
                ConsenterKind::Solo => "solo",
                ConsenterKind::Kafka { .. } => "kafka",
                ConsenterKind::Raft => "raft",
            }),
            is_system_channel: snapshot.is_system_channel(),
            waiting_bytes: channel.gate().bytes_in_flight(),
            room_bytes: channel.gate().capacity_bytes(),
            ordered: channel.gate().admitted_total(),
            pending: has_chain(&channel.state()).then(|| observer.waiting().0),
            subscribers: observer.subscribers(),
            kafka_lag: observer.offsets().map(|(next, end)| (end - next).max(0)),
        }
    }
}

pub(super) async fn channels(State(debug): Shared) -> Response {
    let context = &debug.context;
    let all = context.directory.entries();
    let channels = all.iter().map(|(id, entry)| ChannelSummary::of(id, entry, context)).collect();
    json(StatusCode::OK, &Channels { now_ms: now_ms(), channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_stays_without_a_leader_needs_an_operator() {
        let level = |state, seconds: u64| level_of(&state, now_ms() - seconds * 1000);
        assert_eq!(level(ChannelState::Electing, 5), HealthLevel::Busy);
        assert_eq!(level(ChannelState::Electing, 60), HealthLevel::Bad);
        assert_eq!(level(ChannelState::Connecting, 60), HealthLevel::Busy);
        assert_eq!(level(ChannelState::Running, 60), HealthLevel::Good);
    }
}
