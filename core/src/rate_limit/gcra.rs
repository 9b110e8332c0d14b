//! Rate meter of one sender, or of one source of log lines: when it may send the next envelope, and how many it sent recently.
//! Takes no lock and reads no clock; the time is an argument.
//!
//! The limit is the generic cell rate algorithm (GCRA): a single number is the time until which the sender has used up its rate.
//! Each envelope moves it forward by the rate's period, and it may run ahead of the current time by a burst. It is written here
//! and not taken from a library because a sender's rate changes with the number of active senders, because a caller must be able
//! to check without consuming, and because what one limit consumed is refunded when another limit rejects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Maximum burst of an idle sender: one second of its rate, as with Fabric, which hands out its rate by the second.
const BURST_NS: u64 = NS;
const NS: u64 = 1_000_000_000;

/// Rate in envelopes a second, stored as the period of one envelope in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    period_ns: u64,
}

impl Rate {
    /// Returns the share of `per_second` that each of `among` senders gets. Returns `None` if `per_second` is 0, which means no
    /// limit.
    pub fn share(per_second: u32, among: usize) -> Option<Self> {
        let period_ns = (NS * (among.max(1) as u64)).checked_div(u64::from(per_second))?;
        Some(Self { period_ns: period_ns.max(1) })
    }

    /// Returns the rate in envelopes a second.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub(super) fn per_second(self) -> f64 {
        NS as f64 / self.period_ns as f64
    }

    /// Returns the burst in nanoseconds: one second, or one period where the rate is below one envelope a second.
    fn burst_ns(self) -> u64 {
        BURST_NS.max(self.period_ns)
    }
}

/// Consumption of one sender. The rate and the time are arguments.
#[derive(Debug, Default)]
pub struct GcraMeter {
    /// Time until which the rate is used up, in nanoseconds since the node's start.
    used_until: AtomicU64,
    /// The second of the last envelope (upper 32 bits) and the number of envelopes in it (lower 32 bits).
    this_second: AtomicU64,
    /// The same for the previous second in which the sender sent.
    second_before: AtomicU64,
}

impl GcraMeter {
    /// Returns how long the sender has to wait before it may send one more envelope; `None` if it may send now.
    pub(super) fn wait(&self, rate: Rate, now: Duration) -> Option<Duration> {
        after(self.used_until.load(Ordering::Relaxed), rate, nanos(now)).err()
    }

    /// Consumes the rate of one envelope at `now`, the time since any fixed moment. Concurrent callers never get more than the
    /// rate allows.
    ///
    /// # Errors
    /// Returns the time to wait if the rate is used up.
    pub fn try_acquire(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let mut used_until = self.used_until.load(Ordering::Relaxed);
        loop {
            let next = after(used_until, rate, now)?;
            match self.used_until.compare_exchange_weak(used_until, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => used_until = changed,
            }
        }
    }

    /// Refunds one envelope that was consumed but not accepted.
    pub(super) fn refund(&self, rate: Rate) {
        let earlier = |used_until: u64| Some(used_until.saturating_sub(rate.period_ns));
        let _ = self.used_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }

    /// Whether no part of the rate is used up. Removing such a meter gives its sender no more than the rate.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        self.used_until.load(Ordering::Relaxed) <= nanos(now)
    }

    /// Counts `envelopes` as sent. Exact for one thread; when several threads cross a second boundary at once, the counts of one
    /// or two of them may be lost.
    pub(super) fn count(&self, envelopes: u64, now: Duration) {
        let second = now.as_secs() & u64::from(u32::MAX);
        let counted = self.this_second.load(Ordering::Relaxed);
        if counted >> 32 == second {
            self.this_second.fetch_add(envelopes, Ordering::Relaxed);
        } else if self
            .this_second
            .compare_exchange(counted, second << 32 | envelopes, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            self.second_before.store(counted, Ordering::Relaxed);
        }
    }

    /// Returns the number of envelopes sent in the last whole second.
    pub(super) fn per_second(&self, now: Duration) -> u64 {
        let Some(last) = (now.as_secs() & u64::from(u32::MAX)).checked_sub(1) else { return 0 };
        let counted = [&self.this_second, &self.second_before].map(|counted| counted.load(Ordering::Relaxed));
        let of_last = counted.into_iter().find(|counted| counted >> 32 == last);
        of_last.map_or(0, |counted| counted & u64::from(u32::MAX))
    }
}

