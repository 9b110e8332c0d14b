//! Records starts that were not followed by a clean end: a node that crashes again and again at once refuses to start
//! and says why, and one that is killed again and again waits before it starts.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orderer_actors::node_context::unix_now;
use orderer_core::supervision::{UNCLEAN_START_WINDOW, UncleanStart, may_start};

/// Name of the file, in the directory of ledgers: a line for each unclean start, with its time, and [`CRASHED`]
/// behind it if the node failed by itself.
const FILE: &str = "unclean-starts";
const CRASHED: &str = "crashed";
/// Maximum number of recorded starts; older ones do not matter.
const REMEMBERED: usize = 32;

/// Reason for which the node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartRejected {
    /// The node crashed too often.
    #[error(
        "not starting: the node has crashed {crashes} times within {} minutes. Find the cause in the log; \
         then wait, or remove {}, and start again", UNCLEAN_START_WINDOW.as_secs() / 60, file.display()
    )]
    CrashLoop {
        /// Number of crashes.
        crashes: usize,
        /// The file of the record.
        file: PathBuf,
    },
    /// The record cannot be read or written.
    #[error("failed to write the record of starts in {}", file.display())]
    Io {
        /// The file of the record.
        file: PathBuf,
        /// The error of the file system.
        #[source]
        cause: io::Error,
    },
}

/// The record of a start that has not ended yet.
#[derive(Debug)]
pub struct CrashLoopGuard {
    file: PathBuf,
    /// All recorded starts; the last is this one.
    starts: Vec<UncleanStart>,
}

impl CrashLoopGuard {
    /// Records a start, unless too many before it were crashes. Performs blocking I/O.
    ///
    /// # Errors
    /// Fails after too many crashes, or if the record cannot be read or written.
    pub fn record_start(folder: &Path) -> Result<Self, StartRejected> {
        let (file, mut starts, _) = Self::read(folder)?;
        starts.push(UncleanStart { at: unix_now().0, crashed: false });
        starts.drain(..starts.len().saturating_sub(REMEMBERED));
        let record = Self { file, starts };
        record.write().map_err(|cause| StartRejected::Io { file: record.file.clone(), cause })?;
        Ok(record)
    }

    /// Returns the time that a start has to wait now. Records nothing. Performs blocking I/O.
    ///
    /// # Errors
    /// Fails after too many crashes, or if the record cannot be read.
    pub fn check(folder: &Path) -> Result<Duration, StartRejected> {
        Self::read(folder).map(|(_, _, pause)| pause)
    }

    fn read(folder: &Path) -> Result<(PathBuf, Vec<UncleanStart>, Duration), StartRejected> {
        let file = folder.join(FILE);
        let text = match fs::read_to_string(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|cause| StartRejected::Io { file: file.clone(), cause })?,
        };
        let starts: Vec<UncleanStart> = text.lines().filter_map(parse).collect();
        match may_start(&starts, unix_now().0) {
            Ok(pause) => Ok((file, starts, pause)),
            Err(crashes) => Err(StartRejected::CrashLoop { crashes, file }),
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut text = String::new();
        for UncleanStart { at, crashed } in &self.starts {
            let _ = writeln!(text, "{at}{}", if *crashed { format!(" {CRASHED}") } else { String::new() });
        }
        fs::write(&self.file, text)
    }

    /// Removes the record, because the node ended cleanly. Performs blocking I/O.
    pub fn record_clean_exit(self) {
        if let Err(error) = fs::remove_file(&self.file) {
            tracing::warn!(target: "orderer.node", file = %self.file.display(), %error, "failed to remove the record of starts");
        }
    }

    /// Records that the node failed by itself. Performs blocking I/O.
    pub fn record_crash(mut self) {
        if let Some(last) = self.starts.last_mut() {
            last.crashed = true;
        }
        if let Err(error) = self.write() {
            tracing::warn!(target: "orderer.node", file = %self.file.display(), %error, "failed to write the record of starts");
        }
    }
}

fn parse(line: &str) -> Option<UncleanStart> {
    let mut words = line.split_whitespace();
    let at = words.next()?.parse().ok()?;
    Some(UncleanStart { at, crashed: words.next() == Some(CRASHED) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderer_core::supervision::UNCLEAN_START_LIMIT;

    #[test]
    fn the_sixth_start_after_five_crashes_is_refused_and_a_clean_end_forgives() {
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..UNCLEAN_START_LIMIT {
            CrashLoopGuard::record_start(folder.path()).expect("starts").record_crash();
        }
        let refused = CrashLoopGuard::record_start(folder.path()).expect_err("must be refused").to_string();
        assert!(refused.contains("crashed 5 times within 5 minutes") && refused.contains(FILE), "{refused}");
        fs::remove_file(folder.path().join(FILE)).expect("the operator acts");
        CrashLoopGuard::record_start(folder.path()).expect("starts").record_clean_exit();
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn who_was_killed_five_times_starts_a_little_later() {
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..UNCLEAN_START_LIMIT {
            assert_eq!(CrashLoopGuard::check(folder.path()).expect("may start"), Duration::ZERO);
            // a killed node writes nothing
            drop(CrashLoopGuard::record_start(folder.path()).expect("starts"));
        }
        assert_eq!(CrashLoopGuard::check(folder.path()).expect("may start"), Duration::from_secs(1));
        for _ in 0..2 * REMEMBERED {
            drop(CrashLoopGuard::record_start(folder.path()).expect("starts"));
        }
        assert_eq!(CrashLoopGuard::check(folder.path()).expect("may start"), Duration::from_secs(60));
    }
}
