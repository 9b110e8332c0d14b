//! Statistics of the messages to one peer.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::api::{QueueStatus, SEND_TIME_BOUNDS};

/// Statistics of one queue. They outlive its streams.
#[derive(Debug, Default)]
pub(super) struct QueueStatistics {
    length: AtomicUsize,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    dropped: AtomicU64,
    waited_nanos: AtomicU64,
    waits: [AtomicU64; SEND_TIME_BOUNDS.len()],
}

impl QueueStatistics {
    pub(super) fn has_length(&self, length: usize) {
        self.length.store(length, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, messages: usize, bytes: usize, waited: Duration) {
        self.sent.fetch_add(messages as u64, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn waited(&self, wait: Duration) {
        if let Some(at) = SEND_TIME_BOUNDS.iter().position(|bound| wait <= *bound) {
            self.waits[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self, messages: usize) {
        self.dropped.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, is_open: bool, capacity: usize) -> QueueStatus {
        let mut within = [0; SEND_TIME_BOUNDS.len()];
        let mut sum = 0;
        for (within, count) in within.iter_mut().zip(&self.waits) {
            sum += count.load(Ordering::Relaxed);
            *within = sum;
        }
        QueueStatus {
            is_open,
            length: self.length.load(Ordering::Relaxed),
            capacity,
            sent: self.sent.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            waited: Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed)),
            waited_within: within,
        }
    }
}
