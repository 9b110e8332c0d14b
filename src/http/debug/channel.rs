//! `/debug/channels/CHANNEL`: one channel.

use std::io;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::channel::{Channel, ChannelEntry};
use orderer_actors::kafka::TopicHealth;
use orderer_actors::observer::StreamView;
use orderer_actors::status::{RECENT_BLOCKS, RecentBlock, now_ms};
use orderer_core::ordering::kafka::LastBlock;
use orderer_core::policy::PolicyDescription;
use orderer_core::types::BlockNumber;
use orderer_ledger::{Ledger, Space};
use serde::Serialize;

use super::Shared;
use super::channels::ChannelSummary;
use crate::disk_monitor;
use crate::http::response::{ApiError, json};

#[derive(Serialize)]
struct ChannelView {
    now_ms: u64,
    #[serde(flatten)]
    short: ChannelSummary,
    #[serde(flatten)]
    more: Option<ChannelDetails>,
}

#[derive(Serialize)]
struct ChannelDetails {
    blocks: Vec<RecentBlock>,
    cutter: Cutter,
    limits: Limits,
    organizations: Vec<String>,
    policies: Vec<PolicyDescription>,
    kafka: Option<Kafka>,
    /// Only while a Raft chain runs.
    raft: Option<Raft>,
    streams: Vec<StreamView>,
    /// The space of the ledgers' disk, if it can be read.
    disk: Option<Disk>,
}

/// Envelopes that wait for the next block.
#[derive(Serialize)]
struct Cutter {
    envelopes: usize,
    bytes: usize,
    timer_left_ms: Option<u64>,
}

#[derive(Serialize)]
struct Limits {
    max_message_count: u32,
    preferred_max_bytes: u32,
    absolute_max_bytes: u32,
    batch_timeout_ms: u128,
}

#[derive(Serialize)]
struct Kafka {
    #[serde(flatten)]
    health: TopicHealth,
    stored: Option<i64>,
    taken_in: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
}

/// What this node knows of the consenters.
#[derive(Serialize)]
struct Raft {
    is_leader: bool,
    /// Consenters that the leader hears from; 0 while there is no leader, and until its first report.
    active_nodes: u64,
    cluster_size: u64,
}

#[derive(Serialize)]
struct Disk {
    #[serde(rename = "ledger_bytes")]
    ledger: u64,
    #[serde(rename = "pending_bytes")]
    pending: u64,
    #[serde(rename = "free_bytes")]
    free: Option<u64>,
}

pub(super) async fn channel(State(debug): Shared, Path(name): Path<String>) -> Result<Response, ApiError> {
    let (id, entry) = debug.find(&name)?;
    let more = match &entry {
        ChannelEntry::Unavailable(_) => None,
        ChannelEntry::Open(channel) => {
            let (of_thread, context) = (Arc::clone(channel), Arc::clone(&debug.context));
            // reads blocks and files
            let more = debug.run_blocking(move || {
                ChannelDetails::of(
                    &of_thread,
                    context.observer.streams().of_channel(of_thread.id(), of_thread.ledger().height()),
                )
            });
            Some(more.await?)
        }
    };
    let short = ChannelSummary::of(&id, &entry, &debug.context);
    Ok(json(StatusCode::OK, &ChannelView { now_ms: now_ms(), short, more }))
}

impl ChannelDetails {
    fn of(channel: &Channel, streams: Vec<StreamView>) -> Self {
        let snapshot = channel.snapshot();
        let (envelopes, bytes) = channel.observer().waiting();
        let orderer = snapshot.orderer();
        let size = &orderer.batch_size;
        Self {
            blocks: newest_blocks(channel),
            cutter: Cutter { envelopes, bytes, timer_left_ms: channel.gauges().timer_left_ms() },
            limits: Limits {
                max_message_count: size.max_message_count,
                preferred_max_bytes: size.preferred_max_bytes,
                absolute_max_bytes: size.absolute_max_bytes,
                batch_timeout_ms: orderer.batch_timeout.as_millis(),
            },
            organizations: snapshot.msps().iter().map(|msp| msp.id().to_owned()).collect(),
            policies: snapshot.policies().in_words(),
            kafka: Kafka::of(channel),
            raft: Raft::of(channel),
            streams,
            disk: Disk::of(channel.ledger()).ok(),
        }
    }
}

impl Raft {
    fn of(channel: &Channel) -> Option<Self> {
        let shown = channel.observer().raft().shown()?;
        Some(Self { is_leader: shown.is_leader, active_nodes: shown.active_nodes, cluster_size: shown.cluster_size })
    }
}

/// Returns the latest blocks, newest first: those since this start, and as many older ones as fit.
fn newest_blocks(channel: &Channel) -> Vec<RecentBlock> {
    let mut notes = channel.gauges().recent();
    notes.reverse();
    let ledger = channel.ledger();
    let mut next =
        notes.last().map_or_else(|| Some(ledger.last_block().number().0), |oldest| oldest.number.checked_sub(1));
    while let Some(number) = next.filter(|_| notes.len() < RECENT_BLOCKS) {
        // a read error is reported where the block itself is requested
        let Ok(Some(block)) = ledger.block(BlockNumber(number)) else { break };
        notes.push(RecentBlock::of(&block, None));
        next = number.checked_sub(1);
    }
    notes
}

impl Kafka {
    fn of(channel: &Channel) -> Option<Self> {
        let (position, health) = (channel.observer().offsets(), channel.topic_health());
        if position.is_none() && health.is_none() {
            return None;
        }
        let stored = LastBlock::parse(&channel.ledger().last_block()).ok();
        Some(Self {
            health: health.map(|health| TopicHealth::clone(&health)).unwrap_or_default(),
            stored: stored.map(|last| last.metadata.last_offset_persisted.0),
            taken_in: position.map(|(next, _)| next),
            end: position.map(|(_, end)| end),
            lag: position.map(|(next, end)| (end - next).max(0)),
        })
    }
}

impl Disk {
    fn of(ledger: &Ledger) -> io::Result<Self> {
        let Space { file_bytes, pending_file_bytes } = ledger.space()?;
        let free = disk_monitor::disk_space(ledger.path()).ok().map(|room| room.free);
        Ok(Self { ledger: file_bytes, pending: pending_file_bytes, free })
    }
}
