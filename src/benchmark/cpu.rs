//! CPU time, as Linux counts it.

use std::fs;
use std::time::{Duration, Instant};

use super::load::Load;

/// The kernel counts in hundredths of a second for programs, on every architecture that there is Rust for.
const TICK: Duration = Duration::from_millis(10);
/// Verifying goes on for so long.
const VERIFYING: Duration = Duration::from_millis(250);

/// Whose CPU time counts as the node's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// This process's, without threads of this name.
    OwnWithout(&'static str),
    /// Another process's.
    Process(u32),
    /// Nobody knows which process it is.
    Unknown,
}

impl Owner {
    /// What it has used so far.
    pub(super) fn used(self) -> Option<Duration> {
        match self {
            Self::Unknown => None,
            Self::Process(id) => stat(&format!("/proc/{id}/stat")),
            Self::OwnWithout(name) => {
                let mut used = stat("/proc/self/stat")?;
                for thread in fs::read_dir("/proc/self/task").ok()? {
                    let folder = thread.ok()?.path();
                    // a thread may end between two looks
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

/// User and system time: fields 14 and 15, counted behind the name, which may hold anything.
fn stat(path: &str) -> Option<Duration> {
    let text = fs::read_to_string(path).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(TICK * user.checked_add(system)?)
}

/// What it takes to verify one signature of the load, with nothing around it, on one core, now. Blocks for a quarter of a
/// second.
pub(super) fn verification(load: &Load) -> anyhow::Result<Duration> {
    let (began, mut verified) = (Instant::now(), 0_u32);
    while began.elapsed() < VERIFYING {
        anyhow::ensure!(load.verify(verified as usize % load.len()), "a signature of the load does not verify");
        verified += 1;
    }
    Ok(began.elapsed() / verified)
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
