//! What admission looks at from time to time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Budget, ConnectionTable, Kind, LargeMessages, now_ms};

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

/// What bounds clients, for the whole node.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Memory for all that clients make the node hold.
    pub budget: Budget,
    /// Turns for large messages.
    pub large: LargeMessages,
    connections_max: usize,
    tables: Arc<Mutex<Vec<Arc<ConnectionTable>>>>,
}

impl Admission {
    /// Memory for clients in bytes, of which large messages may take `large_bytes` at a time, and connections of clients.
    pub fn new(bytes: usize, large_bytes: u32, connections_max: usize) -> Self {
        let (budget, large) = (Budget::new(bytes), LargeMessages::new(large_bytes));
        Self { budget, large, connections_max, tables: Arc::default() }
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
        let (used, limit) = (self.budget.used(), self.budget.limit());
        if used < limit / SHORT.1 * SHORT.0 {
            return;
        }
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let closed: usize = tables.iter().map(|table| table.close_debtors(limit / FREE_PART)).sum();
        if closed > 0 {
            tracing::warn!(target: "orderer.connection", closed, used, limit,
                "memory for clients is short: connections that hold it and do nothing are closed");
        }
    }
}
