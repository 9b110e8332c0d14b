//! Threads on which configurations are validated. An organization's administrator can make one that takes long: so a validation
//! has a thread of its own, which gives way to those that serve, and each channel and each client has but a few at a time.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use orderer_core::crypto::SignError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::supervision::{ExitReason, panic_message};

/// Maximum number of validations for clients that are in progress at a time. The system's scheduler shares the processors among
/// them, so that a small one does not wait for large ones of other channels.
const AT_ONCE: usize = 16;
/// Maximum number of one channel: the next is validated under the configuration that the one before it may have made.
const MAX_PER_CHANNEL: usize = 1;
/// The most for one client's address.
const MAX_PER_CLIENT: usize = 4;
/// The most requests that wait for one channel, or from one client's address.
const MAX_WAITING: usize = 64;
/// Added to the nice value of a validating thread: where threads that serve want all processors, it gets a tenth of one.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

static VALIDATION_QUEUE: LazyLock<Arc<ValidationQueue>> = LazyLock::new(Arc::default);

/// The requests that wait to have a configuration validated, and those that are being validated.
#[derive(Debug)]
struct ValidationQueue {
    places: Arc<Semaphore>,
    lines: Mutex<HashMap<LimitKey, Arc<Waiters>>>,
}

/// Key by which the validations in progress are limited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LimitKey {
    Channel(String),
    Client(IpAddr),
}

#[derive(Debug)]
struct Waiters {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Too many wait for the same already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{MAX_WAITING} config updates already wait for validation, for this channel or from this address: try again later"
)]
pub struct TooManyWaiting;

/// The permit to have one configuration validated. It is released when it is dropped.
#[derive(Debug)]
pub struct ValidationPermit {
    _place: Option<OwnedSemaphorePermit>,
    _channel: QueuePosition,
    _client: Option<QueuePosition>,
}

impl Default for ValidationQueue {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), lines: Mutex::default() }
    }
}

impl LimitKey {
    fn turns(&self) -> usize {
        match self {
            Self::Channel(_) => MAX_PER_CHANNEL,
            Self::Client(_) => MAX_PER_CLIENT,
        }
    }
}

/// A place in a line, and the turn when it has come.
#[derive(Debug)]
struct QueuePosition {
    judges: Arc<ValidationQueue>,
    key: LimitKey,
    line: Arc<Waiters>,
    turn: Option<OwnedSemaphorePermit>,
}

impl ValidationQueue {
    fn lines(&self) -> MutexGuard<'_, HashMap<LimitKey, Arc<Waiters>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(self: &Arc<Self>, channel: &str, client: Option<IpAddr>) -> Result<ValidationPermit, TooManyWaiting> {
        // the client's own first: who waits for itself keeps nobody else from the channel
        let client = match client {
            Some(address) => Some(self.wait(LimitKey::Client(address)).await?),
            None => None,
        };
        let channel = self.wait(LimitKey::Channel(channel.to_owned())).await?;
        // nobody closes the semaphore
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        Ok(ValidationPermit { _place: place, _channel: channel, _client: client })
    }

    async fn wait(self: &Arc<Self>, key: LimitKey) -> Result<QueuePosition, TooManyWaiting> {
        let new = || Arc::new(Waiters { turns: Arc::new(Semaphore::new(key.turns())), waiting: AtomicUsize::new(0) });
        let line = Arc::clone(self.lines().entry(key.clone()).or_insert_with(new));
        let mut place = QueuePosition { judges: Arc::clone(self), key, line, turn: None };
        let turns = Arc::clone(&place.line.turns);
        place.turn = if let Ok(turn) = Arc::clone(&turns).try_acquire_owned() {
            Some(turn)
        } else {
            let _waiting = WaitingCounter::among(&place.line)?;
            turns.acquire_owned().await.ok()
        };
        Ok(place)
    }
}

/// Counts a request that waits.
struct WaitingCounter<'a>(&'a Waiters);

impl<'a> WaitingCounter<'a> {
    fn among(line: &'a Waiters) -> Result<Self, TooManyWaiting> {
        let waiting = Self(line);
        if line.waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING { Ok(waiting) } else { Err(TooManyWaiting) }
    }
}

impl Drop for WaitingCounter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        drop(self.turn.take());
        let mut lines = self.judges.lines();
        // the map's, and this one: whoever takes another does so under the lock
        if Arc::strong_count(&self.line) == 2 {
            lines.remove(&self.key);
        }
    }
}

/// Waits until a configuration for `channel`, which a client at this address has sent, may be validated.
///
/// # Cancel safety
/// A dropped call loses its position in the line, and nothing else.
///
/// # Errors
/// Too many callers wait already.
pub async fn acquire_validation_permit(
    channel: &str,
    client: Option<IpAddr>,
) -> Result<ValidationPermit, TooManyWaiting> {
    VALIDATION_QUEUE.turn(channel, client).await
}

