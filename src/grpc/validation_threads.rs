//! Decides whether a second thread validates envelopes of a stream. It does while a processor is idle: where all are busy, handing
//! envelopes over costs time and gains none.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeMetrics};

/// Counts the validating threads, for all streams of a node.
#[derive(Clone, Debug)]
pub struct ValidationThreads {
    at_work: Arc<AtomicUsize>,
    processors: usize,
    /// Of the runtime that serves the streams.
    workers: RuntimeMetrics,
}

impl ValidationThreads {
    /// Creates a count for the streams that `runtime` serves.
    pub fn new(runtime: &Handle) -> Self {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        Self { at_work: Arc::default(), processors, workers: runtime.metrics() }
    }

    /// Counts this thread, or one that is about to validate, until the returned value is dropped.
    pub(super) fn begin(&self) -> ThreadGuard {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        ThreadGuard(Arc::clone(&self.at_work))
    }

    /// Returns whether another thread would find an idle processor: fewer threads validate than there are processors, and a worker
    /// of the runtime has nothing to do.
    pub(super) fn have_room(&self) -> bool {
        self.at_work.load(Ordering::Relaxed) < self.processors && self.has_parked_worker()
    }

    fn has_parked_worker(&self) -> bool {
        // counts both, so that it is odd while the worker is parked
        (0..self.workers.num_workers()).any(|worker| self.workers.worker_park_unpark_count(worker) % 2 == 1)
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
    use std::sync::Barrier;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn threads(runtime: &Runtime, processors: usize) -> ValidationThreads {
        ValidationThreads { processors, ..ValidationThreads::new(runtime.handle()) }
    }

    fn wait_until_parked(threads: &ValidationThreads) {
        while !threads.has_parked_worker() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn there_is_room_for_as_many_as_there_are_processors() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let threads = threads(&runtime, 2);
        wait_until_parked(&threads);
        let one = threads.begin();
        assert!(threads.have_room());
        let other = threads.begin();
        assert!(!threads.have_room());
        drop(one);
        assert!(threads.have_room());
        drop(other);
    }

    #[test]
    fn there_is_no_room_while_all_workers_are_busy() {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let threads = threads(&runtime, 2);
        let (begun, done) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
        for _ in 0..2 {
            let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
            runtime.spawn(async move {
                begun.wait();
                done.wait();
            });
        }
        begun.wait();
        assert!(!threads.have_room());
        done.wait();
        wait_until_parked(&threads);
        assert!(threads.have_room());
    }
}
