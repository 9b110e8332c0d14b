//! Writes each request that is read into a file, so that an operator can inspect or replay it
//! (`Debug.BroadcastTraceDir`, `Debug.DeliverTraceDir`). Streams hand the bytes over and go on; what cannot be
//! written in time is dropped.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// Maximum number of requests that wait to be written, and their maximum size in bytes.
const QUEUE_MAX: usize = 1024;
const QUEUE_MAX_BYTES: usize = 64 << 20;
/// Minimum interval between warnings about dropped requests.
const SPEAK_EVERY: Duration = Duration::from_secs(10);
/// File mode: for the owner and the group, as Fabric.
const MODE: u32 = 0o660;

/// Writes the requests of one service into a directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestTraceWriter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: SyncSender<(u128, Bytes)>,
    waiting_bytes: Arc<AtomicUsize>,
    left_out: DroppedCounter,
}

/// Counts the requests that were not written, and logs the count now and then.
#[derive(Debug, Default)]
struct DroppedCounter {
    requests: AtomicU64,
    said: Mutex<Option<Instant>>,
}

impl DroppedCounter {
    fn one(&self, reason: &str) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        // the thread that holds the lock is about to log
        let Ok(mut said) = self.said.try_lock() else { return };
        if said.is_none_or(|at| at.elapsed() >= SPEAK_EVERY) {
            let requests = self.requests.swap(0, Ordering::Relaxed);
            *said = Some(Instant::now());
            tracing::warn!(target: "orderer.grpc", requests, reason, "failed to write requests to the trace directory");
        }
    }
}

impl RequestTraceWriter {
    /// Creates the directory and starts the thread that writes; each file's name ends in `service`.
    pub fn start(folder: &Path, service: &'static str) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let waiting_bytes = Arc::<AtomicUsize>::default();
        let (folder, freed) = (folder.to_owned(), Arc::clone(&waiting_bytes));
        // ends when the last stream has ended
        std::thread::Builder::new()
            .name("request files".to_owned())
            .spawn(move || write_all(&folder, service, &waiting, &freed))?;
        Ok(Self(Arc::new(Inner { queue, waiting_bytes, left_out: DroppedCounter::default() })))
    }

    /// Queues a request, or counts it as dropped if the queue is full.
    pub(super) fn put(&self, request: &Bytes) {
        let Inner { queue, waiting_bytes, left_out } = &*self.0;
        let bytes = request.len();
        if waiting_bytes.fetch_add(bytes, Ordering::Relaxed) > QUEUE_MAX_BYTES {
            waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            left_out.one("the disk is too slow");
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send((now, request.clone())) {
            waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            left_out.one("the disk is too slow");
        }
    }
}

fn write_all(folder: &Path, service: &str, waiting: &Receiver<(u128, Bytes)>, freed: &AtomicUsize) {
    let failed = DroppedCounter::default();
    for (number, (nanos, request)) in waiting.iter().enumerate() {
        if let Err(error) = write(&path(folder, nanos, number, service), &request) {
            failed.one(&error.to_string());
        }
        freed.fetch_sub(request.len(), Ordering::Relaxed);
    }
}

/// Returns Fabric's name of a file: nanoseconds since 1970, a hexadecimal number that distinguishes requests of one
/// moment, the service.
fn path(folder: &Path, nanos: u128, number: usize, service: &str) -> PathBuf {
    folder.join(format!("{nanos}_{number:#x}.{service}"))
}

fn write(path: &Path, request: &[u8]) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?.write_all(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_when_which_and_whose() {
        let path = path(Path::new("/traces"), 1_700_000_000_000_000_001, 31, "Broadcast");
        assert_eq!(path, Path::new("/traces/1700000000000000001_0x1f.Broadcast"));
    }
}
