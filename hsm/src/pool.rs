//! The pool: callers' side.

use std::fmt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orderer_core::crypto::SignError;
use tokio::sync::OwnedSemaphorePermit;

use crate::library::TokenLibrary;
use crate::state::{Job, Phase, Shared};
use crate::{TokenError, TokenKey, TokenStatus, keeper, worker};

/// Maximum number of signatures that wait. Callers are bounded by their turns; this bounds the rest.
const QUEUE_MAX: usize = 4096;
/// Time limit for the pool's threads to end. A call of the library may never return.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Bounds of a pool, in number and in time.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Maximum number of sessions, and of signatures that the token makes at the same time; Fabric caches as many.
    pub sessions: usize,
    /// Duration for which a signature is waited for while the token is away.
    pub patience: Duration,
    /// Duration after which a call of the library counts as one that does not return.
    pub call: Duration,
    /// Interval between looks at an idle token.
    pub check_every: Duration,
    /// Duration without a signature after which the token is asked for one.
    pub probe_every: Duration,
    /// Pause before the first attempt to connect again; each further one doubles it.
    pub first_pause: Duration,
    /// Upper bound of the pause.
    pub longest_pause: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            sessions: 10,
            patience: Duration::from_secs(10),
            call: Duration::from_secs(10),
            check_every: Duration::from_secs(1),
            probe_every: Duration::from_secs(5),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// Sessions with one token, on threads of their own. It is dropped with the last signer.
pub struct TokenPool {
    shared: Arc<Shared>,
    running: Arc<RunningThreads>,
}

/// Counts the threads of a pool that have not ended yet.
#[derive(Default)]
struct RunningThreads {
    count: Mutex<usize>,
    ended: Condvar,
}

/// One of the counted threads, until it is dropped.
struct RunningThread(Arc<RunningThreads>);

impl RunningThreads {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>) -> RunningThread {
        *self.lock() += 1;
        RunningThread(Arc::clone(self))
    }
}

impl Drop for RunningThread {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_all();
    }
}

/// The right to wait for signatures on a thread. It bounds how many threads do.
#[derive(Debug)]
pub struct SigningTurn {
    _permit: OwnedSemaphorePermit,
}

impl TokenPool {
    /// Connects to the token and starts the pool's threads. Performs blocking I/O.
    ///
    /// # Errors
    /// The token is not there, or refuses the PIN.
    pub fn open(library: impl TokenLibrary, limits: PoolLimits) -> Result<Arc<Self>, TokenError> {
        let shared = Arc::new(Shared::new(library, limits));
        shared.library.connect()?;
        drop(shared.library.session()?);
        // threads end when the pool is dropped, also if one of them cannot be started
        let pool = Arc::new(Self { shared, running: Arc::default() });
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            let running = pool.running.begin();
            let started = thread::Builder::new().name(name).spawn(move || {
                // counts the thread until everything that it has of the library is dropped
                let _running = running;
                run();
            });
            started.map(drop).map_err(|error| TokenError::Call(format!("start a thread for the token: {error}")))
        };
        for index in 0..limits.sessions {
            let shared = Arc::clone(&pool.shared);
            spawn(format!("token-{index}"), Box::new(move || worker::run(&shared, index)))?;
        }
        let shared = Arc::clone(&pool.shared);
        spawn("token-keeper".to_owned(), Box::new(move || keeper::run(&shared)))?;
        Ok(pool)
    }

    /// Signs a message. Blocks while the token signs, and for a bounded time while it is away: call it on a thread that may
    /// block, with a [`turn`](Self::turn) if there may be many.
    ///
    /// # Errors
    /// The token did not sign in time. The error says why.
    pub fn sign(&self, key: &Arc<TokenKey>, message: &[u8]) -> Result<Bytes, SignError> {
        let patience = self.shared.limits.patience;
        match self.request(key, message, patience, false) {
            Some(Ok(signature)) => Ok(signature),
            Some(Err(error)) => Err(SignError::unavailable(&error.to_string())),
            None => Err(self.unavailable()),
        }
    }

    /// Signs a message, and reports the first failure: for the start, and for a new certificate.
    ///
    /// # Errors
    /// The token does not sign with this key.
    pub fn try_sign(&self, key: &Arc<TokenKey>, message: &[u8]) -> Result<Bytes, TokenError> {
        let patience = self.shared.limits.call;
        let outcome = self.request(key, message, patience, true);
        outcome.unwrap_or_else(|| match self.status().away {
            Some(away) => Err(TokenError::Call(away.cause)),
            None => Err(TokenError::NoAnswer(patience)),
        })
    }

    /// Has a worker sign; `None` if none did in time.
    fn request(
        &self,
        key: &Arc<TokenKey>,
        message: &[u8],
        patience: Duration,
        once: bool,
    ) -> Option<Result<Bytes, TokenError>> {
        let (reply, answer) = sync_channel(1);
        let asked = Instant::now();
        let job = Job {
            key: Arc::clone(key),
            digest: TokenKey::digest(message),
            asked,
            until: asked + patience,
            once,
            reply,
        };
        {
            let mut state = self.shared.lock();
            if state.queue.len() >= QUEUE_MAX {
                return None;
            }
            state.queue.push_back(job);
        }
        self.shared.work.notify_one();
        answer.recv_timeout(patience).ok()
    }

    /// Waits until the token signs, for a bounded time, and until few other threads wait for it. It occupies no thread.
    ///
    /// # Errors
    /// The token stayed away for too long.
    ///
    /// # Cancel safety
    /// Dropping the future loses the place in the queue.
    pub async fn turn(&self) -> Result<SigningTurn, SignError> {
        let mut signs = self.shared.signs.subscribe();
        loop {
            let ready = signs.wait_for(|signs| *signs);
            if tokio::time::timeout(self.shared.limits.patience, ready).await.is_err() {
                return Err(self.unavailable());
            }
            tokio::select! {
                permit = Arc::clone(&self.shared.turns).acquire_owned() => {
                    return permit.map(|permit| SigningTurn { _permit: permit }).map_err(|_| self.unavailable());
                }
                // those that have a turn wait for the token themselves
                _ = signs.wait_for(|signs| !*signs) => {}
            }
        }
    }

    /// Waits until the token signs.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ready(&self) {
        let mut signs = self.shared.signs.subscribe();
        let _ = signs.wait_for(|signs| *signs).await;
    }

    /// Returns the pool's state, for operators.
    pub fn status(&self) -> TokenStatus {
        self.shared.status()
    }

    /// Describes why there is no signature.
    fn unavailable(&self) -> SignError {
        let label = self.shared.library.label();
        let state = self.shared.lock();
        let text = match &state.phase {
            Phase::Away(away) => {
                let seconds = state.phase_since.elapsed().as_secs();
                format!("the token '{label}' with this node's key has not signed for {seconds} s: {}", away.cause)
            }
            Phase::Ready => {
                format!(
                    "the token '{label}' with this node's key is slow: it did not sign within {:?}",
                    self.shared.limits.patience
                )
            }
        };
        SignError::unavailable(&text)
    }
}

impl Drop for TokenPool {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
        self.shared.care.notify_all();
        // the process may end next: a library that is called while it ends crashes
        let ended = self.running.ended.wait_timeout_while(self.running.lock(), END_WITHIN, |count| *count > 0);
        drop(ended);
    }
}

impl fmt::Debug for TokenPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPool").field("token", &self.shared.library.label()).finish_non_exhaustive()
    }
}
