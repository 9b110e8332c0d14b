//! Whether a disk that was full has space again.

use std::path::Path;

/// Free bytes with which a channel is restarted, on a disk that is larger than twenty times this.
const SUFFICIENT_BYTES: u64 = 64 << 20;

/// Returns whether the file system that `path` is on has enough space for a channel to go on. A file system that does not
/// tell counts as one that has. Performs blocking I/O.
pub(crate) fn is_sufficient(path: &Path) -> bool {
    rustix::fs::statvfs(path).map_or(true, |found| {
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        suffices(bytes(found.f_bavail), bytes(found.f_blocks))
    })
}

fn suffices(free: u64, whole: u64) -> bool {
    free >= SUFFICIENT_BYTES.min(whole / 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_disk_needs_64_mib_and_a_small_one_a_twentieth() {
        assert!(suffices(64 << 20, 1 << 40));
        assert!(!suffices((64 << 20) - 1, 1 << 40));
        assert!(suffices(5 << 20, 100 << 20));
        assert!(!suffices((5 << 20) - 1, 100 << 20));
    }

    #[test]
    fn a_path_that_cannot_be_looked_at_is_no_reason_to_wait() {
        assert!(is_sufficient(Path::new("/nowhere/at/all")));
    }
}