/// The reason why work on a thread has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum OwnThreadError {
    /// There is no thread for it.
    #[error("cannot start a thread to validate a configuration: {0}")]
    NoThread(#[from] std::io::Error),
    /// It panicked.
    #[error("validating a configuration panicked: {0}")]
    Panicked(String),
    /// The result has to be signed, and the key cannot be used now.
    #[error("sign a config message: {0}")]
    Sign(SignError),
}

impl From<OwnThreadError> for ExitReason {
    fn from(error: OwnThreadError) -> Self {
        match error {
            OwnThreadError::Sign(_) => Self::SignerAway(error.to_string()),
            OwnThreadError::NoThread(_) | OwnThreadError::Panicked(_) => Self::Panicked(error.to_string()),
        }
    }
}

/// Performs work on a thread of its own, as [`on_own_thread`] does, that may need the node's signature.
pub async fn signing_on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SignError> + Send + 'static,
) -> Result<T, OwnThreadError> {
    on_own_thread(work).await?.map_err(OwnThreadError::Sign)
}

/// Performs work on a thread of its own, which gives way to those that serve. The work is finished even if the caller stops
/// waiting for it.
pub fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, OwnThreadError>> + Send + 'static {
    let (done, outcome) = oneshot::channel();
    let thread = std::thread::Builder::new().name("judge".to_owned()).spawn(move || {
        give_way();
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let outcome = outcome.map_err(|panic: Box<dyn Any + Send>| OwnThreadError::Panicked(panic_message(&*panic)));
        let _ = done.send(outcome);
    });
    async move {
        thread?;
        outcome.await.unwrap_or_else(|_| Err(OwnThreadError::Panicked("the thread ended".to_owned())))
    }
}

/// Lowers this thread's priority. On Linux a nice value is a thread's; elsewhere it would be the whole process's.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(target: "orderer.judging", %error, "failed to lower the priority of a validation thread");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as it is handed over")]
    fn client(number: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, number).into())
    }

    /// Returns a future's output if it is ready the first time that it is polled.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            outcome = future => Some(outcome),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn a_channel_has_one_turn_and_keeps_no_other_waiting() {
        let judges = Arc::new(ValidationQueue::default());
        let first = judges.turn("one", client(1)).await.unwrap();
        let mut second = pin!(judges.turn("one", client(2)));
        assert!(at_once(second.as_mut()).await.is_none());
        assert!(at_once(judges.turn("two", client(3))).await.is_some());
        drop(first);
        assert!(at_once(second).await.is_some());
        assert!(judges.lines().is_empty(), "what nobody stands in is not kept");
    }

    #[tokio::test]
    async fn who_waits_for_itself_keeps_nobody_from_a_channel() {
        let judges = Arc::new(ValidationQueue::default());
        let mut turns = Vec::new();
        for number in 0..MAX_PER_CLIENT {
            turns.push(judges.turn(&format!("channel{number}"), client(1)).await.unwrap());
        }
        let mut next = pin!(judges.turn("another", client(1)));
        assert!(at_once(next.as_mut()).await.is_none());
        assert!(at_once(judges.turn("another", client(2))).await.is_some());
        turns.pop();
        assert!(at_once(next).await.is_some());
    }

    #[tokio::test]
    async fn no_more_are_at_work_than_there_are_places() {
        let judges = Arc::new(ValidationQueue::default());
        let mut turns = Vec::new();
        for number in 0..AT_ONCE {
            turns.push(at_once(judges.turn(&format!("channel{number}"), None)).await.unwrap().unwrap());
        }
        let mut next = pin!(judges.turn("another", None));
        assert!(at_once(next.as_mut()).await.is_none());
        turns.pop();
        assert!(at_once(next).await.is_some());
    }

    #[tokio::test]
    async fn a_line_has_an_end() {
        let judges = Arc::new(ValidationQueue::default());
        let turn = judges.turn("one", None).await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(judges.turn("one", None))).collect();
        for one in &mut waiting {
            assert!(at_once(one.as_mut()).await.is_none());
        }
        assert_eq!(at_once(judges.turn("one", None)).await.unwrap().unwrap_err(), TooManyWaiting);
        waiting.pop();
        assert!(at_once(judges.turn("one", None)).await.is_none(), "one who left makes room");
        drop((turn, waiting));
        assert!(judges.lines().is_empty());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_thread_gives_way_and_this_one_does_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(on_own_thread(nice).await.unwrap(), (before + NICE).min(19));
        assert_eq!(nice(), before);
    }

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        let outcome: Result<(), OwnThreadError> = on_own_thread(|| panic!("as it says")).await;
        assert_eq!(outcome.unwrap_err().to_string(), "validating a configuration panicked: as it says");
    }
}
