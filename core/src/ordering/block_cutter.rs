//! The block cutter: decides which messages share a block.
//!
//! The rules are exactly Fabric's: next to other orderers on the same topic, a different cut would be a fork.

/// Limits of a batch, taken from the channel's configuration at each call, so that an update applies at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// A batch with this many messages is cut; at least 1.
    pub max_message_count: usize,
    /// A batch does not grow beyond this, except when a single message is larger.
    pub preferred_max_bytes: usize,
}

/// Messages of one block in their order; never empty.
pub type Batch<M> = Vec<M>;

/// Result of adding one message.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<M> {
    /// No batch is full; the message is pending.
    Held,
    /// One batch, which ends with the message; no message is pending.
    One(Batch<M>),
    /// The pending messages are a batch; the added message is pending.
    OneThenHeld(Batch<M>),
    /// The pending messages are a batch, and the added message alone is another; no message is pending.
    Two(Batch<M>, Batch<M>),
}

/// Pending messages, and their total size.
#[derive(Clone, Debug)]
pub struct BlockCutter<M> {
    pending: Batch<M>,
    pending_bytes: usize,
}

impl<M> Default for BlockCutter<M> {
    fn default() -> Self {
        Self { pending: Vec::new(), pending_bytes: 0 }
    }
}

impl<M> BlockCutter<M> {
    /// Adds a message of `size_bytes` (payload and signature).
    pub fn ordered(&mut self, message: M, size_bytes: usize, limits: BatchLimits) -> Cut<M> {
        if size_bytes > limits.preferred_max_bytes {
            return match self.cut() {
                Some(waited) => Cut::Two(waited, vec![message]),
                None => Cut::One(vec![message]),
            };
        }
        let would_overflow = self.pending_bytes.saturating_add(size_bytes) > limits.preferred_max_bytes;
        let waited = if would_overflow { self.cut() } else { None };
        self.pending.push(message);
        self.pending_bytes += size_bytes;
        let full = if self.pending.len() >= limits.max_message_count { self.cut() } else { None };
        match (waited, full) {
            (None, None) => Cut::Held,
            (None, Some(batch)) => Cut::One(batch),
            (Some(batch), None) => Cut::OneThenHeld(batch),
            (Some(first), Some(second)) => Cut::Two(first, second),
        }
    }

    /// Removes and returns the pending messages, if there are any.
    pub fn cut(&mut self) -> Option<Batch<M>> {
        self.pending_bytes = 0;
        if self.pending.is_empty() { None } else { Some(std::mem::take(&mut self.pending)) }
    }

    /// Returns the number of pending messages.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the total size of the pending messages in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BatchLimits = BatchLimits { max_message_count: 3, preferred_max_bytes: 100 };

    fn cutter_with(sizes: &[usize]) -> BlockCutter<usize> {
        let mut cutter = BlockCutter::default();
        for &size in sizes {
            assert_eq!(cutter.ordered(size, size, LIMITS), Cut::Held);
        }
        cutter
    }

    #[test]
    fn the_message_that_fills_the_count_ends_the_batch() {
        assert_eq!(cutter_with(&[1, 2]).ordered(3, 3, LIMITS), Cut::One(vec![1, 2, 3]));
    }

    #[test]
    fn a_message_that_would_overflow_the_bytes_begins_the_next_batch() {
        let mut cutter = cutter_with(&[60]);
        assert_eq!(cutter.ordered(41, 41, LIMITS), Cut::OneThenHeld(vec![60]));
        assert_eq!((cutter.pending(), cutter.pending_bytes()), (1, 41));
    }

    #[test]
    fn exactly_the_preferred_bytes_are_not_too_many() {
        assert_eq!(cutter_with(&[60]).ordered(40, 40, LIMITS), Cut::Held);
    }

    #[test]
    fn a_message_over_the_preferred_bytes_is_alone_in_its_block() {
        assert_eq!(cutter_with(&[]).ordered(101, 101, LIMITS), Cut::One(vec![101]));
        assert_eq!(cutter_with(&[5]).ordered(101, 101, LIMITS), Cut::Two(vec![5], vec![101]));
    }

    #[test]
    fn a_limit_lowered_by_a_config_update_counts_at_the_next_message() {
        let one = BatchLimits { max_message_count: 1, ..LIMITS };
        assert_eq!(cutter_with(&[60]).ordered(41, 41, one), Cut::Two(vec![60], vec![41]));
    }

    #[test]
    fn an_empty_cutter_has_nothing_to_cut() {
        assert_eq!(cutter_with(&[]).cut(), None);
        assert_eq!(cutter_with(&[7]).cut(), Some(vec![7]));
    }

    proptest! {
        /// Every message is in exactly one batch and in order; batches keep both limits.
        #[test]
        fn batches_partition_the_sequence_within_the_limits(
            sizes in proptest::collection::vec(0usize..140, 0..80), count in 1usize..6, preferred in 1usize..120,
        ) {
            let limits = BatchLimits { max_message_count: count, preferred_max_bytes: preferred };
            let mut cutter = BlockCutter::default();
            let mut batches = Vec::new();
            for (i, &size) in sizes.iter().enumerate() {
                match cutter.ordered(i, size, limits) {
                    Cut::Held => prop_assert!(cutter.pending() > 0),
                    Cut::One(b) => { prop_assert_eq!(cutter.pending(), 0); batches.push(b); }
                    Cut::OneThenHeld(b) => { prop_assert_eq!(cutter.pending(), 1); batches.push(b); }
                    Cut::Two(a, b) => { prop_assert_eq!(cutter.pending(), 0); batches.extend([a, b]); }
                }
            }
            batches.extend(cutter.cut());
            for batch in &batches {
                let bytes: usize = batch.iter().map(|&i| sizes[i]).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= count);
                prop_assert!(bytes <= preferred || batch.len() == 1);
            }
            prop_assert_eq!(batches.concat(), (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
