//! Counters of subscribers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntCounter;

/// A channel's figures.
#[derive(Default)]
pub(super) struct DeliverSeries {
    pub(super) received: OnceLock<IntCounter>,
    pub(super) succeeded: OnceLock<IntCounter>,
    pub(super) failed: OnceLock<IntCounter>,
    pub(super) sent: OnceLock<IntCounter>,
    pub(super) now: AtomicUsize,
}

impl DeliverSeries {
    pub(super) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}
