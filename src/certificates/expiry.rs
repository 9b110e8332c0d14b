//! Decides when to warn that a certificate is about to expire, or has expired.

use orderer_core::types::UnixSeconds;

const DAY: i64 = 24 * 60 * 60;
/// Time in seconds before expiry from which warnings are logged, as in Fabric.
const WARN_AHEAD: i64 = 7 * DAY;

/// A warning about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpiryNotice {
    /// The certificate expires after this number of full days.
    Soon(i64),
    /// The certificate has expired.
    Expired,
}

/// Remembers the last warning about one certificate: each is logged once a day.
#[derive(Debug, Default)]
pub(super) struct ExpiryTracker {
    said: Option<(ExpiryNotice, i64)>,
}

impl ExpiryTracker {
    /// Returns the warning to log now about a certificate that is valid until `not_after`.
    pub(super) fn check(&mut self, now: UnixSeconds, not_after: UnixSeconds) -> Option<ExpiryNotice> {
        let left = not_after.0.saturating_sub(now.0);
        let notice = match left {
            ..0 => ExpiryNotice::Expired,
            0..=WARN_AHEAD => ExpiryNotice::Soon(left / DAY),
            _ => {
                self.said = None;
                return None;
            }
        };
        let saying = Some((notice, now.0 / DAY));
        if self.said == saying {
            return None;
        }
        self.said = saying;
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_ahead_it_is_said_once_a_day() {
        let mut expiry = ExpiryTracker::default();
        let not_after = UnixSeconds(100 * DAY);
        let mut check = |now: i64| expiry.check(UnixSeconds(now), not_after);
        assert_eq!(check(92 * DAY), None, "eight days are enough");
        assert_eq!(check(93 * DAY), Some(ExpiryNotice::Soon(7)));
        assert_eq!(check(93 * DAY + 60), Some(ExpiryNotice::Soon(6)));
        assert_eq!(check(93 * DAY + 120), None);
        assert_eq!(check(99 * DAY + 60), Some(ExpiryNotice::Soon(0)));
        assert_eq!(check(100 * DAY), Some(ExpiryNotice::Soon(0)), "another day");
        assert_eq!(check(100 * DAY + 1), Some(ExpiryNotice::Expired));
        assert_eq!(check(100 * DAY + 60), None);
        assert_eq!(check(101 * DAY), Some(ExpiryNotice::Expired));
    }

    #[test]
    fn a_renewed_certificate_is_not_spoken_of() {
        let mut expiry = ExpiryTracker::default();
        assert_eq!(expiry.check(UnixSeconds(DAY), UnixSeconds(0)), Some(ExpiryNotice::Expired));
        assert_eq!(expiry.check(UnixSeconds(DAY), UnixSeconds(100 * DAY)), None);
        assert_eq!(expiry.check(UnixSeconds(DAY), UnixSeconds(0)), Some(ExpiryNotice::Expired), "it is news again");
    }
}
