//! Quotas: a broker that throttles answers at once, then reads nothing from the connection for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Until when a connection had better not be used.
#[derive(Debug, Default)]
pub(crate) struct ThrottleDelay {
    until: Option<Instant>,
}

impl ThrottleDelay {
    /// Notes what a broker asks for.
    pub(crate) fn begin(&mut self, throttle_ms: i32) -> Option<Duration> {
        let asked = u64::try_from(throttle_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        self.until = asked.map(|asked| Instant::now() + asked);
        asked
    }

    /// Waits for the end of the pause, at most for `at_most`. After a dropped call the pause still counts.
    pub(crate) async fn over(&mut self, at_most: Duration) {
        if let Some(until) = self.until {
            sleep(until.saturating_duration_since(Instant::now()).min(at_most)).await;
            self.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_kept_once_and_not_longer_than_allowed() {
        let mut pause = ThrottleDelay::default();
        for (asked_ms, kept_ms) in [(0, 0), (-5, 0), (300, 300), (60_000, 1000)] {
            pause.begin(asked_ms);
            let before = Instant::now();
            pause.over(Duration::from_secs(1)).await;
            pause.over(Duration::from_secs(1)).await;
            assert_eq!(before.elapsed().as_millis(), kept_ms);
        }
    }
}
