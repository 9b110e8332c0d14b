//! Measures the CPU time of a thread, so that other load on the machine does not count as the cost of a case.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Measures the CPU time of the thread that starts it. If the system does not report CPU time, it measures elapsed
/// time.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    /// The file in which the system reports the CPU time, and the value at the start.
    thread: Option<(PathBuf, Duration)>,
    started: Instant,
}

impl Stopwatch {
    /// Starts to measure the calling thread.
    pub fn start() -> Self {
        let file =
            fs::read_link("/proc/thread-self").ok().map(|thread| PathBuf::from("/proc").join(thread).join("schedstat"));
        let thread = file.and_then(|file| used(&file).map(|used| (file, used)));
        Self { thread, started: Instant::now() }
    }

    /// Returns the CPU time since the start. Any thread may call it.
    pub fn used(&self) -> Duration {
        let now = self.thread.as_ref().and_then(|(file, before)| Some(used(file)?.saturating_sub(*before)));
        now.unwrap_or_else(|| self.passed())
    }

    /// Returns the elapsed time since the start.
    pub fn passed(&self) -> Duration {
        self.started.elapsed()
    }
}

fn used(file: &Path) -> Option<Duration> {
    let text = fs::read_to_string(file).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn what_a_thread_uses_is_measured_also_from_another() {
        let (started, watch) = std::sync::mpsc::channel();
        let (finish, stop) = std::sync::mpsc::channel::<()>();
        let busy = std::thread::spawn(move || {
            started.send(Stopwatch::start()).unwrap();
            while stop.try_recv().is_err() {
                std::hint::spin_loop();
            }
        });
        let watch = watch.recv().unwrap();
        while watch.used() < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        assert!(watch.passed() >= Duration::from_millis(20));
        finish.send(()).unwrap();
        busy.join().unwrap();
    }

    #[test]
    fn a_thread_that_waits_uses_no_processor() {
        let watch = Stopwatch::start();
        if watch.thread.is_some() {
            let (_kept, never) = std::sync::mpsc::channel::<()>();
            assert!(never.recv_timeout(Duration::from_millis(200)).is_err());
            assert!(watch.used() < watch.passed() / 2, "{:?} of {:?}", watch.used(), watch.passed());
        }
    }
}
