//! Free space on the disk of the ledgers. A full disk stops every channel, so a warning comes before.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orderer_actors::status::HealthLevel;
use tokio_util::sync::CancellationToken;

/// Action for the operator of a disk with little free space.
pub(crate) const ACTION: &str =
    "free space there, or remove old blocks (orderer ledger prune); a full disk stops every channel";
const POLL_INTERVAL: Duration = Duration::from_secs(30);

const MIB: u64 = 1 << 20;

/// The directory of the ledgers, and the threshold of the warning.
#[derive(Clone, Debug)]
pub struct LedgerDisk {
    /// A directory on the disk.
    pub folder: PathBuf,
    /// Free bytes below which the disk is nearly full, if it is larger than ten times this.
    pub low_bytes: u64,
}

impl LedgerDisk {
    /// Returns the free space and its level. Performs blocking I/O.
    pub(crate) fn read_space(&self) -> io::Result<(DiskSpace, HealthLevel)> {
        disk_space(&self.folder).map(|room| (room, room.level(self.low_bytes)))
    }
}

/// The space of a file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskSpace {
    /// Free bytes for users other than its administrator.
    pub(crate) free: u64,
    /// Size in bytes.
    pub(crate) whole: u64,
}

/// Returns the space of the file system that `path` is on. Performs blocking I/O.
pub(crate) fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(DiskSpace { free: bytes(found.f_bavail), whole: bytes(found.f_blocks) })
}

impl DiskSpace {
    /// Rates the free space. On a small disk the thresholds are a tenth and a fiftieth of its size, on a large one
    /// `low_bytes` and a tenth of that.
    fn level(self, low_bytes: u64) -> HealthLevel {
        if self.free < (low_bytes / 10).min(self.whole / 50) {
            HealthLevel::Bad
        } else if self.free < low_bytes.min(self.whole / 10) {
            HealthLevel::Busy
        } else {
            HealthLevel::Good
        }
    }

    pub(crate) fn free_mib(self) -> u64 {
        self.free / MIB
    }
}

#[derive(Debug, PartialEq, Eq)]
enum SpaceChange {
    Enough,
    Little,
}

/// Returns the event to log: less space than before, or enough again.
fn news(before: HealthLevel, now: HealthLevel) -> Option<SpaceChange> {
    if now > before {
        Some(SpaceChange::Little)
    } else {
        (now == HealthLevel::Good && before > now).then_some(SpaceChange::Enough)
    }
}

/// Checks the free space every half minute, and logs when it becomes too little, or enough again, until `stopping`.
pub(crate) async fn watch(disk: LedgerDisk, stopping: CancellationToken) {
    let mut before = HealthLevel::Good;
    loop {
        let of_thread = disk.clone();
        // errors are reported where ledgers are written
        if let Ok(Ok((room, level))) = tokio::task::spawn_blocking(move || of_thread.read_space()).await {
            let (path, free_mib) = (disk.folder.display(), room.free_mib());
            match news(before, level) {
                Some(SpaceChange::Enough) => {
                    tracing::info!(target: "orderer.ledger", %path, free_mib, "the disk of the ledgers has enough free space again");
                }
                Some(SpaceChange::Little) => {
                    tracing::warn!(target: "orderer.ledger", %path, free_mib, action = ACTION,
                        "the disk of the ledgers is nearly full");
                }
                None => {}
            }
            before = level;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stopping.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_disk_is_nearly_full_by_its_size() {
        let level = |free, whole| DiskSpace { free, whole }.level(10 * GIB);
        assert_eq!(level(3 * MIB, 40 * MIB), HealthLevel::Busy);
        assert_eq!(level(MIB / 2, 40 * MIB), HealthLevel::Bad);
        assert_eq!(level(5 * MIB, 40 * MIB), HealthLevel::Good);
        assert_eq!(level(11 * GIB, 10_000 * GIB), HealthLevel::Good);
        assert_eq!(level(9 * GIB, 10_000 * GIB), HealthLevel::Busy);
        assert_eq!(level(GIB - 1, 10_000 * GIB), HealthLevel::Bad);
        assert_eq!(DiskSpace { free: 0, whole: 40 * MIB }.level(0), HealthLevel::Good);
    }

    #[test]
    fn what_becomes_worse_or_good_again_is_news_and_nothing_else() {
        use HealthLevel::{Bad, Busy, Good};
        for worse in [(Good, Busy), (Good, Bad), (Busy, Bad)] {
            assert_eq!(news(worse.0, worse.1), Some(SpaceChange::Little));
        }
        assert_eq!((news(Bad, Good), news(Busy, Good)), (Some(SpaceChange::Enough), Some(SpaceChange::Enough)));
        assert_eq!(
            [(Good, Good), (Busy, Busy), (Bad, Bad), (Bad, Busy)].map(|(a, b)| news(a, b)),
            [None, None, None, None]
        );
    }

    #[test]
    fn room_is_that_of_the_file_system() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = disk_space(folder.path()).expect("known");
        assert!(room.free > 0 && room.free <= room.whole);
    }
}
