//! Growth rates of counters, averaged over a minute.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time constant of the average.
const WINDOW: Duration = Duration::from_secs(60);
/// Minimum interval between samples; more frequent ones do not change the average.
const LEAST_BETWEEN: Duration = Duration::from_millis(500);

/// The last sample of each counter, by name and label.
#[derive(Debug, Default)]
pub(super) struct MovingRates(HashMap<(&'static str, String), Rate>);

#[derive(Clone, Copy, Debug)]
struct Rate {
    seen: Instant,
    total: f64,
    a_second: f64,
    /// Whether the counter was read since the last eviction.
    is_looked_at: bool,
}

impl MovingRates {
    /// Returns the growth of `total` per second.
    pub(super) fn update(&mut self, name: &'static str, label: &str, total: f64, now: Instant) -> f64 {
        let new = Rate { seen: now, total, a_second: 0.0, is_looked_at: true };
        let rate = self.0.entry((name, label.to_owned())).or_insert(new);
        rate.is_looked_at = true;
        let passed = now.saturating_duration_since(rate.seen);
        if passed >= LEAST_BETWEEN {
            let current = (total - rate.total).max(0.0) / passed.as_secs_f64();
            let weight = 1.0 - (-passed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
            rate.a_second += weight * (current - rate.a_second);
            (rate.seen, rate.total) = (now, total);
        }
        rate.a_second
    }

    /// Evicts counters that were not read since the last call, such as those of a removed channel.
    pub(super) fn evict_stale(&mut self) {
        self.0.retain(|_, rate| std::mem::take(&mut rate.is_looked_at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_growth_is_the_rate_after_a_few_minutes() {
        let (mut rates, began) = (MovingRates::default(), Instant::now());
        let mut seen = 0.0;
        for look in 0..40_u32 {
            seen = rates.update("bytes", "1", f64::from(look) * 150.0, began + look * Duration::from_secs(15));
        }
        assert!((seen - 10.0).abs() < 0.01, "{seen}");
        assert!(rates.update("bytes", "2", 9.0, began).abs() < f64::EPSILON, "nothing is known of the first look");
    }

    #[test]
    fn what_is_not_looked_at_any_more_is_forgotten() {
        let (mut rates, began) = (MovingRates::default(), Instant::now());
        for look in 0..10_u32 {
            let at = began + look * Duration::from_secs(60);
            for label in (look..10).map(|label| label.to_string()) {
                rates.update("records", &label, f64::from(look), at);
            }
            rates.evict_stale();
            assert_eq!(rates.0.len(), 10 - look as usize, "those of look {look}");
        }
        let later = began + Duration::from_secs(3600);
        assert!(rates.update("records", "0", 1e6, later).abs() < f64::EPSILON, "who comes back begins anew");
    }
}
