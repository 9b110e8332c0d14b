//! The number of threads that validate envelopes right now. While there are fewer than processors, two threads
//! validate the envelopes of one stream; beyond that, handing envelopes over costs time and gains none.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// Counts the validating threads, for all streams of a node.
#[derive(Clone, Debug)]
pub struct ValidationThreads {
    at_work: Arc<AtomicUsize>,
    processors: usize,
}

impl Default for ValidationThreads {
    fn default() -> Self {
        Self { at_work: Arc::default(), processors: available_parallelism().map_or(1, NonZeroUsize::get) }
    }
}

impl ValidationThreads {
    /// Counts this thread, or one that is about to validate, until the returned value is dropped.
    pub(super) fn begin(&self) -> ThreadGuard {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        ThreadGuard(Arc::clone(&self.at_work))
    }

    /// Returns whether a processor has nothing to validate.
    pub(super) fn have_room(&self) -> bool {
        self.at_work.load(Ordering::Relaxed) < self.processors
    }
}

/// One validating thread, counted by [`ValidationThreads::begin`] until dropped.
#[derive(Debug)]
pub(super) struct ThreadGuard(Arc<AtomicUsize>);

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_as_many_as_there_are_processors() {
        let threads = ValidationThreads { at_work: Arc::default(), processors: 2 };
        let one = threads.begin();
        assert!(threads.have_room());
        let other = threads.begin();
        assert!(!threads.have_room());
        drop(one);
        assert!(threads.have_room());
        drop(other);
    }
}
