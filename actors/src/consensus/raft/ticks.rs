//! The phases of the chains' ticks: chains tick together, in groups.
//!
//! What a tick does on an idle channel costs little beside waking the threads that do it: of this node, and of those that
//! get its heartbeats. The chains of a group therefore tick at the same time. A group is small, because a message of a busy
//! channel waits for the ticks of its arbiter's channels, and the groups are spread over the interval.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Maximum number of channels in a group.
const GROUP_CHANNELS: usize = 32;

/// The groups of one node.
#[derive(Debug)]
pub(super) struct TickGroups {
    /// Groups tick at a fixed part of each interval since then.
    epoch: Instant,
    /// The number of channels in each group.
    sizes: Mutex<Vec<usize>>,
}

/// A channel's place in a group, until it is dropped.
#[derive(Debug)]
pub(super) struct TickGroup {
    groups: Arc<TickGroups>,
    index: usize,
}

impl TickGroups {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { epoch: Instant::now(), sizes: Mutex::default() })
    }

    fn sizes(&self) -> MutexGuard<'_, Vec<usize>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the first group that has one.
    pub(super) fn join(self: &Arc<Self>) -> TickGroup {
        let mut sizes = self.sizes();
        let free = sizes.iter().position(|size| *size < GROUP_CHANNELS);
        let index = free.unwrap_or_else(|| {
            sizes.push(0);
            sizes.len() - 1
        });
        sizes[index] += 1;
        TickGroup { groups: Arc::clone(self), index }
    }
}

impl TickGroup {
    /// Returns the time of the first tick after `now`.
    pub(super) fn next(&self, now: Instant, interval: Duration) -> Instant {
        let interval = interval.max(Duration::from_nanos(1));
        let begin = self.groups.epoch + interval.mul_f64(part_of_interval(self.index));
        let since = now.saturating_duration_since(begin).as_nanos();
        let into = u64::try_from(since % interval.as_nanos()).unwrap_or(u64::MAX);
        if now < begin { begin } else { now + interval.saturating_sub(Duration::from_nanos(into)) }
    }
}

impl Drop for TickGroup {
    fn drop(&mut self) {
        if let Some(size) = self.groups.sizes().get_mut(self.index) {
            *size -= 1;
        }
    }
}

/// Returns where in the interval a group ticks. Any number of groups, beginning with the first, is spread evenly (the
/// sequence of van der Corput): 0, 1/2, 1/4, 3/4, 1/8, ...
fn part_of_interval(index: usize) -> f64 {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    f64::from(index.reverse_bits()) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(500);

    #[test]
    fn the_channels_of_a_group_tick_together_and_the_groups_apart() {
        let groups = TickGroups::new();
        let joined: Vec<TickGroup> = (0..3 * GROUP_CHANNELS).map(|_| groups.join()).collect();
        let now = groups.epoch + Duration::from_millis(12_345);
        let ticks: Vec<Instant> = joined.iter().map(|group| group.next(now, TICK)).collect();
        for (group, millis) in ticks.chunks(GROUP_CHANNELS).zip([500, 750, 625]) {
            let expected = groups.epoch + Duration::from_millis(12_000 + millis);
            assert!(group.iter().all(|tick| *tick == expected), "{:?}", expected - groups.epoch);
        }
        assert_eq!(
            joined[0].next(now, 2 * TICK),
            groups.epoch + Duration::from_secs(13),
            "longer ticks are at some of these"
        );
    }

    #[test]
    fn the_first_tick_is_within_an_interval() {
        let groups = TickGroups::new();
        let joined: Vec<TickGroup> = (0..5 * GROUP_CHANNELS).map(|_| groups.join()).collect();
        for group in joined.iter().step_by(GROUP_CHANNELS) {
            for millis in (0..3000).step_by(7) {
                let now = groups.epoch + Duration::from_millis(millis);
                let next = group.next(now, TICK);
                assert!(next > now || next == groups.epoch + TICK.mul_f64(part_of_interval(group.index)));
                assert!(next <= now + TICK);
                assert_eq!(group.next(next, TICK), next + TICK, "the next tick follows an interval later");
            }
        }
    }

    #[test]
    fn a_place_that_is_left_is_taken_again() {
        let groups = TickGroups::new();
        let mut joined: Vec<TickGroup> = (0..=GROUP_CHANNELS).map(|_| groups.join()).collect();
        assert_eq!(joined.last().map(|group| group.index), Some(1));
        joined.swap_remove(5);
        assert_eq!(groups.join().index, 0);
        joined.clear();
        assert_eq!(*groups.sizes(), [0, 0]);
    }
}
