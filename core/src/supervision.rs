//! Decides when to restart a failed actor, and when to give up. Pure: times and random numbers are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// Limits and delays of restarts after failures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RestartPolicy {
    /// Maximum number of restarts within the window; the next failure is final.
    pub limit: usize,
    /// Duration for which a restart counts toward the limit.
    pub window: Duration,
    /// Delay before the first restart in a window; each further restart doubles it.
    pub initial_delay: Duration,
    /// Upper bound of the delay, before jitter.
    pub max_delay: Duration,
    /// The delay is extended by up to this fraction, so that many channels do not restart at the same time.
    pub jitter: f64,
}

/// Policy for all actors of one channel: at most five restarts a minute, with delays from 0.1 s to 10 s.
pub const CHANNEL_RESTARTS: RestartPolicy = RestartPolicy {
    limit: 5,
    window: Duration::from_secs(60),
    initial_delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(10),
    jitter: 0.2,
};

/// Decision after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// Restart the actor after this delay.
    RestartIn(Duration),
    /// It failed too often: do not restart it.
    GiveUp,
}

/// Failures of one actor that still count toward the limit.
#[derive(Debug, Default)]
pub struct RestartHistory {
    deaths: VecDeque<Duration>,
    total: u64,
}

impl RestartHistory {
    /// Records a failure at `now` (since any fixed moment) and decides. `random` is in 0..1.
    pub fn on_exit(&mut self, now: Duration, random: f64, policy: &RestartPolicy) -> RestartDecision {
        while self.deaths.front().is_some_and(|&death| now.saturating_sub(death) >= policy.window) {
            self.deaths.pop_front();
        }
        if self.deaths.len() >= policy.limit {
            return RestartDecision::GiveUp;
        }
        let doublings = u32::try_from(self.deaths.len()).unwrap_or(u32::MAX).min(31);
        let pause = policy.initial_delay.saturating_mul(1 << doublings).min(policy.max_delay);
        self.deaths.push_back(now);
        self.total += 1;
        RestartDecision::RestartIn(pause.mul_f64(1.0 + policy.jitter * random.clamp(0.0, 1.0)))
    }

    /// Clears the recorded failures, because an operator removed the cause.
    pub fn reset(&mut self) {
        self.deaths.clear();
    }

    /// Returns the number of restarts that count toward the limit, as of the last failure.
    pub fn in_window(&self) -> usize {
        self.deaths.len()
    }

    /// Returns the number of restarts since creation.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// Number of crashes within [`UNCLEAN_START_WINDOW`] from which on the process does not start again by itself. From the same
/// number of unclean ends of any kind on, it starts with a delay.
pub const UNCLEAN_START_LIMIT: usize = 5;
/// Duration for which an unclean end counts, measured from the start of that process.
pub const UNCLEAN_START_WINDOW: Duration = Duration::from_secs(5 * 60);
/// Upper bound of the delay of a start.
pub const LONGEST_START_PAUSE: Duration = Duration::from_secs(60);

/// A start of the process that was not followed by a clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UncleanStart {
    /// Time of the start, in seconds since 1970.
    pub at: i64,
    /// Whether the process itself crashed. Otherwise the cause is unknown: it was killed, or the machine went down.
    pub crashed: bool,
}

/// Returns the delay before a process that ended uncleanly earlier may start, or, as the error, the number of crashes because
/// of which it must not start. A process that was killed from outside is not at fault and is only delayed, with a growing
/// delay: something may be killing it for a reason, such as its memory use. Times in the future (a clock set back) count as
/// now.
pub fn may_start(unclean: &[UncleanStart], now: i64) -> Result<Duration, usize> {
    let window = i64::try_from(UNCLEAN_START_WINDOW.as_secs()).unwrap_or(i64::MAX);
    let recent = || unclean.iter().filter(|start| now.saturating_sub(start.at) < window);
    let crashes = recent().filter(|start| start.crashed).count();
    if crashes >= UNCLEAN_START_LIMIT {
        return Err(crashes);
    }
    let Some(beyond) = recent().count().checked_sub(UNCLEAN_START_LIMIT) else { return Ok(Duration::ZERO) };
    let doublings = u32::try_from(beyond).unwrap_or(u32::MAX).min(16);
    Ok(Duration::from_secs(1 << doublings).min(LONGEST_START_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy { jitter: 0.5, ..CHANNEL_RESTARTS };

    #[test]
    fn pauses_double_up_to_the_longest_and_the_limit_ends_them() {
        let policy = RestartPolicy { max_delay: Duration::from_millis(500), ..POLICY };
        let mut restarts = RestartHistory::default();
        let pauses: Vec<_> = (0..6).map(|s| restarts.on_exit(Duration::from_secs(s), 0.0, &policy)).collect();
        let ms = |ms| RestartDecision::RestartIn(Duration::from_millis(ms));
        assert_eq!(pauses, [ms(100), ms(200), ms(400), ms(500), ms(500), RestartDecision::GiveUp]);
    }

    #[test]
    fn a_death_long_ago_does_not_count() {
        let mut restarts = RestartHistory::default();
        for i in 0..100 {
            let now = Duration::from_secs(13 * i);
            assert!(matches!(restarts.on_exit(now, 0.0, &POLICY), RestartDecision::RestartIn(_)), "death {i}");
        }
        assert_eq!(restarts.total(), 100);
    }

    #[test]
    fn jitter_only_lengthens_a_pause() {
        let pause = RestartHistory::default().on_exit(Duration::ZERO, 1.0, &POLICY);
        assert_eq!(pause, RestartDecision::RestartIn(Duration::from_millis(150)));
    }

    fn crashes(at: &[i64]) -> Vec<UncleanStart> {
        at.iter().map(|&at| UncleanStart { at, crashed: true }).collect()
    }

    #[test]
    fn a_crash_loop_is_stopped_and_time_heals_it() {
        assert_eq!(may_start(&crashes(&[0, 10, 20, 30]), 40), Ok(Duration::ZERO));
        assert_eq!(may_start(&crashes(&[0, 10, 20, 30, 40]), 50), Err(5));
        assert_eq!(may_start(&crashes(&[0, 10, 20, 30, 40]), 301), Ok(Duration::ZERO));
        assert_eq!(may_start(&crashes(&[900; 5]), 50), Err(5));
    }

    #[test]
    fn who_is_killed_again_and_again_starts_later_and_later_but_starts() {
        let killed = |count: usize| vec![UncleanStart { at: 100, crashed: false }; count];
        let pause = |count| may_start(&killed(count), 110).map(|pause| pause.as_secs());
        assert_eq!([0, 4, 5, 6, 7, 10].map(pause), [0, 0, 1, 2, 4, 32].map(Ok));
        assert_eq!([11, 12, 1000].map(pause), [60; 3].map(Ok));
        assert_eq!(may_start(&killed(1000), 500), Ok(Duration::ZERO), "that was long ago");
        let mixed = [killed(3), crashes(&[100, 100, 100, 100])].concat();
        assert_eq!(may_start(&mixed, 110), Ok(Duration::from_secs(4)), "four crashes are no loop");
    }
}
