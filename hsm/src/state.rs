//! The state that the threads of a pool share.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use crate::library::TokenLibrary;
use crate::status::Away;
use crate::{PoolLimits, TokenError, TokenKey, TokenStatus};

/// One signature that is waited for.
pub(crate) struct Job {
    pub(crate) key: Arc<TokenKey>,
    pub(crate) digest: [u8; 32],
    pub(crate) asked: Instant,
    /// Time from which on nobody waits for it.
    pub(crate) until: Instant,
    /// Whether its failure is reported to its caller at once, instead of being a failure of the token.
    pub(crate) once: bool,
    pub(crate) reply: SyncSender<Result<Bytes, TokenError>>,
}

/// Whether the token signs.
pub(crate) enum Phase {
    /// It signs.
    Ready,
    /// It does not, and the keeper connects to it again.
    Away(Away),
}

pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) phase_since: Instant,
    pub(crate) stopping: bool,
    pub(crate) queue: VecDeque<Job>,
    /// Sessions that are open or being opened.
    pub(crate) sessions: usize,
    /// For each worker, when it called the library, if it has not returned.
    pub(crate) calls: Vec<Option<Instant>>,
    /// The key that was used last, with which the keeper tries whether the token signs.
    pub(crate) known: Option<Arc<TokenKey>>,
    pub(crate) last_signed: Instant,
    pub(crate) signatures: u64,
    pub(crate) signing: Duration,
    pub(crate) failures: u64,
    pub(crate) outages: u64,
}

/// State, wake-ups and limits of a pool.
pub(crate) struct Shared {
    pub(crate) library: Box<dyn TokenLibrary>,
    pub(crate) limits: PoolLimits,
    state: Mutex<State>,
    /// Wakes workers.
    pub(crate) work: Condvar,
    /// Wakes the keeper.
    pub(crate) care: Condvar,
    /// Whether the token signs.
    pub(crate) signs: watch::Sender<bool>,
    /// Threads of callers that may wait for signatures at the same time.
    pub(crate) turns: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(library: impl TokenLibrary, limits: PoolLimits) -> Self {
        let now = Instant::now();
        let state = State {
            phase: Phase::Ready,
            phase_since: now,
            stopping: false,
            queue: VecDeque::new(),
            sessions: 0,
            calls: vec![None; limits.sessions],
            known: None,
            last_signed: now,
            signatures: 0,
            signing: Duration::ZERO,
            failures: 0,
            outages: 0,
        };
        Self {
            library: Box::new(library),
            state: Mutex::new(state),
            work: Condvar::new(),
            care: Condvar::new(),
            signs: watch::Sender::new(true),
            turns: Arc::new(Semaphore::new(2 * limits.sessions)),
            limits,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the token does not sign, and has the keeper connect to it again.
    pub(crate) fn go_away(&self, state: &mut State, error: &TokenError) {
        state.failures += 1;
        if matches!(state.phase, Phase::Away(_)) {
            return;
        }
        state.outages += 1;
        state.phase_since = Instant::now();
        state.phase = Phase::Away(Away {
            cause: error.to_string(),
            action: error.action(),
            attempts: 0,
            gave_up: error.forbids_attempts(),
        });
        tracing::error!(target: "orderer.token", token = self.library.label(), cause = %error, action = error.action(),
            "the token does not sign; blocks wait for it");
        self.signs.send_replace(false);
        self.work.notify_all();
        self.care.notify_all();
    }

    /// Records that the token signs again.
    pub(crate) fn come_back(&self, state: &mut State) {
        let seconds = state.phase_since.elapsed().as_secs();
        let (now, waiting) = (Instant::now(), state.queue.len());
        (state.phase, state.phase_since, state.last_signed) = (Phase::Ready, now, now);
        tracing::info!(target: "orderer.token", token = self.library.label(), seconds, waiting, "the token signs again");
        self.signs.send_replace(true);
        self.work.notify_all();
    }

    pub(crate) fn status(&self) -> TokenStatus {
        let state = self.lock();
        TokenStatus {
            label: self.library.label().to_owned(),
            since: state.phase_since.elapsed(),
            away: match &state.phase {
                Phase::Ready => None,
                Phase::Away(away) => Some(away.clone()),
            },
            sessions: state.sessions,
            waiting: state.queue.len() + state.calls.iter().flatten().count(),
            signatures: state.signatures,
            signing: state.signing,
            failures: state.failures,
            outages: state.outages,
        }
    }
}
