//! What admission looks at from time to time.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::settings::Limits;

use super::{Budget, ConnectionTable, Holder, Kind, LargeMessages, Outgoing, now_ms};

/// How often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Large messages are looked at every so many times.
const LARGE_EVERY: u32 = 2;
/// Memory is short when so many of so many parts are used: before an address has used its share.
const SHORT: (usize, usize) = (11, 16);
/// When memory is short, so much of it is freed at once: one in so many bytes.
const FREE_PART: usize = 8;
/// Operators and their tools have no need for more connections.
const OPERATORS_MAX: usize = 256;

/// Connections of clients, or of operators.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    /// Open now.
    pub open: usize,
    /// That may be open.
    pub max: usize,
    /// That were refused.
    pub refused: u64,
    /// That were closed because others needed their place or their memory.
    pub closed: u64,
}

/// What bounds clients, for the whole node.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Memory for all that clients make the node hold.
    pub budget: Budget,
    /// Memory for blocks on their way to them.
    pub outgoing: Outgoing,
    /// Turns for large messages.
    pub large: LargeMessages,
    process_bytes: usize,
    connections_max: usize,
    tables: Arc<Mutex<Vec<Arc<ConnectionTable>>>>,
}

impl Admission {
    /// The shares of memory that `limits` has, and so many connections of clients.
    pub fn new(limits: &Limits, connections_max: usize) -> Self {
        Self {
            budget: Budget::new(limits.client_bytes),
            outgoing: Outgoing::new(limits.outgoing_bytes),
            large: LargeMessages::new(limits.large_message_bytes),
            process_bytes: limits.memory_bytes,
            connections_max,
            tables: Arc::default(),
        }
    }

    /// Memory of the whole process, in bytes.
    pub fn process_bytes(&self) -> usize {
        self.process_bytes
    }

    /// How many connections there are and were, by whose they are.
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

    /// The tables of all listeners.
    pub fn tables(&self) -> Vec<Arc<ConnectionTable>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connections that hold most, as many as wanted.
    pub fn holders(&self, count: usize) -> Vec<Holder> {
        let mut all: Vec<Holder> = self.tables().iter().flat_map(|table| table.holders(count)).collect();
        all.sort_by_key(|holder| Reverse(holder.incoming_bytes + holder.outgoing_bytes));
        all.truncate(count);
        all
    }

    /// A table for the connections of a listener.
    pub fn table(&self, kind: Kind) -> Arc<ConnectionTable> {
        let max = match kind {
            Kind::Clients => self.connections_max,
            Kind::Operators => OPERATORS_MAX.min(self.connections_max),
        };
        let table = Arc::new(ConnectionTable::new(kind, max, self.budget.clone()));
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&table));
        table
    }

    /// Looks until `stopping`: makes slow large messages give way, and, when memory is short, closes connections that hold
    /// it and do nothing.
    pub async fn watch(self, stopping: CancellationToken) {
        for round in 0u32.. {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stopping.cancelled() => return,
            }
            if round % LARGE_EVERY == 0 {
                self.large.look(now_ms());
            }
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
                    "memory for blocks on their way out is short: connections that take none of theirs are closed");
            }
        }
        let (used, limit) = (self.budget.used(), self.budget.limit());
        if used < limit / SHORT.1 * SHORT.0 {
            return;
        }
        let closed: usize = self.tables().iter().map(|table| table.close_debtors(limit / FREE_PART)).sum();
        if closed > 0 {
            tracing::warn!(target: "orderer.connection", closed, used, limit,
                "memory for clients is short: connections that hold it and do nothing are closed");
        }
    }
}
