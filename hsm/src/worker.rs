//! A thread that signs: it has one session with the token.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::TokenError;
use crate::library::TokenSession;
use crate::state::{Job, Phase, Shared};

/// Next step of a worker.
enum Step {
    Stop,
    /// The token is away: the session must be closed before the library is initialized anew.
    Close,
    Sign(Job),
}

/// Signs what is requested until the pool is dropped.
pub(crate) fn run(shared: &Arc<Shared>, index: usize) {
    let mut session: Option<Box<dyn TokenSession>> = None;
    loop {
        match next(shared, index, session.is_some()) {
            Step::Stop => return,
            Step::Close => close(shared, index, &mut session),
            Step::Sign(job) => {
                let outcome = sign(shared, &mut session, &job);
                // a session after a failure is not used again
                if outcome.is_err() {
                    close(shared, index, &mut session);
                }
                finish(shared, index, job, outcome);
            }
        }
    }
}

/// Waits for something to do, and marks the worker as inside a call.
fn next(shared: &Shared, index: usize, has_session: bool) -> Step {
    let mut state = shared.lock();
    loop {
        if state.stopping {
            return Step::Stop;
        }
        match state.phase {
            Phase::Away(_) if has_session => return Step::Close,
            Phase::Away(_) => {}
            Phase::Ready => {
                let now = Instant::now();
                while let Some(job) = state.queue.pop_front() {
                    if job.until > now {
                        state.calls[index] = Some(now);
                        return Step::Sign(job);
                    }
                }
            }
        }
        state = shared.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

/// Signs, at the second attempt with a new session: tokens close sessions that were idle.
fn sign(shared: &Shared, session: &mut Option<Box<dyn TokenSession>>, job: &Job) -> Result<Bytes, TokenError> {
    let mut before = None;
    if let Some(open) = session {
        let first = open.sign(&job.key, &job.digest);
        match first.and_then(|raw| encode(job, &raw)) {
            Ok(signature) => return Ok(signature),
            Err(error) => {
                tracing::debug!(target: "orderer.token", %error, "a session failed, another one is opened");
                *session = None;
                shared.lock().sessions -= 1;
                before = Some(error);
            }
        }
    }
    shared.lock().sessions += 1;
    let open = match shared.library.session() {
        Ok(open) => session.insert(open),
        Err(error) => {
            shared.lock().sessions -= 1;
            return Err(error);
        }
    };
    let second = open.sign(&job.key, &job.digest).and_then(|raw| encode(job, &raw));
    // a token that is gone shows no keys: the error before says more
    second.map_err(|error| before.filter(|_| matches!(error, TokenError::NoKey { .. })).unwrap_or(error))
}

fn encode(job: &Job, raw: &[u8]) -> Result<Bytes, TokenError> {
    let wrong = || TokenError::Call(format!("the token returned {} bytes, which are no signature", raw.len()));
    job.key.encode(raw).ok_or_else(wrong)
}

fn close(shared: &Shared, index: usize, session: &mut Option<Box<dyn TokenSession>>) {
    let Some(open) = session.take() else { return };
    shared.lock().calls[index].get_or_insert_with(Instant::now);
    drop(open);
    let mut state = shared.lock();
    state.sessions -= 1;
    state.calls[index] = None;
    shared.care.notify_all();
}

fn finish(shared: &Shared, index: usize, job: Job, outcome: Result<Bytes, TokenError>) {
    let mut state = shared.lock();
    state.calls[index] = None;
    match outcome {
        Ok(signature) => {
            let now = Instant::now();
            state.signatures += 1;
            state.signing += now - job.asked;
            state.last_signed = now;
            state.known = Some(Arc::clone(&job.key));
            drop(state);
            let _ = job.reply.try_send(Ok(signature));
        }
        Err(error) if job.once => {
            state.failures += 1;
            drop(state);
            let _ = job.reply.try_send(Err(error));
        }
        Err(error) => {
            // it is signed when the token is back, if that is in time
            state.queue.push_front(job);
            shared.go_away(&mut state, &error);
        }
    }
}
