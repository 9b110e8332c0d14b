//! The errors of etcd's files.

use std::io;
use std::path::PathBuf;

/// The reason why etcd's files were not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// The operating system reported an error.
    #[error("{action} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        action: &'static str,
        /// The operating system's error.
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
        /// The index of the snapshot.
        index: u64,
    },
    /// The bytes are not what etcd writes. The node must not vote with this log.
    #[error("{}: at byte {offset}: {problem}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Start of the record, in bytes from the beginning of the file.
        offset: u64,
        /// The error that was found.
        problem: String,
    },
    /// The contents are not a log.
    #[error("{}: {problem}", path.display())]
    Contents {
        /// The folder.
        path: PathBuf,
        /// The error that was found.
        problem: String,
    },
    /// Something is there that would be written over.
    #[error("{}: exists already; move it away, or choose another place", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
}
