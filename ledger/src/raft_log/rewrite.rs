//! A new file with all that a log holds, which takes the old one's place once it is whole and durable.

use std::io;

use fabric_proto::raftpb::{Entry, HardState, Snapshot};
use orderer_core::types::ChannelId;
use prost::Message as _;

use super::directory::LogDirectory;
use super::error::Unfit;
use super::head::Head;
use super::record::{Position, put_entry, put_hard_state, put_snapshot, put_trimmed};
use super::view::View;
use crate::sealed::{self, LogFile, PAGE_BYTES, SealKey, SealedFile};

/// Minimum size of a row before it is written, in bytes; one may be a little larger.
const ROW_BYTES: usize = 1 << 20;

/// The reason why a new file was not created.
#[derive(Debug)]
pub(super) enum RewriteError {
    Io(io::Error),
    Unfit(Unfit),
}

impl From<io::Error> for RewriteError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl From<Unfit> for RewriteError {
    fn from(cause: Unfit) -> Self {
        Self::Unfit(cause)
    }
}

/// A file that is being filled.
pub(super) struct NewFile {
    pub(super) file: SealedFile,
    pub(super) view: View,
    /// Position of the next row.
    pub(super) end: u64,
    /// The next row's sequence.
    pub(super) next: u64,
    row: Vec<u8>,
}

impl NewFile {
    /// Creates a file of this name with nothing but its head, sealed with a new key.
    pub(super) fn make(folder: &dyn LogDirectory, name: &str, channel: &ChannelId, node: u64) -> io::Result<Self> {
        let key = SealKey(rand::random());
        let mut file = SealedFile::new(LogFile::Open(folder.make(name)?), key)?;
        let head = Head { channel: channel.as_str().to_owned(), node, key };
        file.put(0, &mut head.encode())?;
        Ok(Self { file, view: View::default(), end: PAGE_BYTES, next: 1, row: Vec::new() })
    }

    /// Writes the records that come before the entries.
    pub(super) fn begin(&mut self, snapshot: Option<&Snapshot>, trimmed: Position) -> Result<(), RewriteError> {
        if let Some(snapshot) = snapshot {
            put_snapshot(&mut self.row, snapshot)?;
            self.view.apply_snapshot(snapshot, self.end, snapshot.encoded_len());
        }
        put_trimmed(&mut self.row, trimmed);
        self.view.apply_trimmed(trimmed);
        self.flush_if_full()
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), RewriteError> {
        put_entry(&mut self.row, entry)?;
        self.view.apply_entry(entry, self.end, entry.encoded_len())?;
        self.flush_if_full()
    }

    /// The last thing in it; then it is durable, but for its name.
    pub(super) fn finish(&mut self, state: &HardState) -> Result<(), RewriteError> {
        // what a snapshot stands for is committed, whether the state knows it yet or not
        let state = HardState { commit: state.commit.max(self.view.hard_state.commit), ..*state };
        put_hard_state(&mut self.row, &state)?;
        self.view.apply_state(state);
        self.view.check_whole()?;
        self.flush()?;
        Ok(self.file.sync()?)
    }

    fn flush_if_full(&mut self) -> Result<(), RewriteError> {
        if self.row.len() >= ROW_BYTES { Ok(self.flush()?) } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut row = sealed::encode(&self.file.key, self.next, self.row.len(), |row| row.extend_from_slice(&self.row));
        let end = self.end + row.len() as u64;
        self.file.put(self.end, &mut row)?;
        self.end = end;
        self.next += 1;
        self.row.clear();
        Ok(())
    }
}
