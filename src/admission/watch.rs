//! Periodic checks of admission: slow messages, streams and memory.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::settings::Limits;

use super::peer::STREAM_BYTES;
use super::{
    Budget, ConnectionSnapshot, ConnectionTable, Kind, LargeMessages, Outgoing, RejectionCounters, Streams, now_ms,
};

/// Interval between checks.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Number of checks after which large messages are checked.
const LARGE_EVERY: u32 = 2;
/// Numerator and denominator of the part that is used when memory is short, which is before an address has used its
/// share.
const SHORT: (usize, usize) = (11, 16);
/// Divisor of the limit: the part that is freed at once when memory is short.
const FREE_PART: usize = 8;
/// Divisor of the memory for clients: the part that large messages may hold while they wait for their turn.
const LARGE_WAITING_PART: usize = 8;
/// Bytes reckoned for each of them: what HTTP/2 lets a client send before any of it is consumed.
const WAITING_BYTES: usize = 128 << 10;
/// Minimum number of large messages that may wait, however little memory there is.
const LARGE_WAITING_LEAST: usize = 8;
/// Maximum number of operators' connections, and the divisor that bounds them by the number of clients' connections.
const OPERATORS_MAX: usize = 256;
const OPERATORS_PART: usize = 16;
/// Divisor of the memory for clients: the part that operators' requests may use.
const OPERATORS_STREAMS_PART: usize = 16;

/// Connection counts of clients, or of operators.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    /// Number of open connections.
    pub open: usize,
    /// Maximum number of open connections.
    pub max: usize,
    /// Number of rejected connections.
    pub refused: u64,
    /// Number of connections that were closed because others needed their place or their memory.
    pub closed: u64,
}

/// The tables of all listeners. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables(Arc<Mutex<Vec<Arc<ConnectionTable>>>>);

impl Tables {
    pub(super) fn all(&self) -> Vec<Arc<ConnectionTable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, table: Arc<ConnectionTable>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(table);
    }
}

/// The limits on clients, for the whole node.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Memory for all that clients make the node hold.
    pub budget: Budget,
    /// Memory for blocks on their way to clients.
    pub outgoing: Outgoing,
    /// Turns for large messages.
    pub large: LargeMessages,
    /// Open requests of clients.
    pub streams: Streams,
    /// Open requests of operators.
    pub operators_streams: Streams,
    /// Rejections, counted by reason.
    pub refusals: RejectionCounters,
    process_bytes: usize,
    connections_max: usize,
    tables: Tables,
}

impl Admission {
    /// Creates the limits from the shares of memory in `limits`, and a maximum number of clients' connections.
    pub fn new(limits: &Limits, connections_max: usize) -> Self {
        let (tables, refusals) = (Tables::default(), RejectionCounters::default());
        let streams = |kind, max| Streams::new(kind, max, tables.clone(), refusals.clone());
        Self {
            budget: Budget::new(limits.client_bytes),
            streams: streams(Kind::Clients, limits.streams),
            operators_streams: streams(Kind::Operators, limits.client_bytes / OPERATORS_STREAMS_PART / STREAM_BYTES),
            outgoing: Outgoing::new(limits.outgoing_bytes),
            large: LargeMessages::new(
                limits.large_message_bytes,
                (limits.client_bytes / LARGE_WAITING_PART / WAITING_BYTES).max(LARGE_WAITING_LEAST),
            ),
            process_bytes: limits.memory_bytes,
            connections_max,
            refusals: refusals.clone(),
            tables: tables.clone(),
        }
    }

    /// For tests: gives everything `bytes` of memory.
    #[cfg(test)]
    pub(crate) fn of_memory(bytes: usize) -> Self {
        let limits = Limits {
            memory_bytes: bytes,
            client_bytes: bytes,
            outgoing_bytes: bytes,
            raft_log_bytes: 0,
            connections: 100,
            streams: 100,
            stream_bytes: bytes,
            streams_per_connection: 100,
            channel_ingress_bytes: 1 << 20,
            large_message_bytes: 1 << 20,
            block_cache_bytes: bytes,
        };
        Self::new(&limits, limits.connections)
    }

    /// Returns the memory of the whole process, in bytes.
    pub fn process_bytes(&self) -> usize {
        self.process_bytes
    }

    /// Returns the connection counts by kind.
    pub fn connections(&self) -> [(Kind, Connections); 2] {
        [Kind::Clients, Kind::Operators].map(|kind| {
            let mut sum = Connections::default();
            for table in self.tables().iter().filter(|table| table.kind() == kind) {
                let (refused, closed) = table.turned_away();
                sum.open += table.open();
                sum.max += table.max();
                sum.refused += refused;
                sum.closed += closed;
            }
            (kind, sum)
        })
    }

    /// Returns the number of open requests by kind.
    pub fn streams_open(&self) -> [(Kind, usize); 2] {
        [(Kind::Clients, self.streams.count()), (Kind::Operators, self.operators_streams.count())]
    }

    /// Returns the tables of all listeners.
    pub fn tables(&self) -> Vec<Arc<ConnectionTable>> {
        self.tables.all()
    }

    /// Returns the `count` connections that hold most.
    pub fn holders(&self, count: usize) -> Vec<ConnectionSnapshot> {
        let mut all: Vec<ConnectionSnapshot> = self.tables().iter().flat_map(|table| table.holders(count)).collect();
        all.sort_by_key(|holder| Reverse(holder.incoming_bytes + holder.outgoing_bytes));
        all.truncate(count);
        all
    }

    /// Creates a table for the connections of a listener.
    pub fn table(&self, kind: Kind) -> Arc<ConnectionTable> {
        let max = match kind {
            Kind::Clients => self.connections_max,
            Kind::Operators => OPERATORS_MAX.min(self.connections_max / OPERATORS_PART).max(1),
        };
        let table = Arc::new(ConnectionTable::new(kind, max, self.budget.clone()));
        self.tables.add(Arc::clone(&table));
        table
    }

    /// Checks until `stopping`: makes slow large messages give way, and, when memory is short, closes connections
    /// that hold it and do nothing.
    pub async fn watch(self, stopping: CancellationToken) {
        for round in 0u32.. {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stopping.cancelled() => return,
            }
            if round % LARGE_EVERY == 0 {
                self.large.check(now_ms());
            }
            self.streams.check(now_ms());
            self.operators_streams.check(now_ms());
            self.relieve();
            self.budget.nudge();
        }
    }

    fn relieve(&self) {
        let (used, limit) = (self.outgoing.used(), self.outgoing.limit());
        if self.outgoing.is_short_for_all() {
            let closed: usize = self.tables().iter().map(|table| table.close_stalled(limit / FREE_PART)).sum();
            if closed > 0 {
                tracing::warn!(target: "orderer.connection", closed, used, limit,
                    "memory for outgoing blocks is short; closing connections that do not read");
            }
        }
        let (used, limit) = (self.budget.used(), self.budget.limit());
        if used < limit / SHORT.1 * SHORT.0 {
            return;
        }
        let tables = self.tables();
        let mut closed: usize = tables.iter().map(|table| table.close_debtors(limit / FREE_PART)).sum();
        if closed == 0 && tables.iter().any(|table| table.is_starved()) {
            closed = tables.iter().map(|table| table.close_strangers(limit / FREE_PART / tables.len())).sum();
        }
        if closed > 0 {
            tracing::warn!(target: "orderer.connection", closed, used, limit,
                "memory for clients is short; closing idle connections that hold memory");
        }
    }
}
