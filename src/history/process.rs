//! CPU time and memory of this process.

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;

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
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes and times are positive")]
    pub(super) fn read() -> Self {
        let mut usage = Self::default();
        for family in ProcessCollector::for_self().collect() {
            let Some(metric) = family.get_metric().first() else { continue };
            match family.name() {
                "process_cpu_seconds_total" => usage.cpu_ms = (metric.get_counter().get_value() * 1000.0) as u64,
                "process_resident_memory_bytes" => usage.rss_bytes = metric.get_gauge().get_value() as u64,
                _ => {}
            }
        }
        usage
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
