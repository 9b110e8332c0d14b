//! CPU time, as Linux reports it.

use std::fs;
use std::time::{Duration, Instant};

use super::workload::Workload;

/// The kernel reports hundredths of a second to programs, on every architecture that Rust supports.
const TICK: Duration = Duration::from_millis(10);
/// CPU time and wall time after which verifying stops.
const VERIFYING: Duration = Duration::from_millis(250);
const VERIFYING_LIMIT: Duration = Duration::from_secs(5);
/// Number of verifications between two readings of the clock, which cost about 10 µs.
const VERIFIED_AT_ONCE: u32 = 50;

/// The source of the node's CPU time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// This process, without threads of this name.
    OwnWithout(&'static str),
    /// Another process, by its ID.
    Process(u32),
    /// Not known.
    Unknown,
}

impl Owner {
    /// Returns the CPU time used so far.
    pub(super) fn used(self) -> Option<Duration> {
        match self {
            Self::Unknown => None,
            Self::Process(id) => stat(&format!("/proc/{id}/stat")),
            Self::OwnWithout(name) => {
                let mut used = stat("/proc/self/stat")?;
                for thread in fs::read_dir("/proc/self/task").ok()? {
                    let folder = thread.ok()?.path();
                    // a thread may end between two readings
                    let named = fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
                    if named {
                        used =
                            used.saturating_sub(stat(&folder.join("stat").display().to_string()).unwrap_or_default());
                    }
                }
                Some(used)
            }
        }
    }
}

/// Returns user and system time: fields 14 and 15, counted behind the name, which may contain anything.
fn stat(path: &str) -> Option<Duration> {
    let text = fs::read_to_string(path).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(TICK * user.checked_add(system)?)
}

/// Measures the CPU time of verifying one signature of the load, alone, on one core. Blocks the thread for a quarter
/// of a second, and for longer on a busy machine.
pub(super) fn verification(load: &Workload) -> anyhow::Result<Duration> {
    let clock = ThreadClock::start();
    let (began, mut verified) = (Instant::now(), 0_u32);
    loop {
        for _ in 0..VERIFIED_AT_ONCE {
            anyhow::ensure!(load.verify(verified as usize % load.len()), "a signature of the load does not verify");
            verified += 1;
        }
        let used = clock.used();
        if used >= VERIFYING || began.elapsed() >= VERIFYING_LIMIT {
            return Ok(used / verified);
        }
    }
}

/// CPU time of this thread since the start; wall time if the kernel does not report it.
struct ThreadClock {
    wall: Instant,
    before: Option<u64>,
}

impl ThreadClock {
    fn start() -> Self {
        Self { wall: Instant::now(), before: Self::nanos() }
    }

    fn used(&self) -> Duration {
        match (self.before, Self::nanos()) {
            (Some(before), Some(now)) if now > before => Duration::from_nanos(now - before),
            _ => self.wall.elapsed(),
        }
    }

    fn nanos() -> Option<u64> {
        fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_time() {
        let before = Owner::Process(std::process::id()).used().expect("a figure");
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            std::hint::black_box(orderer_core::crypto::sha256(&[b"busy"]));
        }
        let after = Owner::OwnWithout("nobody").used().expect("a figure");
        assert!(after > before, "{before:?}, then {after:?}");
        assert!(Owner::Process(u32::MAX).used().is_none());
    }
}
