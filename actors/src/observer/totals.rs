//! Totals of one channel since the start of the process. A sampler reads them at intervals to keep a history; the
//! ordering path only adds to them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use orderer_core::block::EncodedBlock;

/// Number of latency buckets: one below 128 µs, four per doubling up to 67 s, and one beyond.
const LATENCY_BUCKETS: usize = 78;
/// Buckets per doubling of the latency, as a power of two.
const SUB_BITS: u32 = 2;
/// The first bucket ends at two to the power of this, in microseconds.
const FIRST_BITS: u32 = 7;

/// Totals of one channel. Adding costs some nanoseconds.
#[derive(Debug, Default)]
pub struct ChannelTotals {
    envelopes: AtomicU64,
    blocks: AtomicU64,
    rejected: AtomicU64,
    acknowledged: AtomicU64,
    /// Made with the first acknowledged envelope: an idle channel does not have it.
    latencies: OnceLock<Box<[AtomicU32; LATENCY_BUCKETS]>>,
}

/// The totals of a channel at one time, without its latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalsReading {
    /// Number of envelopes in the blocks that were written.
    pub envelopes: u64,
    /// Number of blocks that were written.
    pub blocks: u64,
    /// Number of envelopes that were rejected.
    pub rejected: u64,
    /// Number of envelopes that were acknowledged.
    pub acknowledged: u64,
}

/// Number of acknowledged envelopes by their latency, from reception to response. The numbers wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyCounts([u32; LATENCY_BUCKETS]);

impl ChannelTotals {
    /// Records blocks that were made durable.
    pub fn blocks_written(&self, blocks: &[EncodedBlock]) {
        self.written(blocks.len(), blocks.iter().map(EncodedBlock::envelopes).sum());
    }

    /// Records that this number of blocks, with this number of envelopes in all, was made durable.
    pub fn written(&self, blocks: usize, envelopes: usize) {
        self.blocks.fetch_add(blocks as u64, Ordering::Relaxed);
        self.envelopes.fetch_add(envelopes as u64, Ordering::Relaxed);
    }

    /// Records an envelope that was acknowledged this long after it was received.
    pub fn acknowledged(&self, took: Duration) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let latencies = self.latencies.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU32::new(0))));
        if let Some(bucket) = latencies.get(bucket_of(took)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records an envelope that was rejected.
    pub fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the totals so far.
    pub fn read(&self) -> TotalsReading {
        TotalsReading {
            envelopes: self.envelopes.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
        }
    }

    /// Returns the latencies so far; `None` if no envelope was acknowledged yet.
    pub fn latencies(&self) -> Option<LatencyCounts> {
        let latencies = self.latencies.get()?;
        Some(LatencyCounts(std::array::from_fn(|at| latencies[at].load(Ordering::Relaxed))))
    }
}

impl Default for LatencyCounts {
    fn default() -> Self {
        Self([0; LATENCY_BUCKETS])
    }
}

impl LatencyCounts {
    /// Returns what was added since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].wrapping_sub(before.0[at])))
    }

    /// Adds the counts of another channel.
    pub fn add(&mut self, other: &Self) {
        for (sum, one) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(one);
        }
    }

    /// Returns the latency in microseconds below which this share of the envelopes was acknowledged, interpolated
    /// within its bucket, so that it is exact to about an eighth; `None` if there are no envelopes.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of a positive number below 2^27"
    )]
    pub fn percentile_us(&self, share: f64) -> Option<u32> {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        if all == 0 {
            return None;
        }
        let wanted = (share.clamp(0.0, 1.0) * all as f64).max(1.0);
        let mut below = 0.0;
        for (at, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if below + count >= wanted {
                let (from, to) = bounds_us(at);
                return Some((from as f64 + (to - from) as f64 * (wanted - below) / count) as u32);
            }
            below += count;
        }
        None
    }
}

/// Returns the bucket of a latency.
fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < 1 << FIRST_BITS {
        return 0;
    }
    let bits = micros.ilog2();
    let sub = (micros >> (bits - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let bucket = 1 + u64::from((bits - FIRST_BITS) << SUB_BITS) + sub;
    usize::try_from(bucket).unwrap_or(usize::MAX).min(LATENCY_BUCKETS - 1)
}

/// Returns the microseconds at which a bucket begins and ends.
fn bounds_us(bucket: usize) -> (u64, u64) {
    let begin = |bucket: u64| {
        let (bits, sub) = ((bucket >> SUB_BITS) + u64::from(FIRST_BITS), bucket & ((1 << SUB_BITS) - 1));
        (1 << bits) + (sub << (bits - u64::from(SUB_BITS)))
    };
    match bucket as u64 {
        0 => (0, 1 << FIRST_BITS),
        bucket => (begin(bucket - 1), begin(bucket)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_the_bucket_with_its_bounds() {
        for micros in (0..20_000).chain((20_000..60_000_000).step_by(9_973)) {
            let (from, to) = bounds_us(bucket_of(Duration::from_micros(micros)));
            assert!((from..to).contains(&micros), "{micros} is not in {from}..{to}");
        }
        assert_eq!(bucket_of(Duration::from_micros((1 << 26) - 1)), LATENCY_BUCKETS - 2);
        assert_eq!(bucket_of(Duration::from_secs(3600)), LATENCY_BUCKETS - 1);
        assert_eq!(bucket_of(Duration::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_exact_to_an_eighth() {
        let totals = ChannelTotals::default();
        assert_eq!(totals.latencies(), None);
        (1..=1000).for_each(|millis| totals.acknowledged(Duration::from_millis(millis)));
        let counts = totals.latencies().unwrap();
        for (share, expected) in [(0.5, 500_000_u32), (0.99, 990_000), (1.0, 1_000_000)] {
            let found = counts.percentile_us(share).unwrap();
            assert!(found.abs_diff(expected) <= expected / 8, "{share}: {found}");
        }
        totals.acknowledged(Duration::from_millis(3));
        let later = totals.latencies().unwrap().since(&counts);
        assert!(later.percentile_us(0.99).is_some_and(|found| found.abs_diff(3_000) < 400));
        assert_eq!(counts.since(&counts).percentile_us(0.99), None);
    }

    #[test]
    fn counts_that_wrap_around_have_a_correct_difference() {
        let (mut before, mut after) = (LatencyCounts::default(), LatencyCounts::default());
        (before.0[5], after.0[5]) = (u32::MAX, 2);
        assert_eq!(after.since(&before).0[5], 3);
    }
}
