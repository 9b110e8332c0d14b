//! The thread that looks after the token: it notices that an idle token is gone and that a call does not return, and connects
//! again with growing pauses.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::TokenError;
use crate::key::TokenKey;
use crate::state::{Job, Phase, Shared, State};

/// Message that is signed to learn whether the token signs. No block and no envelope has this form.
const PROBE: &[u8] = b"probe of a token; it vouches for nothing";

/// Looks after the token until the pool is dropped.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    while !state.stopping {
        state = match &state.phase {
            Phase::Ready => watch(shared, state),
            Phase::Away(away) if away.gave_up => wait(shared, state, shared.limits.check_every),
            Phase::Away(away) => {
                let pause = pause(shared, away.attempts);
                reconnect(shared, state, pause)
            }
        };
        let now = Instant::now();
        state.queue.retain(|job| job.until > now);
    }
}

fn wait<'a>(shared: &'a Shared, state: MutexGuard<'a, State>, duration: Duration) -> MutexGuard<'a, State> {
    shared.care.wait_timeout(state, duration).unwrap_or_else(PoisonError::into_inner).0
}

/// Returns the pause before the next attempt: each is twice as long as the one before.
fn pause(shared: &Shared, attempts: u32) -> Duration {
    let limits = &shared.limits;
    limits.first_pause.saturating_mul(1 << attempts.min(16)).min(limits.longest_pause)
}

/// Waits a little, then looks for calls that do not return, and has an idle token sign.
fn watch<'a>(shared: &'a Shared, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    let mut state = wait(shared, state, shared.limits.check_every);
    if state.stopping || !matches!(state.phase, Phase::Ready) {
        return state;
    }
    let longest = state.calls.iter().flatten().map(Instant::elapsed).max().unwrap_or_default();
    if longest >= shared.limits.call {
        shared.go_away(&mut state, &TokenError::NoAnswer(longest));
        return state;
    }
    let is_idle = state.queue.is_empty() && state.calls.iter().all(Option::is_none);
    let is_due = is_idle && state.last_signed.elapsed() >= shared.limits.probe_every;
    if let Some(key) = state.known.clone().filter(|_| is_due) {
        let now = Instant::now();
        let (reply, _) = sync_channel(1);
        let job = Job {
            digest: TokenKey::digest(PROBE),
            key,
            asked: now,
            until: now + shared.limits.patience,
            once: false,
            reply,
        };
        state.queue.push_back(job);
        shared.work.notify_one();
    }
    state
}

/// Connects again, when the pause is over and all sessions are closed.
fn reconnect<'a>(shared: &'a Arc<Shared>, mut state: MutexGuard<'a, State>, pause: Duration) -> MutexGuard<'a, State> {
    let began = Instant::now();
    while !state.stopping && began.elapsed() < pause {
        state = wait(shared, state, pause.saturating_sub(began.elapsed()));
    }
    // initializing the library anew ends the sessions, which no thread may use meanwhile
    while !state.stopping && (state.sessions > 0 || state.calls.iter().any(Option::is_some)) {
        if began.elapsed() >= pause + shared.limits.call {
            let longest = state.calls.iter().flatten().map(Instant::elapsed).max().unwrap_or_default();
            failed(shared, &mut state, &TokenError::NoAnswer(longest));
            return state;
        }
        state = wait(shared, state, shared.limits.check_every);
    }
    if state.stopping {
        return state;
    }
    let known = state.known.clone();
    drop(state);
    let outcome = try_token(shared, known.as_deref());
    let mut state = shared.lock();
    match outcome {
        Ok(()) => shared.come_back(&mut state),
        Err(error) => failed(shared, &mut state, &error),
    }
    state
}

/// Connects, and has the token sign once.
fn try_token(shared: &Shared, known: Option<&TokenKey>) -> Result<(), TokenError> {
    shared.library.connect()?;
    let mut session = shared.library.session()?;
    let Some(key) = known else { return Ok(()) };
    let raw = session.sign(key, &TokenKey::digest(PROBE))?;
    let belongs = key.encode(&raw).is_some_and(|signature| key.verifies(PROBE, &signature));
    if belongs { Ok(()) } else { Err(TokenError::Mismatch { id: key.shown_id() }) }
}

/// Records a failed attempt; logs it if its cause is a new one.
fn failed(shared: &Shared, state: &mut State, error: &TokenError) {
    state.failures += 1;
    let Phase::Away(away) = &mut state.phase else { return };
    let cause = error.to_string();
    away.attempts = away.attempts.saturating_add(1);
    away.gave_up = error.forbids_attempts();
    if away.cause != cause {
        (away.cause, away.action) = (cause, error.action());
        let attempts = away.attempts;
        tracing::warn!(target: "orderer.token", token = shared.library.label(), cause = %error, attempts,
            action = error.action(), "the token could not be connected to again");
    }
}
