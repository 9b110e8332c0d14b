//! Selects the orderer from which to replicate blocks next. Pure: the time since any fixed moment is an argument.
//!
//! All sources that are not suspended are asked for their height at the same time. The first source that has all requested blocks
//! is used; if none has, the tallest source that has the next block, once all have responded. A source that failed is suspended
//! for a pause that grows with every consecutive failure; one whose blocks were rejected is suspended for longer. The number of
//! attempts is not limited. A caller that wants all future blocks as well sets the highest number as the last.

use std::time::Duration;

use crate::types::BlockNumber;

/// Pauses between attempts, and a limit for slow sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryDelays {
    /// Pause when no source responds, and after a first failure (`ReplicationRetryTimeout`).
    pub retry: Duration,
    /// Upper bound of the pause, which doubles after each consecutive failure.
    pub longest: Duration,
    /// Pause for a source whose blocks were rejected.
    pub liar: Duration,
    /// Waiting time after which a source that was slow all the time counts as failed.
    pub patience: Duration,
    /// Pauses when sources respond but none has the next block: the shorter one first, each half as long again as the one before,
    /// up to the longer one.
    pub poll: (Duration, Duration),
}

impl Default for RetryDelays {
    /// Returns Fabric's `ReplicationRetryTimeout` (5 s), twelve times that, ten minutes, half a minute, and the pauses with which
    /// Fabric's follower polls heights (0.5 s to 10 s).
    fn default() -> Self {
        let retry = Duration::from_secs(5);
        let poll = (Duration::from_millis(500), Duration::from_secs(10));
        Self { retry, longest: retry * 12, liar: Duration::from_secs(600), patience: Duration::from_secs(30), poll }
    }
}

impl RetryDelays {
    /// Returns the default pauses for another `ReplicationRetryTimeout`, at least 1 ms.
    pub fn from_retry(retry: Duration) -> Self {
        let retry = retry.max(Duration::from_millis(1));
        Self { retry, longest: retry.saturating_mul(12), ..Self::default() }
    }
}

/// Input of [`Sources::on`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Starts the first attempt, and the next one after each [`Action::Wait`].
    Begin,
    /// A probed source has responded or failed.
    Height {
        /// Address of the source.
        source: String,
        /// Number of blocks that the source has; `None` if it failed.
        height: Option<u64>,
    },
    /// An [`Action::Pull`] has ended.
    Ended {
        /// Number of the next missing block.
        next: BlockNumber,
        /// How the pull ended.
        how: PullOutcome,
    },
}

/// Result of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullOutcome {
    /// All requested blocks were received.
    Complete,
    /// The source failed.
    Failed,
    /// The source sent a block that was rejected.
    Lied,
}

/// Output of [`Sources::on`], for the caller to perform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask these sources for their heights at the same time; report [`Event::Height`] for each.
    Probe(Vec<String>),
    /// Do nothing until the next event.
    Nothing,
    /// Stop asking for heights, and pull these blocks from one source; then report [`Event::Ended`].
    Pull {
        /// Address of the source.
        source: String,
        /// Number of the first block.
        from: BlockNumber,
        /// Number of the last block.
        to: BlockNumber,
    },
    /// Report [`Event::Begin`] after this pause.
    Wait(Duration),
    /// All requested blocks were received.
    Done,
}

/// State machine that selects the orderer from which to replicate blocks next.
#[derive(Clone, Debug)]
pub struct Sources {
    known: Vec<Source>,
    next: BlockNumber,
    to: BlockNumber,
    pauses: RetryDelays,
    /// Source of the current pull, and the block that was next when it started.
    pulling: Option<(String, BlockNumber)>,
    /// Number of consecutive attempts in which no source had the next block.
    polls: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    address: String,
    /// Time until which the source is suspended.
    left_out: Duration,
    /// Number of consecutive failures.
    failures: u32,
    answer: ProbeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeState {
    NotAsked,
    Awaited,
    Height(u64),
    None,
}

impl Sources {
    /// Creates the state machine for the blocks from `next` to `to`, both included, from orderers at these addresses.
    pub fn new(
        addresses: impl IntoIterator<Item = String>,
        next: BlockNumber,
        to: BlockNumber,
        pauses: RetryDelays,
    ) -> Self {
        let mut sources = Self { known: Vec::new(), next, to, pauses, pulling: None, polls: 0 };
        sources.replace(addresses);
        sources
    }

