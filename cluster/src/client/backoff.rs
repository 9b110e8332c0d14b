//! The pause before a connection is retried.

use std::time::Duration;

/// Returns the pause after a number of consecutive failures: the shortest, then each twice as long as the one before,
/// up to the longest. `random` between 0 and 1 makes it up to a fifth longer or shorter, so that orderers do not
/// retry all at once.
pub(super) fn backoff_delay(failures: u32, (shortest, longest): (Duration, Duration), random: f64) -> Duration {
    let doubled = shortest.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_with_jitter() {
        let ms = |failures, random| {
            backoff_delay(failures, (Duration::from_millis(100), Duration::from_secs(5)), random).as_millis()
        };
        assert_eq!([ms(1, 0.5), ms(2, 0.5), ms(3, 0.5), ms(6, 0.5), ms(7, 0.5)], [100, 200, 400, 3200, 5000]);
        assert_eq!([ms(1, 0.0), ms(1, 1.0), ms(u32::MAX, 1.0)], [80, 120, 6000]);
    }
}
