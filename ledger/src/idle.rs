//! Closing of databases that nobody uses. An open database takes some 50 kB, most of it tables of redb that cannot be made smaller, and
//! most of a thousand channels are quiet.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Duration without use after which a database that is open for writing may be closed. To open it again costs two syncs, so channels that
/// are all in use keep their databases open, however many they are.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// The databases that ledgers have open, and how many of them stay open while they are idle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenDatabases(Arc<Shared>);

struct Shared {
    max_idle: usize,
    started_at: Instant,
    open: AtomicUsize,
    members: Mutex<Vec<Weak<dyn IdleDatabase>>>,
}

/// A database that may be closed while nobody uses it.
pub(crate) trait IdleDatabase: Send + Sync {
    /// Returns how the database is open; `None` if it is closed or in use.
    fn usage(&self) -> Option<Usage>;

    /// Closes the database, unless somebody uses it now.
    fn close_unused(&self);
}

/// How a database is open, and when it was used last, in time since the [`OpenDatabases`] began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) is_writable: bool,
    pub(crate) last_used: Duration,
}

/// Counts one open database, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDatabases")
            .field("max_idle", &self.max_idle)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl OpenDatabases {
    /// Creates a pool in which at most `max_idle` databases stay open while they are idle.
    pub fn new(max_idle: usize) -> Self {
        let shared =
            Shared { max_idle, started_at: Instant::now(), open: AtomicUsize::new(0), members: Mutex::default() };
        Self(Arc::new(shared))
    }

    /// Returns the number of databases that are open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Returns the number of databases that stay open while they are idle.
    pub fn max_idle(&self) -> usize {
        self.0.max_idle
    }

    pub(crate) fn add(&self, database: Weak<dyn IdleDatabase>) {
        let mut members = self.0.members.lock().unwrap_or_else(PoisonError::into_inner);
        // room is made here, because ledgers come and go rarely
        if members.len() == members.capacity() {
            members.retain(|member| member.strong_count() > 0);
        }
        members.push(database);
    }

    pub(crate) fn count(&self) -> Counted {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }

    /// Returns the time since the pool began.
    pub(crate) fn now(&self) -> Duration {
        self.0.started_at.elapsed()
    }

    /// Closes idle databases while more than the limit are open. Performs blocking I/O.
    pub(crate) fn close_surplus(&self) {
        if self.open() <= self.0.max_idle {
            return;
        }
        // nobody is kept from dropping a ledger meanwhile, except the one whose database is just being closed
        let open: Vec<_> = {
            let members = self.0.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.iter().filter_map(|member| Some((member.clone(), member.upgrade()?.usage()?))).collect()
        };
        let usages = open.iter().map(|(_, usage)| *usage).enumerate().collect();
        for place in surplus(usages, self.open(), self.0.max_idle, self.now()) {
            if let Some(database) = open[place].0.upgrade() {
                database.close_unused();
            }
        }
    }
}

/// Returns which of these databases are closed so that at most `max_idle` of `open` stay open: the least recently used ones first. One
/// that is open for reading costs nothing to close; one that is open for writing must have been idle for a while.
fn surplus(mut usages: Vec<(usize, Usage)>, open: usize, max_idle: usize, now: Duration) -> Vec<usize> {
    usages.retain(|(_, usage)| !usage.is_writable || now.saturating_sub(usage.last_used) >= IDLE_AFTER);
    usages.sort_by_key(|(_, usage)| usage.last_used);
    usages.into_iter().take(open.saturating_sub(max_idle)).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(is_writable: bool, last_used_ms: u64) -> Usage {
        Usage { is_writable, last_used: Duration::from_millis(last_used_ms) }
    }

    fn closed(usages: &[Usage], open: usize, max_idle: usize) -> Vec<usize> {
        surplus(usages.iter().copied().enumerate().collect(), open, max_idle, Duration::from_secs(5))
    }

    #[test]
    fn the_least_recently_used_are_closed_until_the_limit_is_met() {
        let usages = [usage(true, 3000), usage(false, 4900), usage(true, 10), usage(true, 2000)];
        assert_eq!(closed(&usages, 4, 4), [0; 0]);
        assert_eq!(closed(&usages, 4, 3), [2]);
        assert_eq!(closed(&usages, 4, 1), [2, 3, 0]);
        assert_eq!(closed(&usages, 4, 0), [2, 3, 0, 1]);
    }

    #[test]
    fn those_in_use_count_and_are_not_closed() {
        assert_eq!(closed(&[usage(true, 0), usage(true, 1)], 10, 9), [0]);
        assert_eq!(closed(&[usage(true, 0)], 10, 5), [0]);
    }

    #[test]
    fn one_that_was_written_a_moment_ago_stays_open() {
        let usages = [usage(true, 4001), usage(false, 4999), usage(true, 4000)];
        assert_eq!(closed(&usages, 3, 0), [2, 1]);
    }
}
