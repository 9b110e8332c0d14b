//! `/debug/limits`: rate limits with their senders and rejections, and the memory that clients occupy.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::status::now_ms;
use orderer_core::rate_limit::SenderStats;
use orderer_ledger::BlockCache;
use serde::Serialize;

use super::Shared;
use crate::admission::{Admission, Connections, site};
use crate::http::response::json;

/// Maximum number of senders shown, those with the most envelopes; a list of thousands is of no use.
const SHOWN_MAX: usize = 500;
/// Maximum number of connections and addresses shown, those that hold most memory.
const HOLDERS_MAX: usize = 20;

#[derive(Serialize)]
struct LimitsView {
    now_ms: u64,
    limits: Limits,
    clients: Vec<Sender>,
    organizations: Vec<Sender>,
    memory: Memory,
}

/// Memory that clients make the node hold.
#[derive(Serialize)]
struct Memory {
    process_bytes: usize,
    parts: [Part; 3],
    listeners: Vec<Listener>,
    refusals: Vec<Counted>,
    /// The addresses that hold most.
    addresses: Vec<Address>,
    connections: Vec<Connection>,
}

#[derive(Serialize)]
struct Part {
    name: &'static str,
    used_bytes: usize,
    limit_bytes: usize,
    waiting: usize,
}

#[derive(Serialize)]
struct Listener {
    kind: &'static str,
    open: usize,
    max: usize,
    refused: u64,
    closed: u64,
    streams: usize,
}

/// Number of requests and envelopes that were rejected to protect memory.
#[derive(Serialize)]
struct Counted {
    why: &'static str,
    count: u64,
}

#[derive(Serialize)]
#[allow(clippy::struct_field_names, reason = "the field's name in JSON")]
struct Address {
    address: IpAddr,
    connections: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct Connection {
    peer: SocketAddr,
    kind: &'static str,
    phase: &'static str,
    streams: usize,
    incoming_bytes: usize,
    outgoing_bytes: usize,
}

/// Rate limits in envelopes per second; absent where there is none.
#[derive(Serialize)]
struct Limits {
    rate: Option<u32>,
    client_rate: Option<u32>,
    organization_rate: Option<u32>,
    inactivity_timeout_ms: u64,
}

#[derive(Serialize)]
struct Sender {
    #[serde(flatten)]
    sender: SenderStats,
    refused_at_ms: Option<u64>,
}

pub(super) async fn limits(State(debug): Shared) -> Response {
    let (fairness, uptime, now_ms) = (&debug.context.fairness, debug.context.uptime(), now_ms());
    let limits = fairness.limits();
    let some = |rate: u32| (rate > 0).then_some(rate);
    let senders = |senders: Vec<SenderStats>| {
        let show = |sender: SenderStats| {
            let ago = sender.refused_at.map(|at| uptime.saturating_sub(at));
            Sender { refused_at_ms: ago.map(|ago| now_ms.saturating_sub(millis(ago))), sender }
        };
        senders.into_iter().take(SHOWN_MAX).map(show).collect()
    };
    let shown = LimitsView {
        now_ms,
        limits: Limits {
            rate: some(limits.all),
            client_rate: some(limits.client),
            organization_rate: some(limits.organization),
            inactivity_timeout_ms: millis(limits.inactivity),
        },
        clients: senders(fairness.clients(uptime)),
        organizations: senders(fairness.organizations(uptime)),
        memory: memory(&debug.admission, debug.context.ledgers.block_cache()),
    };
    json(StatusCode::OK, &shown)
}

fn memory(admission: &Admission, blocks: &BlockCache) -> Memory {
    let Admission { budget, outgoing, .. } = admission;
    let part = |name, used_bytes, limit_bytes, waiting| Part { name, used_bytes, limit_bytes, waiting };
    let all = admission.holders(usize::MAX);
    let mut by_address: HashMap<IpAddr, Address> = HashMap::new();
    for holder in &all {
        let address = site(holder.address.ip());
        let sum = by_address.entry(address).or_insert(Address { address, connections: 0, bytes: 0 });
        sum.connections += 1;
        sum.bytes += holder.incoming_bytes + holder.outgoing_bytes;
    }
    let mut addresses: Vec<Address> = by_address.into_values().collect();
    addresses.sort_by_key(|address| Reverse(address.bytes));
    addresses.truncate(HOLDERS_MAX);
    let connections = all.iter().take(HOLDERS_MAX).map(|holder| Connection {
        peer: holder.address,
        kind: holder.kind.word(),
        phase: holder.phase.word(),
        streams: holder.streams,
        incoming_bytes: holder.incoming_bytes,
        outgoing_bytes: holder.outgoing_bytes,
    });
    let listeners = admission.connections().map(|(kind, counts)| {
        let Connections { open, max, refused, closed } = counts;
        let streams =
            admission.streams_open().into_iter().find(|(of, _)| *of == kind).map_or(0, |(_, streams)| streams);
        Listener { kind: kind.word(), open, max, refused, closed, streams }
    });
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Memory {
        process_bytes: admission.process_bytes(),
        parts: [
            part("incoming", budget.used(), budget.limit(), budget.waiting()),
            part("outgoing", outgoing.used(), outgoing.limit(), outgoing.waiting()),
            // unused entries are evicted: nothing waits
            part("blocks", bytes(blocks.bytes()), bytes(blocks.max_bytes()), 0),
        ],
        refusals: admission.refusals.all().map(|(why, count)| Counted { why: why.word(), count }).into(),
        listeners: listeners.into(),
        addresses,
        connections: connections.collect(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
