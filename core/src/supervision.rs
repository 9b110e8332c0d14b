//! When to start a dead child again, and when to give up. Pure: times and random numbers are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// How often, and how soon, something that died is started again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RestartPolicy {
    /// So many restarts within the window are made; the next death is final.
    pub limit: usize,
    /// How long a restart counts.
    pub window: Duration,
    /// Pause before the first restart in a window; each further one doubles it.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// A pause is made longer by up to this fraction, so that many channels do not return in the same instant.
    pub jitter: f64,
}

/// For everything that belongs to one channel: five restarts a minute, 0.1 s to 10 s apart.
pub const CHANNEL_RESTARTS: RestartPolicy = RestartPolicy {
    limit: 5,
    window: Duration::from_secs(60),
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_secs(10),
    jitter: 0.2,
};

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDeath {
    /// Start it again after this pause.
    RestartIn(Duration),
    /// It died too often: leave it.
    GiveUp,
}

/// Deaths of one child that still count.
#[derive(Debug, Default)]
pub struct Restarts {
    deaths: VecDeque<Duration>,
    total: u64,
}

impl Restarts {
    /// Counts a death at `now` (since any fixed moment) and decides. `random` is in 0..1.
    pub fn after_death(&mut self, now: Duration, random: f64, policy: &RestartPolicy) -> AfterDeath {
        while self.deaths.front().is_some_and(|&death| now.saturating_sub(death) >= policy.window) {
            self.deaths.pop_front();
        }
        if self.deaths.len() >= policy.limit {
            return AfterDeath::GiveUp;
        }
        let doublings = u32::try_from(self.deaths.len()).unwrap_or(u32::MAX).min(31);
        let pause = policy.first_pause.saturating_mul(1 << doublings).min(policy.longest_pause);
        self.deaths.push_back(now);
        self.total += 1;
        AfterDeath::RestartIn(pause.mul_f64(1.0 + policy.jitter * random.clamp(0.0, 1.0)))
    }

    /// Forgets the deaths, because the cause was removed by a person.
    pub fn forgive(&mut self) {
        self.deaths.clear();
    }

    /// Restarts that count against the limit now.
    pub fn in_window(&self) -> usize {
        self.deaths.len()
    }

    /// Restarts ever.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// After so many crashes within [`UNCLEAN_START_WINDOW`] the process refuses to start again by itself. After so many ends
/// that say nothing it starts later.
pub const UNCLEAN_START_LIMIT: usize = 5;
/// How long an unclean end counts, from its start on.
pub const UNCLEAN_START_WINDOW: Duration = Duration::from_secs(5 * 60);
/// No start waits longer.
pub const LONGEST_START_PAUSE: Duration = Duration::from_secs(60);

/// A start of the process that was not followed by a clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UncleanStart {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Whether the process ended by its own doing. Otherwise nobody knows: it was killed, or the machine went down.
    pub crashed: bool,
}

/// When a process may start that ended uncleanly before: after this pause, or not at all (then: so many crashes speak
/// against it). Who was killed from outside is not to blame, and starts later and later at worst: something may be killing it
/// for a reason, such as its memory. Times in the future (a clock set back) count as now.
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
        let policy = RestartPolicy { longest_pause: Duration::from_millis(500), ..POLICY };
        let mut restarts = Restarts::default();
        let pauses: Vec<_> = (0..6).map(|s| restarts.after_death(Duration::from_secs(s), 0.0, &policy)).collect();
        let ms = |ms| AfterDeath::RestartIn(Duration::from_millis(ms));
        assert_eq!(pauses, [ms(100), ms(200), ms(400), ms(500), ms(500), AfterDeath::GiveUp]);
    }

    #[test]
    fn a_death_long_ago_does_not_count() {
        let mut restarts = Restarts::default();
        for i in 0..100 {
            let now = Duration::from_secs(13 * i);
            assert!(matches!(restarts.after_death(now, 0.0, &POLICY), AfterDeath::RestartIn(_)), "death {i}");
        }
        assert_eq!(restarts.total(), 100);
    }

    #[test]
    fn jitter_only_lengthens_a_pause() {
        let pause = Restarts::default().after_death(Duration::ZERO, 1.0, &POLICY);
        assert_eq!(pause, AfterDeath::RestartIn(Duration::from_millis(150)));
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
