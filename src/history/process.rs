//! CPU time and memory of this process.

use procfs::ProcResult;
use procfs::process::Process;

/// CPU time and memory of this process; zero where the system does not report them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessUsage {
    /// CPU time since the start, in milliseconds.
    pub(super) cpu_ms: u64,
    /// Resident memory in bytes.
    pub(super) rss_bytes: u64,
}

impl ProcessUsage {
    /// Reads both. Performs blocking I/O.
    pub(super) fn read() -> Self {
        Self::try_read().unwrap_or_default()
    }

    fn try_read() -> ProcResult<Self> {
        let stat = Process::myself()?.stat()?;
        let ticks = stat.utime.saturating_add(stat.stime);
        Ok(Self {
            cpu_ms: ticks.saturating_mul(1000) / procfs::ticks_per_second().max(1),
            rss_bytes: stat.rss.saturating_mul(procfs::page_size()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        assert!(ProcessUsage::read().rss_bytes > 1 << 20);
    }
}