    /// Replaces the addresses. Keeps the state of sources that remain.
    pub fn replace(&mut self, addresses: impl IntoIterator<Item = String>) {
        let before = std::mem::take(&mut self.known);
        for address in addresses {
            if self.known.iter().any(|known| known.address == address) {
                continue;
            }
            let known = before.iter().find(|known| known.address == address).cloned();
            self.known.push(known.unwrap_or(Source {
                address,
                left_out: Duration::ZERO,
                failures: 0,
                answer: ProbeState::NotAsked,
            }));
        }
    }

    /// Returns the number of sources.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is no source.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns what to do after `event` at `now`.
    pub fn on(&mut self, event: Event, now: Duration) -> Action {
        match event {
            Event::Begin => self.begin(now),
            Event::Height { source, height } => self.heard(&source, height, now),
            Event::Ended { next, how } => self.ended(next, how, now),
        }
    }

    fn begin(&mut self, now: Duration) -> Action {
        if self.next > self.to {
            return Action::Done;
        }
        self.pulling = None;
        let mut asked = Vec::new();
        for source in &mut self.known {
            let is_asked = source.left_out <= now;
            source.answer = if is_asked { ProbeState::Awaited } else { ProbeState::NotAsked };
            if is_asked {
                asked.push(source.address.clone());
            }
        }
        if asked.is_empty() { self.wait(now) } else { Action::Probe(asked) }
    }

    /// Waits until the first suspended source may be asked again, and at least for the retry pause.
    fn wait(&self, now: Duration) -> Action {
        let first = self.known.iter().map(|source| source.left_out.saturating_sub(now)).min();
        Action::Wait(first.unwrap_or_default().max(self.pauses.retry))
    }

    fn heard(&mut self, address: &str, height: Option<u64>, now: Duration) -> Action {
        if self.pulling.is_some() {
            return Action::Nothing;
        }
        let pauses = self.pauses;
        let Some(source) = self.known.iter_mut().find(|source| source.address == address) else {
            return self.choose();
        };
        match height {
            Some(height) => source.answer = ProbeState::Height(height),
            None => source.fail(pauses, now),
        }
        self.choose()
    }

    fn choose(&mut self) -> Action {
        let tall = |source: &Source| match source.answer {
            ProbeState::Height(height) if height > self.next.0 => Some(height),
            _ => None,
        };
        // among equals, the first
        let tallest =
            self.known.iter().rev().filter_map(|source| Some((tall(source)?, source))).max_by_key(|(h, _)| *h);
        let is_waiting = self.known.iter().any(|source| source.answer == ProbeState::Awaited);
        match tallest {
            Some((height, source)) if height > self.to.0 || !is_waiting => {
                let source = source.address.clone();
                let to = self.to.min(BlockNumber(height - 1));
                self.pulling = Some((source.clone(), self.next));
                Action::Pull { source, from: self.next, to }
            }
            _ if is_waiting => Action::Nothing,
            _ if self.known.iter().any(|source| matches!(source.answer, ProbeState::Height(_))) => {
                let (shortest, longest) = self.pauses.poll;
                let pause = shortest.mul_f64(1.5f64.powi(i32::try_from(self.polls).unwrap_or(i32::MAX).min(30)));
                self.polls = self.polls.saturating_add(1);
                Action::Wait(pause.min(longest))
            }
            _ => Action::Wait(self.pauses.retry),
        }
    }

