//! How fast something grows, averaged over a minute, whenever somebody looks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What the average reaches back to.
const WINDOW: Duration = Duration::from_secs(60);
/// Looks that follow each other faster do not move the average.
const LEAST_BETWEEN: Duration = Duration::from_millis(500);

/// Remembers, by name and label, what was counted at the last look.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<(&'static str, String), Rate>);

#[derive(Clone, Copy, Debug)]
struct Rate {
    seen: Instant,
    total: f64,
    a_second: f64,
}

impl Rates {
    /// What `total` grows by in a second.
    pub(super) fn look(&mut self, name: &'static str, label: &str, total: f64, now: Instant) -> f64 {
        let new = Rate { seen: now, total, a_second: 0.0 };
        let rate = self.0.entry((name, label.to_owned())).or_insert(new);
        let passed = now.saturating_duration_since(rate.seen);
        if passed >= LEAST_BETWEEN {
            let current = (total - rate.total).max(0.0) / passed.as_secs_f64();
            let weight = 1.0 - (-passed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
            rate.a_second += weight * (current - rate.a_second);
            (rate.seen, rate.total) = (now, total);
        }
        rate.a_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_growth_is_the_rate_after_a_few_minutes() {
        let (mut rates, began) = (Rates::default(), Instant::now());
        let mut seen = 0.0;
        for look in 0..40_u32 {
            seen = rates.look("bytes", "1", f64::from(look) * 150.0, began + look * Duration::from_secs(15));
        }
        assert!((seen - 10.0).abs() < 0.01, "{seen}");
        assert!(rates.look("bytes", "2", 9.0, began).abs() < f64::EPSILON, "nothing is known of the first look");
    }
}
