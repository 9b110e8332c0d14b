//! Remembers starts that were not followed by a clean end, so that a node that crashes at once again and again stops
//! doing so and says why.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use orderer_actors::node_context::unix_now;
use orderer_core::supervision::{UNCLEAN_START_LIMIT, UNCLEAN_START_WINDOW, may_start};

/// Name of the file, in the folder of ledgers.
const FILE: &str = "unclean-starts";

/// Why the node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartRefused {
    /// It crashed too often.
    #[error(
        "not starting: {starts} starts within {} minutes ended without a clean shutdown. Find the cause in the log; \
         then wait, or remove {}, and start again", UNCLEAN_START_WINDOW.as_secs() / 60, file.display()
    )]
    CrashLoop {
        /// How often.
        starts: usize,
        /// What remembers it.
        file: PathBuf,
    },
    /// The record cannot be kept.
    #[error("cannot keep the record of starts in {}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// The record of a start that has not ended yet.
#[derive(Debug)]
pub struct StartRecord(PathBuf);

impl StartRecord {
    /// Notes a start, unless too many before it ended badly. Blocks.
    pub fn begin(folder: &Path) -> Result<Self, StartRefused> {
        let (file, mut starts) = Self::read(folder)?;
        starts.push(unix_now().0);
        let recent = &starts[starts.len().saturating_sub(UNCLEAN_START_LIMIT)..];
        let text = recent.iter().map(i64::to_string).collect::<Vec<_>>().join("\n");
        let written = fs::File::create(&file).and_then(|mut f| f.write_all(text.as_bytes()));
        written.map_err(|cause| StartRefused::Io { file: file.clone(), cause })?;
        Ok(Self(file))
    }

    /// Whether a start would be refused now. Notes nothing. Blocks.
    pub fn look(folder: &Path) -> Result<(), StartRefused> {
        Self::read(folder).map(drop)
    }

    fn read(folder: &Path) -> Result<(PathBuf, Vec<i64>), StartRefused> {
        let file = folder.join(FILE);
        let text = match fs::read_to_string(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|cause| StartRefused::Io { file: file.clone(), cause })?,
        };
        let starts: Vec<i64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        match may_start(&starts, unix_now().0) {
            Ok(()) => Ok((file, starts)),
            Err(starts) => Err(StartRefused::CrashLoop { starts, file }),
        }
    }

    /// The node ended cleanly: nothing speaks against the next start. Blocks.
    pub fn end_cleanly(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(target: "orderer.node", file = %self.0.display(), %error, "cannot remove the record of starts");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_start_after_five_crashes_is_refused_and_a_clean_end_forgives() {
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..UNCLEAN_START_LIMIT {
            StartRecord::begin(folder.path()).expect("starts");
        }
        let refused = StartRecord::begin(folder.path()).expect_err("must be refused").to_string();
        assert!(refused.contains("5 starts within 5 minutes") && refused.contains(FILE), "{refused}");
        fs::remove_file(folder.path().join(FILE)).expect("the operator acts");
        StartRecord::begin(folder.path()).expect("starts").end_cleanly();
        assert!(!folder.path().join(FILE).exists());
    }
}
