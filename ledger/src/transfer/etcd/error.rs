//! What can be wrong with etcd's files.

use std::io;
use std::path::PathBuf;

/// Why etcd's files were not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// The operating system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        cause: io::Error,
    },
    /// There is no write-ahead log.
    #[error("{}: holds no write-ahead log", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A segment is missing.
    #[error("{}: does not follow the segment before it; copy the folder again", path.display())]
    Gap {
        /// The segment that is there.
        path: PathBuf,
    },
    /// A segment begins behind the newest snapshot.
    #[error("{}: the log begins behind the newest snapshot, at index {index}", path.display())]
    Unreached {
        /// The folder.
        path: PathBuf,
        /// Where the snapshot is.
        index: u64,
    },
    /// The bytes are not what etcd writes. The node must not vote with this log.
    #[error("{}: at byte {offset}: {problem}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// What was read is no log.
    #[error("{}: {problem}", path.display())]
    Contents {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Something is there that would be written over.
    #[error("{}: exists already; move it away, or choose another place", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
}
