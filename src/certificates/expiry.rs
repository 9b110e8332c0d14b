//! Decides when to warn that a certificate is about to expire, or has expired.

use orderer_core::channel::UnixSeconds;

const DAY: i64 = 24 * 60 * 60;
/// Time in seconds before expiry from which warnings are logged, as in Fabric.
const WARN_AHEAD: i64 = 7 * DAY;

/// A warning about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The certificate expires after this number of full days.
    Soon(i64),
    /// The certificate has expired.
    Expired,
}

/// Remembers the last warning about one certificate: each is logged once a day.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    said: Option<(Notice, i64)>,
}

impl Expiry {
    /// Returns the warning to log now about a certificate that is valid until `not_after`.
    pub(super) fn look(&mut self, now: UnixSeconds, not_after: UnixSeconds) -> Option<Notice> {
        let left = not_after.0.saturating_sub(now.0);
        let notice = match left {
            ..0 => Notice::Expired,
            0..=WARN_AHEAD => Notice::Soon(left / DAY),
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
        let mut expiry = Expiry::default();
        let not_after = UnixSeconds(100 * DAY);
        let mut look = |now: i64| expiry.look(UnixSeconds(now), not_after);
        assert_eq!(look(92 * DAY), None, "eight days are enough");
        assert_eq!(look(93 * DAY), Some(Notice::Soon(7)));
        assert_eq!(look(93 * DAY + 60), Some(Notice::Soon(6)));
        assert_eq!(look(93 * DAY + 120), None);
        assert_eq!(look(99 * DAY + 60), Some(Notice::Soon(0)));
        assert_eq!(look(100 * DAY), Some(Notice::Soon(0)), "another day");
        assert_eq!(look(100 * DAY + 1), Some(Notice::Expired));
        assert_eq!(look(100 * DAY + 60), None);
        assert_eq!(look(101 * DAY), Some(Notice::Expired));
    }

    #[test]
    fn a_renewed_certificate_is_not_spoken_of() {
        let mut expiry = Expiry::default();
        assert_eq!(expiry.look(UnixSeconds(DAY), UnixSeconds(0)), Some(Notice::Expired));
        assert_eq!(expiry.look(UnixSeconds(DAY), UnixSeconds(100 * DAY)), None);
        assert_eq!(expiry.look(UnixSeconds(DAY), UnixSeconds(0)), Some(Notice::Expired), "it is news again");
    }
}