    fn ended(&mut self, next: BlockNumber, how: PullOutcome, now: Duration) -> Action {
        let pauses = self.pauses;
        self.next = next;
        if let Some((address, from)) = self.pulling.take()
            && let Some(source) = self.known.iter_mut().find(|source| source.address == address)
        {
            if next > from {
                source.failures = 0;
                self.polls = 0;
            }
            match how {
                // a source that completes without sending a block is of no use
                PullOutcome::Complete if next > from => {}
                PullOutcome::Complete | PullOutcome::Failed => source.fail(pauses, now),
                PullOutcome::Lied => source.left_out = now.saturating_add(pauses.liar),
            }
        }
        self.begin(now)
    }
}

impl Source {
    fn fail(&mut self, pauses: RetryDelays, now: Duration) {
        self.answer = ProbeState::None;
        let pause = pauses.retry.saturating_mul(1 << self.failures.min(16)).min(pauses.longest);
        self.failures = self.failures.saturating_add(1);
        self.left_out = now.saturating_add(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn sources(names: &[&str], next: u64, to: u64) -> Sources {
        let names = names.iter().map(|name| (*name).to_owned());
        Sources::new(names, BlockNumber(next), BlockNumber(to), RetryDelays::default())
    }

    fn probe(names: &[&str]) -> Action {
        Action::Probe(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn pull(source: &str, from: u64, to: u64) -> Action {
        Action::Pull { source: source.to_owned(), from: BlockNumber(from), to: BlockNumber(to) }
    }

    fn height(source: &str, height: impl Into<Option<u64>>) -> Event {
        Event::Height { source: source.to_owned(), height: height.into() }
    }

    fn ended(next: u64, how: PullOutcome) -> Event {
        Event::Ended { next: BlockNumber(next), how }
    }

    fn left_out(sources: &Sources, at: usize, now: Duration) -> Duration {
        sources.known[at].left_out.saturating_sub(now)
    }

    #[test]
    fn the_first_that_has_all_is_pulled_from_without_waiting_for_others() {
        let mut sources = sources(&["a", "b", "c", "b"], 5, 9);
        assert_eq!(sources.on(Event::Begin, S(0)), probe(&["a", "b", "c"]));
        assert_eq!(sources.on(height("a", 9), S(0)), Action::Nothing, "block 9 is missing there");
        assert_eq!(sources.on(height("b", 10), S(0)), pull("b", 5, 9));
        assert_eq!(sources.on(height("c", 20), S(0)), Action::Nothing, "too late");
        assert_eq!(sources.on(ended(10, PullOutcome::Complete), S(1)), Action::Done);
    }

    #[test]
    fn if_none_has_all_the_tallest_is_pulled_from_once_all_have_answered() {
        let mut sources = sources(&["a", "b", "c"], 5, 9);
        sources.on(Event::Begin, S(0));
        assert_eq!(sources.on(height("a", 7), S(0)), Action::Nothing);
        assert_eq!(sources.on(height("b", 8), S(0)), Action::Nothing);
        assert_eq!(sources.on(height("c", None), S(0)), pull("b", 5, 7));
        assert_eq!(sources.on(ended(8, PullOutcome::Complete), S(1)), probe(&["a", "b"]), "c is left out");
        assert_eq!(sources.on(height("a", 8), S(1)), Action::Nothing);
        assert_eq!(sources.on(height("b", 8), S(1)), Action::Wait(MS(500)), "nobody has block 8");
        assert_eq!(sources.on(Event::Begin, S(6)), probe(&["a", "b", "c"]));
    }

    #[test]
    fn who_fails_is_left_out_for_longer_and_longer() {
        let mut sources = sources(&["a", "b"], 0, 9);
        let (mut now, mut pauses) = (S(0), Vec::new());
        for _ in 0..6 {
            let Action::Probe(asked) = sources.on(Event::Begin, now) else { panic!("nobody is asked") };
            assert_eq!(asked, ["a", "b"]);
            sources.on(height("b", 3), now);
            // only b has blocks; it is probed again at once
            assert_eq!(sources.on(height("a", None), now), pull("b", 0, 2));
            assert_eq!(sources.on(ended(0, PullOutcome::Failed), now), Action::Wait(left_out(&sources, 0, now)));
            pauses.push(left_out(&sources, 0, now).as_secs());
            now = sources.known[0].left_out;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        // a successful source has no failures any more
        sources.on(Event::Begin, now);
        sources.on(height("a", None), now);
        assert_eq!(sources.on(height("b", 3), now), pull("b", 0, 2));
        sources.on(ended(1, PullOutcome::Failed), now);
        assert_eq!(left_out(&sources, 1, now), S(5));
    }

    #[test]
    fn who_lies_is_left_out_for_long_and_asked_again_at_last() {
        let mut sources = sources(&["a", "b"], 5, 9);
        sources.on(Event::Begin, S(0));
        assert_eq!(sources.on(height("a", 10), S(0)), pull("a", 5, 9));
        assert_eq!(sources.on(ended(7, PullOutcome::Lied), S(1)), probe(&["b"]));
        assert_eq!(sources.on(height("b", 6), S(1)), Action::Wait(MS(500)));
        assert_eq!(sources.on(Event::Begin, S(600)), probe(&["b"]));
        sources.on(height("b", None), S(600));
        assert_eq!(sources.on(Event::Begin, S(601)), probe(&["a"]));
        assert_eq!(sources.on(height("a", 10), S(601)), pull("a", 7, 9));
        assert_eq!(sources.on(ended(10, PullOutcome::Complete), S(602)), Action::Done);
    }

    #[test]
    fn a_source_that_sends_nothing_is_not_asked_in_a_circle() {
        let mut sources = sources(&["a"], 5, 9);
        sources.on(Event::Begin, S(0));
        sources.on(height("a", 10), S(0));
        assert_eq!(sources.on(ended(5, PullOutcome::Complete), S(0)), Action::Wait(S(5)));
    }

    #[test]
    fn heights_say_nothing_that_is_beyond_all_numbers() {
        let mut sources = sources(&["a"], u64::MAX - 1, u64::MAX);
        sources.on(Event::Begin, S(0));
        assert_eq!(sources.on(height("a", u64::MAX), S(0)), pull("a", u64::MAX - 1, u64::MAX - 1));
    }

    #[test]
    fn other_addresses_take_over_and_what_is_known_stays() {
        let mut sources = sources(&["a", "b"], 5, 9);
        sources.on(Event::Begin, S(0));
        sources.on(height("a", None), S(0));
        sources.replace(["c", "a"].map(str::to_owned));
        assert_eq!(sources.on(height("b", 10), S(0)), Action::Wait(S(5)), "b is gone");
        assert_eq!(sources.on(Event::Begin, S(1)), probe(&["c"]), "a is still left out");
        sources.replace([]);
        assert_eq!(sources.on(height("c", 10), S(1)), Action::Wait(S(5)));
        assert_eq!(sources.on(Event::Begin, S(99)), Action::Wait(S(5)));
    }

    #[test]
    fn who_wants_all_blocks_polls_more_and_more_rarely() {
        let mut sources = sources(&["a"], 5, u64::MAX);
        let poll = |sources: &mut Sources, count: u64| {
            sources.on(Event::Begin, S(0));
            sources.on(height("a", count), S(0))
        };
        let pauses: Vec<_> = (0..4).map(|_| poll(&mut sources, 5)).collect();
        assert_eq!(pauses, [500_000, 750_000, 1_125_000, 1_687_500].map(|us| Action::Wait(Duration::from_micros(us))));
        let pauses: Vec<_> = (0..99).map(|_| poll(&mut sources, 5)).collect();
        assert_eq!(pauses.last(), Some(&Action::Wait(S(10))));
        assert_eq!(poll(&mut sources, 7), pull("a", 5, 6));
        assert_eq!(sources.on(ended(7, PullOutcome::Complete), S(0)), probe(&["a"]));
        assert_eq!(sources.on(height("a", 7), S(0)), Action::Wait(MS(500)));
    }

    #[test]
    fn nothing_to_get_is_done() {
        assert_eq!(sources(&[], 10, 9).on(Event::Begin, S(0)), Action::Done);
    }
}
