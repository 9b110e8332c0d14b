//! Room on the disk of the ledgers. A full one stops every channel, so it is said before.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orderer_actors::status::Level;
use tokio_util::sync::CancellationToken;

/// What to do about a disk with little room.
pub(crate) const ACTION: &str =
    "make room there, or remove old blocks (orderer ledger prune): a full disk stops every channel";
const LOOK_EVERY: Duration = Duration::from_secs(30);

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A file system's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// In bytes, for who is not its administrator.
    pub(crate) free: u64,
    /// Free or not.
    pub(crate) whole: u64,
}

/// Of the file system that `path` is on. Blocks.
pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Room { free: bytes(found.f_bavail), whole: bytes(found.f_blocks) })
}

impl Room {
    /// Large disks are not full with a tenth of them left, small ones are soon.
    pub(crate) fn level(self) -> Level {
        if self.free < GIB.min(self.whole / 50) {
            Level::Bad
        } else if self.free < (10 * GIB).min(self.whole / 10) {
            Level::Busy
        } else {
            Level::Good
        }
    }

    pub(crate) fn free_mib(self) -> u64 {
        self.free / MIB
    }
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    Enough,
    Little,
}

/// What is worth a line in the log: that it became worse, and that it is good again.
fn news(before: Level, now: Level) -> Option<News> {
    if now > before { Some(News::Little) } else { (now == Level::Good && before > now).then_some(News::Enough) }
}

/// Looks every half minute how much room there is where `folder` is, and logs when that becomes too little, or enough again,
/// until `stopping`.
pub(crate) async fn watch(folder: PathBuf, stopping: CancellationToken) {
    let mut before = Level::Good;
    loop {
        let of_thread = folder.clone();
        // what cannot be looked at is said by who writes there
        if let Ok(Ok(room)) = tokio::task::spawn_blocking(move || room(&of_thread)).await {
            let (level, path, free_mib) = (room.level(), folder.display(), room.free_mib());
            match news(before, level) {
                Some(News::Enough) => {
                    tracing::info!(target: "orderer.ledger", %path, free_mib, "the disk of the ledgers has room again");
                }
                Some(News::Little) => {
                    tracing::warn!(target: "orderer.ledger", %path, free_mib, action = ACTION,
                        "the disk of the ledgers is nearly full");
                }
                None => {}
            }
            before = level;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopping.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_nearly_full_by_its_size() {
        let level = |free, whole| Room { free, whole }.level();
        assert_eq!(level(3 * MIB, 40 * MIB), Level::Busy);
        assert_eq!(level(MIB / 2, 40 * MIB), Level::Bad);
        assert_eq!(level(5 * MIB, 40 * MIB), Level::Good);
        assert_eq!(level(11 * GIB, 10_000 * GIB), Level::Good);
        assert_eq!(level(9 * GIB, 10_000 * GIB), Level::Busy);
        assert_eq!(level(GIB - 1, 10_000 * GIB), Level::Bad);
    }

    #[test]
    fn what_becomes_worse_or_good_again_is_news_and_nothing_else() {
        use Level::{Bad, Busy, Good};
        for worse in [(Good, Busy), (Good, Bad), (Busy, Bad)] {
            assert_eq!(news(worse.0, worse.1), Some(News::Little));
        }
        assert_eq!((news(Bad, Good), news(Busy, Good)), (Some(News::Enough), Some(News::Enough)));
        assert_eq!(
            [(Good, Good), (Busy, Busy), (Bad, Bad), (Bad, Busy)].map(|(a, b)| news(a, b)),
            [None, None, None, None]
        );
    }

    #[test]
    fn room_is_that_of_the_file_system() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = room(folder.path()).expect("known");
        assert!(room.free > 0 && room.free <= room.whole);
    }
}
