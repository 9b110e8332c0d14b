//! The errors of a raft log.

use std::io;

use orderer_core::types::ChannelId;

/// The reason why a raft log was not opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RaftLogError {
    /// There is no such file.
    #[error("raft log {name}: no such file; was it moved, or its disk not mounted?")]
    Missing {
        /// The file.
        name: String,
    },
    /// A log was to be made where there is one.
    #[error("raft log {name}: the file exists already")]
    Exists {
        /// The file.
        name: String,
    },
    /// A file of another kind.
    #[error(
        "raft log {name}: not a raft log (the orderer must not start without its log, because it could vote twice)"
    )]
    Foreign {
        /// The file.
        name: String,
    },
    /// The log of another channel or of another consenter.
    #[error(
        "raft log {name}: belongs to channel {found_channel}, consenter {found_node}, not to channel {channel}, consenter \
         {node}; was the file renamed or copied?"
    )]
    Other {
        /// The file.
        name: String,
        /// The channel that was to be opened.
        channel: ChannelId,
        /// The consenter that was to be opened.
        node: u64,
        /// The channel that the file names.
        found_channel: String,
        /// The consenter that the file names.
        found_node: u64,
    },
    /// Written by a newer version of this program.
    #[error(
        "raft log {name}: has format {found}, this program reads up to {known}; use the newer program that wrote it"
    )]
    Newer {
        /// The file.
        name: String,
        /// Its format.
        found: u32,
        /// The newest format this program reads.
        known: u32,
    },
    /// Something that was durable is not there any more. A consenter that goes on without it could vote twice.
    #[error(
        "raft log {name}: damaged at byte {at}: {problem} (the orderer must not continue as this consenter, because it \
         could vote twice)"
    )]
    Damaged {
        /// The file.
        name: String,
        /// The position, in bytes from the beginning of the file.
        at: u64,
        /// The error that was found.
        problem: String,
    },
    /// The operating system reported an error. After a write or a sync that failed the log accepts no more until it is opened
    /// again.
    #[error("raft log {name}: {action}")]
    Io {
        /// The file.
        name: String,
        /// The operation that failed.
        action: &'static str,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// A write failed before. Nothing was written.
    #[error("raft log {name}: accepts no more writes until it is reopened, because: {reason}")]
    Refused {
        /// The file.
        name: String,
        /// The failure.
        reason: String,
    },
    /// The new contents contradict those that are there. Nothing was written.
    #[error("raft log {name}")]
    Unfit {
        /// The file.
        name: String,
        /// The contradiction.
        #[source]
        cause: Unfit,
    },
    /// Entries are asked for that are not in the file.
    #[error("raft log {name}: entry {index} is not there; it has {first} to {last}")]
    Absent {
        /// The file.
        name: String,
        /// The index that was asked for.
        index: u64,
        /// The first one that is there.
        first: u64,
        /// The last one that is there.
        last: u64,
    },
}

/// Contents that a raft log never accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Entries have successive indices.
    #[error("entry {index} does not follow entry {last}")]
    Gap {
        /// The entry.
        index: u64,
        /// The last entry that is there.
        last: u64,
    },
    /// An entry that is committed is never replaced.
    #[error("entry {index} would replace a committed one: entries up to {commit} are")]
    Committed {
        /// The entry.
        index: u64,
        /// The last one that is committed.
        commit: u64,
    },
    /// Terms of entries do not fall.
    #[error("entry {index} has term {term}, the one before it {before}")]
    EntryTerm {
        /// The entry.
        index: u64,
        /// Its term.
        term: u64,
        /// The term before it.
        before: u64,
    },
    /// A node's term does not fall.
    #[error("term {term} would replace the later term {current}")]
    Term {
        /// The term.
        term: u64,
        /// The one that is recorded.
        current: u64,
    },
    /// A node votes once a term.
    #[error("a vote for {vote} in term {term} would replace one for {current}")]
    Vote {
        /// The term.
        term: u64,
        /// The new vote.
        vote: u64,
        /// The one that is recorded.
        current: u64,
    },
    /// A commit index never goes back.
    #[error("commit index {commit} would replace the later {current}")]
    Commit {
        /// The index.
        commit: u64,
        /// The one that is recorded.
        current: u64,
    },
    /// Only what is there can be committed.
    #[error("commit index {commit} is behind the last entry, {last}")]
    Uncommittable {
        /// The index.
        commit: u64,
        /// The last entry.
        last: u64,
    },
    /// A snapshot replaces older ones only.
    #[error("the snapshot at {index} would replace the later one at {current}")]
    Snapshot {
        /// Its index.
        index: u64,
        /// The one that is recorded.
        current: u64,
    },
    /// Entries that no snapshot stands for are not trimmed.
    #[error("entries up to {index} cannot be trimmed: the newest snapshot is at {snapshot}")]
    Trim {
        /// The index.
        index: u64,
        /// The snapshot's.
        snapshot: u64,
    },
    /// Something is longer than a record can be.
    #[error("{bytes} bytes do not fit one record")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}
