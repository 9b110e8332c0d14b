//! Warnings before a certificate expires, with Fabric's texts. Expiry ends no connection, as in Fabric.

use std::time::Duration;

/// Minimum interval in seconds between two warnings about one certificate (`MinimumExpirationWarningInterval`).
const WARNING_INTERVAL_SECONDS: i64 = 5 * 60;

/// Decides when to warn about one certificate.
#[derive(Debug)]
pub(crate) struct ExpirationCheck {
    expires_at: i64,
    threshold_seconds: i64,
    last_warning: Option<i64>,
}

impl ExpirationCheck {
    /// Warns when at most `threshold` is left before `expires_at` (seconds since 1970).
    pub(crate) fn new(expires_at: i64, threshold: Duration) -> Self {
        let threshold_seconds = i64::try_from(threshold.as_secs()).unwrap_or(i64::MAX);
        Self { expires_at, threshold_seconds, last_warning: None }
    }

    /// Returns the seconds that are left, if a warning is due.
    pub(crate) fn warn_now(&mut self, now: i64) -> Option<i64> {
        let left = self.expires_at.saturating_sub(now);
        let is_too_soon = self.last_warning.is_some_and(|last| now.saturating_sub(last) < WARNING_INTERVAL_SECONDS);
        if left > self.threshold_seconds || is_too_soon {
            return None;
        }
        self.last_warning = Some(now);
        Some(left)
    }
}

/// Formats seconds as Go formats a duration.
pub(crate) fn as_go_duration(seconds: i64) -> String {
    let (sign, rest) = if seconds < 0 { ("-", seconds.unsigned_abs()) } else { ("", seconds.unsigned_abs()) };
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Returns the seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_every_five_minutes_below_the_threshold_and_after_the_end() {
        let mut check = ExpirationCheck::new(10_000, Duration::from_secs(1000));
        assert_eq!(check.warn_now(8999), None);
        assert_eq!(check.warn_now(9000), Some(1000));
        assert_eq!(check.warn_now(9299), None);
        assert_eq!(check.warn_now(9300), Some(700));
        assert_eq!(check.warn_now(20_000), Some(-10_000));
    }

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(as_go_duration(0), "0s");
        assert_eq!(as_go_duration(61), "1m1s");
        assert_eq!(as_go_duration(604_799), "167h59m59s");
        assert_eq!(as_go_duration(-3600), "-1h0m0s");
    }
}
