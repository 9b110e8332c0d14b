//! Decides when to retry a broker. Pure: times and random numbers are arguments.

use std::time::Duration;

/// The first pause after a failure; each further one is twice as long, up to the short interval.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A pause is made shorter by up to this fraction, so that many channels do not come in the same instant.
const JITTER: f64 = 0.2;

/// Intervals and total durations of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest pause at first.
    pub short_interval: Duration,
    /// Duration after the first failure for which pauses grow up to `short_interval`.
    pub short_total: Duration,
    /// The pause from then on.
    pub long_interval: Duration,
    /// Duration after `short_total` from which on retries are given up.
    pub long_total: Duration,
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    since: Option<Duration>,
    attempts: u32,
}

impl Backoff {
    /// Counts a failure at `now` (since any fixed moment). The pause before the next attempt; `None` when it is time to
    /// give up. `random` is in 0..1.
    pub(super) fn next_delay(&mut self, now: Duration, random: f64, policy: &RetryPolicy) -> Option<Duration> {
        let failing_for = now.saturating_sub(*self.since.get_or_insert(now));
        self.attempts += 1;
        if failing_for > policy.short_total.saturating_add(policy.long_total) {
            return None;
        }
        let pause = if failing_for > policy.short_total {
            policy.long_interval
        } else {
            let doublings = (self.attempts - 1).min(16);
            FIRST_PAUSE.saturating_mul(1 << doublings).min(policy.short_interval)
        };
        Some(pause.mul_f64(1.0 - JITTER * random))
    }

    /// It works again.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Returns the number of consecutive failures.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        short_interval: Duration::from_secs(5),
        short_total: Duration::from_secs(600),
        long_interval: Duration::from_secs(300),
        long_total: Duration::from_secs(43_200),
    };

    #[test]
    fn pauses_grow_to_the_short_interval_then_are_long_and_end() {
        let mut retries = Backoff::default();
        let mut at = |seconds| retries.next_delay(Duration::from_secs(seconds), 0.0, &POLICY);
        let pauses: Vec<_> = (1000..1007).map(|second| at(second).unwrap().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(at(1600), Some(POLICY.short_interval), "ten minutes are not over");
        assert_eq!(at(1601), Some(POLICY.long_interval));
        assert_eq!(at(1000 + 43_800), Some(POLICY.long_interval));
        assert_eq!(at(1000 + 43_801), None);
        assert_eq!(retries.attempts(), 11);
        retries.succeeded();
        assert_eq!(retries.next_delay(Duration::from_secs(90_000), 0.0, &POLICY), Some(FIRST_PAUSE));
    }

    #[test]
    fn channels_do_not_come_together() {
        let pause = |random| Backoff::default().next_delay(Duration::ZERO, random, &POLICY).unwrap();
        assert!(pause(0.9) < pause(0.1) && pause(1.0) >= FIRST_PAUSE.mul_f64(1.0 - JITTER));
    }
}
