//! Gauges that a chain publishes of its work, beside its channel's state: written as it goes along, read without asking it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use orderer_core::block::EncodedBlock;
use orderer_core::crypto::hex;
use orderer_core::types::BlockNumber;
use serde::Serialize;

use super::now_ms;

/// Maximum number of retained blocks.
pub const RECENT_BLOCKS: usize = 50;

/// A block, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecentBlock {
    /// Its number.
    pub number: u64,
    /// Its header's hash.
    pub hash: String,
    /// Number of its envelopes.
    pub envelopes: usize,
    /// Its size in bytes.
    pub bytes: usize,
    /// Time at which it was durable, in milliseconds since 1970. None: before this start.
    pub written_ms: Option<u64>,
}

impl RecentBlock {
    /// Creates the note of a block that was written at this time, in milliseconds since 1970.
    pub fn of(block: &EncodedBlock, written_ms: Option<u64>) -> Self {
        Self {
            number: block.number().0,
            hash: hex(block.header_hash()),
            envelopes: block.envelopes(),
            bytes: block.size_bytes(),
            written_ms,
        }
    }
}

/// Gauges that a chain publishes of its work.
#[derive(Debug, Default)]
pub struct ChainGauges {
    /// In milliseconds since 1970; 0 for none.
    cut_at_ms: AtomicU64,
    recent: Mutex<VecDeque<RecentBlock>>,
}

impl ChainGauges {
    /// Records that the chain's batch timer fires after this time, or is off.
    pub(crate) fn timer(&self, after: Option<Duration>) {
        let at = after.map_or(0, |after| now_ms() + u64::try_from(after.as_millis()).unwrap_or(u64::MAX >> 1));
        self.cut_at_ms.store(at, Ordering::Relaxed);
    }

    /// A chain begins anew.
    pub(crate) fn reset(&self) {
        self.timer(None);
    }

    /// Records that the writer has made these blocks durable.
    pub(crate) fn written(&self, blocks: &[EncodedBlock]) {
        let now = now_ms();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for block in blocks {
            if recent.len() == RECENT_BLOCKS {
                recent.pop_front();
            }
            recent.push_back(RecentBlock::of(block, Some(now)));
        }
    }

    /// Milliseconds until what waits is cut into a block anyway; none if no timer runs.
    pub fn timer_left_ms(&self) -> Option<u64> {
        let at = self.cut_at_ms.load(Ordering::Relaxed);
        (at > 0).then(|| at.saturating_sub(now_ms()))
    }

    /// The blocks of this start, oldest first, the newest of them only.
    pub fn recent(&self) -> Vec<RecentBlock> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Returns the time at which this block was written, in milliseconds since 1970, if it is retained.
    pub fn written_ms(&self, number: BlockNumber) -> Option<u64> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().find(|note| note.number == number.0)?.written_ms
    }

    /// Returns the time at which the newest block was written, in milliseconds since 1970, if that was in this start.
    pub fn last_written_ms(&self) -> Option<u64> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).back()?.written_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_runs_until_it_is_stopped() {
        let gauges = ChainGauges::default();
        assert_eq!(gauges.timer_left_ms(), None);
        gauges.timer(Some(Duration::from_secs(3600)));
        assert!(gauges.timer_left_ms().is_some_and(|left| left > 3_500_000));
        gauges.timer(None);
        assert_eq!(gauges.timer_left_ms(), None);
    }
}
