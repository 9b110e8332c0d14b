//! Memory limit of the process, and the shares of its parts.

use std::path::Path;

use super::Limits;

/// Default maximum in bytes.
const DEFAULT_MAX_BYTES: u64 = 1 << 30;
/// Minimum memory limit in bytes; the node cannot work with less.
pub(super) const LEAST_BYTES: u64 = 64 << 20;
/// Bytes reckoned for a connection, and for a stream, when their number is bounded.
const CONNECTION_BYTES: usize = 32 << 10;
const STREAM_BYTES: usize = 10 << 10;
/// Maximum and minimum of default shares in bytes, however much memory there is.
const LARGE_MAX_BYTES: usize = 256 << 20;
const CHANNEL_MAX_BYTES: usize = 64 << 20;
const STREAM_MAX_BYTES: usize = 2 << 20;
const STREAM_LEAST_BYTES: usize = 128 << 10;
/// Minimum size in bytes of the block cache, so that subscribers find the latest blocks in it.
const CACHE_LEAST_BYTES: usize = 8 << 20;

/// The configured values under `Limits`; 0 if unset.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConfiguredLimits {
    pub(super) memory: u64,
    pub(super) channel_ingress: u32,
    pub(super) large_message: u32,
    pub(super) block_cache: usize,
    pub(super) streams_per_connection: u32,
}

impl ConfiguredLimits {
    /// Returns all limits: half of the memory is for clients, an eighth for outgoing blocks, a sixteenth for the logs
    /// of channels that Raft orders, a sixty-fourth for the block cache, and the rest for the rest of the process and
    /// for what allocators leave unused. (With three sixteenths for outgoing blocks, and as much for the cache, an hour
    /// among hostile clients took 387 of 384 MB.) A subscriber that is so far behind that its next block was evicted
    /// from the cache reads it from the ledger.
    pub(super) fn shares(self, machine_bytes: u64) -> Limits {
        let memory = if self.memory > 0 { self.memory } else { (machine_bytes / 4).min(DEFAULT_MAX_BYTES) };
        let memory = usize::try_from(memory.max(LEAST_BYTES)).unwrap_or(usize::MAX);
        let clients = memory / 2;
        let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let or = |written: u32, share: usize| if written > 0 { written } else { small(share) };
        Limits {
            memory_bytes: memory,
            client_bytes: clients,
            outgoing_bytes: memory / 8,
            raft_log_bytes: memory / 16,
            connections: clients / 8 * 5 / CONNECTION_BYTES,
            streams: clients / 4 / STREAM_BYTES,
            stream_bytes: (clients / 256).clamp(STREAM_LEAST_BYTES, STREAM_MAX_BYTES),
            streams_per_connection: self.streams_per_connection,
            channel_ingress_bytes: or(self.channel_ingress, (clients / 4).min(CHANNEL_MAX_BYTES)),
            large_message_bytes: or(self.large_message, (clients / 2).min(LARGE_MAX_BYTES)),
            block_cache_bytes: if self.block_cache > 0 {
                self.block_cache
            } else {
                (memory / 64).max(CACHE_LEAST_BYTES)
            },
        }
    }
}

/// Returns the machine's memory in bytes, or the limit of the process's control groups if that is less.
pub(super) fn machine_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").as_deref().and_then(total).unwrap_or(4 * DEFAULT_MAX_BYTES);
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    limits.fold(total, u64::min)
}

/// Returns `MemTotal` of `/proc/meminfo` in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the files with the limits of the groups in `/proc/self/cgroup`, and of their parents. A limit is a number;
/// any other text (`max`) limits nothing.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for group in Path::new(path).ancestors() {
            let group = group.display().to_string();
            files.push(format!("{root}{}/{file}", group.trim_end_matches('/')));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_quarter_of_the_machine_and_at_most_a_gigabyte() {
        let of = |machine: u64| ConfiguredLimits::default().shares(machine).memory_bytes;
        assert_eq!(of(2 << 30), 512 << 20);
        assert_eq!(of(64 << 30), 1 << 30);
        assert_eq!(of(10 << 20), 64 << 20);
    }

    #[test]
    fn shares_fit_into_the_whole_and_what_is_written_counts() {
        for memory in [64u64 << 20, 256 << 20, 1 << 30, 8 << 30] {
            let limits = ConfiguredLimits { memory, ..Default::default() }.shares(1 << 40);
            assert!(
                limits.client_bytes + limits.outgoing_bytes + limits.raft_log_bytes + limits.block_cache_bytes
                    < limits.memory_bytes
            );
            assert!(limits.connections * CONNECTION_BYTES + limits.streams * STREAM_BYTES < limits.client_bytes);
            assert!(limits.large_message_bytes as usize <= limits.client_bytes / 2);
        }
        let limits =
            ConfiguredLimits { memory: 1 << 30, large_message: 5, block_cache: 6, ..Default::default() }.shares(0);
        assert_eq!((limits.large_message_bytes, limits.block_cache_bytes), (5, 6));
        let limits = ConfiguredLimits { memory: 1 << 30, ..Default::default() }.shares(0);
        assert!(limits.connections >= 10_000 && limits.streams >= 10_000, "{limits:?}");
    }

    #[test]
    fn limits_are_looked_for_up_to_the_root() {
        assert_eq!(total("MemTotal:       24 kB\nMemFree: 1 kB\n"), Some(24 << 10));
        assert_eq!(
            limit_files("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(limit_files("9:memory:/\n3:cpu:/x\n"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    }
}
