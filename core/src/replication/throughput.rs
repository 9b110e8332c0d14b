//! Measures whether a source is fast enough. Without this, a source that sends a block just before each timeout could hold up a
//! node for ever.

use std::time::Duration;

/// A source is slow if it sends fewer blocks a second than this ..
const MIN_BLOCKS_PER_SECOND: u64 = 64;
/// .. and also fewer bytes a second than this.
const MIN_BYTES_PER_SECOND: u64 = 64 << 10;

/// Blocks and bytes that a source has sent, and the time spent waiting for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceThroughput {
    blocks: u64,
    bytes: u64,
    waited: Duration,
}

impl SourceThroughput {
    /// Records that blocks of this total size arrived after waiting for this duration.
    pub fn add(&mut self, blocks: usize, bytes: usize, waited: Duration) {
        self.blocks = self.blocks.saturating_add(blocks as u64);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
    }

    /// Whether the total wait exceeds `patience` and the source is slow.
    pub fn is_slow(&self, patience: Duration) -> bool {
        // computed in milliseconds, so that short times count
        let due = |a_second: u64| u128::from(a_second) * self.waited.as_millis() / 1000;
        self.waited > patience
            && u128::from(self.blocks) < due(MIN_BLOCKS_PER_SECOND)
            && u128::from(self.bytes) < due(MIN_BYTES_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_few_blocks_and_few_bytes_for_long_is_slow() {
        let (patience, second) = (Duration::from_secs(10), Duration::from_secs(1));
        let after = |seconds: u32, blocks: usize, bytes: usize| {
            let mut pace = SourceThroughput::default();
            (0..seconds).for_each(|_| pace.add(blocks, bytes, second));
            pace.is_slow(patience)
        };
        assert!(after(11, 1, 1000));
        assert!(!after(10, 1, 1000), "not for long");
        assert!(!after(11, 64, 1000), "small blocks");
        assert!(!after(11, 1, 64 << 10), "large blocks");
        assert!(after(11, 63, (64 << 10) - 1));
        assert!(!SourceThroughput::default().is_slow(Duration::ZERO), "nobody was waited for");
    }
}