/// Returns the time until which the rate is used up after one more envelope, or the time to wait for it.
fn after(used_until: u64, rate: Rate, now: u64) -> Result<u64, Duration> {
    let next = used_until.max(now).saturating_add(rate.period_ns);
    let allowed = now.saturating_add(rate.burst_ns());
    if next <= allowed { Ok(next) } else { Err(Duration::from_nanos(next - allowed)) }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32) -> Rate {
        Rate::share(per_second, 1).unwrap()
    }

    #[test]
    fn a_quiet_sender_may_send_a_second_of_its_rate_at_once_and_then_one_a_period() {
        let (meter, rate) = (GcraMeter::default(), rate(10));
        let now = Duration::from_secs(5);
        assert_eq!((0..20).filter(|_| meter.try_acquire(rate, now).is_ok()).count(), 10);
        assert_eq!(meter.wait(rate, now), Some(Duration::from_millis(100)));
        assert_eq!(meter.try_acquire(rate, now + Duration::from_millis(99)), Err(Duration::from_millis(1)));
        assert_eq!(meter.try_acquire(rate, now + Duration::from_millis(100)), Ok(()));
        assert!(meter.try_acquire(rate, now + Duration::from_millis(100)).is_err());
        assert!(!meter.is_full(now + Duration::from_secs(1)) && meter.is_full(now + Duration::from_millis(1100)));
    }

    #[test]
    fn a_look_takes_nothing_and_what_is_given_back_may_be_taken_again() {
        let (meter, rate) = (GcraMeter::default(), rate(1));
        for _ in 0..5 {
            assert_eq!(meter.wait(rate, Duration::ZERO), None);
        }
        assert_eq!(meter.try_acquire(rate, Duration::ZERO), Ok(()));
        assert!(meter.try_acquire(rate, Duration::ZERO).is_err());
        meter.refund(rate);
        assert_eq!(meter.try_acquire(rate, Duration::ZERO), Ok(()));
    }

    #[test]
    fn a_share_of_less_than_one_a_second_lets_one_through_at_a_time() {
        let (meter, rate) = (GcraMeter::default(), Rate::share(1, 4).unwrap());
        assert_eq!(meter.try_acquire(rate, Duration::ZERO), Ok(()));
        assert_eq!(meter.try_acquire(rate, Duration::from_secs(3)), Err(Duration::from_secs(1)));
        assert_eq!(meter.try_acquire(rate, Duration::from_secs(4)), Ok(()));
    }

    #[test]
    fn the_rate_shown_is_that_of_the_last_whole_second() {
        let meter = GcraMeter::default();
        for (second, count) in [(7, 3), (8, 5)] {
            (0..count).for_each(|_| meter.count(1, Duration::from_millis(second * 1000 + 500)));
        }
        let shown = [7, 8, 9, 10].map(|second| meter.per_second(Duration::from_secs(second)));
        assert_eq!(shown, [0, 3, 5, 0]);
    }

    proptest! {
        /// No sending pattern gets more accepted than a burst and the rate, and a sender within the rate is never rejected.
        #[test]
        fn no_more_gets_through_than_a_burst_and_the_rate(
            per_second in 1_u32..5000,
            among in 1_usize..50,
            gaps_us in prop::collection::vec(0_u64..200_000, 1..300),
        ) {
            let (greedy, modest, rate) = (GcraMeter::default(), GcraMeter::default(), Rate::share(per_second, among).unwrap());
            let (mut now, mut taken) = (Duration::ZERO, 0_u64);
            let began = Duration::from_micros(gaps_us[0]);
            for gap in gaps_us {
                now += Duration::from_micros(gap);
                while greedy.try_acquire(rate, now).is_ok() {
                    taken += 1;
                }
            }
            let most = (nanos(now) + rate.burst_ns()) / rate.period_ns;
            prop_assert!(taken <= most, "{taken} of {most}");
            // a sender that asks often enough that the burst never refills gets the whole rate
            if rate.period_ns <= 800_000_000 {
                let least = (nanos(now) - nanos(began) + rate.burst_ns()) / rate.period_ns;
                prop_assert!(taken + 1 >= least, "{taken}, must be {least}");
            }
            for step in 0..50 {
                prop_assert_eq!(modest.try_acquire(rate, Duration::from_nanos(step * rate.period_ns)), Ok(()));
            }
        }
    }
}
