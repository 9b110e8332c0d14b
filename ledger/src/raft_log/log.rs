//! The log: creates, opens, writes, reads and trims it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::raftpb::{Entry, HardState, Snapshot};
use orderer_core::types::ChannelId;
use prost::Message as _;

use super::directory::LogDirectory;
use super::error::{RaftLogError, Unfit};
use super::head::Head;
use super::record::{Contents, Position, Record, Write, decode, put_entry, put_hard_state, put_snapshot, put_trimmed};
use super::rewrite::{NewFile, RewriteError};
use super::view::View;
use crate::sealed::{self, LogFile, PAGE_BYTES, SealKey, SealedFile};

/// A file is made under the log's name and this, and gets the log's name once it is whole.
const UNFINISHED_SUFFIX: &str = ".new";
/// A file is rewritten when the bytes that are not needed any more exceed this number and the bytes that are needed.
const IDLE_BYTES: u64 = 1 << 20;
/// Entries are copied in pieces of this size.
const COPIES_BYTES: u64 = 1 << 20;

/// Figures of one sync, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Bytes written.
    pub bytes: u64,
    /// Duration of writing and syncing.
    pub took: Duration,
}

/// A row that was being written when the power went. It was never reported as durable, and was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Its start, in bytes from the beginning of the file.
    pub at: u64,
}

/// The sizes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Of these, the bytes of rows.
    pub used_bytes: u64,
    /// Of these, the bytes that a new file would have.
    pub live_bytes: u64,
    /// Entries that are there.
    pub entries: u64,
    /// Index of the first of them, or the next one.
    pub first_index: u64,
    /// Index of the last entry, also if it was trimmed.
    pub last_index: u64,
}

/// The raft log of a channel. Its functions perform blocking I/O.
///
/// Staged contents are checked at once, and durable after the next [`sync`](Self::sync) that is not an error. After a write
/// or a sync that failed, it is unknown what the disk has: the log rejects everything until it is opened again, which
/// writes once more what it finds.
pub struct RaftLog {
    folder: Box<dyn LogDirectory>,
    pub(super) name: String,
    pub(super) channel: ChannelId,
    node: u64,
    pub(super) file: SealedFile,
    pub(super) view: View,
    /// Position of the next row.
    pub(super) end: u64,
    /// The next row's sequence.
    pub(super) next: u64,
    /// Records of the next row.
    staged: Vec<u8>,
    needs_sync: bool,
    /// The hard state in the file.
    written_state: HardState,
    pub(super) torn: Option<TornTail>,
    failed: Option<String>,
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLog")
            .field("name", &self.name)
            .field("node", &self.node)
            .field("file", &self.file)
            .field("end", &self.end)
            .field("staged_bytes", &self.staged.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl RaftLog {
    /// Creates the log of consenter `node` of a channel, with these contents: none for one that joins, the first
    /// configuration changes for a new channel, those of another log for one that is imported. A crash leaves the whole log
    /// or none.
    pub fn create(
        folder: impl LogDirectory + 'static,
        name: &str,
        channel: &ChannelId,
        node: u64,
        contents: &Contents,
    ) -> Result<Self, RaftLogError> {
        let io = |action| move |cause| RaftLogError::Io { name: name.to_owned(), action, cause };
        if folder.open(name).map_err(io("look for the file"))?.is_some() {
            return Err(RaftLogError::Exists { name: name.to_owned() });
        }
        let unfinished = format!("{name}{UNFINISHED_SUFFIX}");
        let made = NewFile::make(&folder, &unfinished, channel, node).map_err(RewriteError::Io).and_then(|mut new| {
            new.begin(contents.snapshot.as_ref(), contents.trimmed)?;
            for entry in &contents.entries {
                new.entry(entry)?;
            }
            new.finish(&contents.hard_state)?;
            Ok(new)
        });
        let new = made.map_err(|problem| not_made(name, problem))?;
        folder.rename(&unfinished, name).map_err(io("give the new file its name"))?;
        let mut log = Self::over(Box::new(folder), name, channel, node, new.file);
        (log.written_state, log.view) = (new.view.hard_state, new.view);
        (log.end, log.next) = (new.end, new.next);
        Ok(log)
    }

    /// Opens the log of consenter `node` of a channel and reads it. A row that was torn is cut off, with a warning.
    ///
    /// # Errors
    /// `Damaged`: something is lost that was durable. The channel cannot go on with this log.
    pub fn open(
        folder: impl LogDirectory + 'static,
        name: &str,
        channel: &ChannelId,
        node: u64,
    ) -> Result<(Self, Contents), RaftLogError> {
        let io = |action| move |cause| RaftLogError::Io { name: name.to_owned(), action, cause };
        folder.remove(&format!("{name}{UNFINISHED_SUFFIX}")).map_err(io("remove an unfinished file"))?;
        let file = folder.open(name).map_err(io("open the file"))?;
        let file = file.ok_or_else(|| RaftLogError::Missing { name: name.to_owned() })?;
        let mut file =
            SealedFile::new(LogFile::Open(file), SealKey([0; sealed::SEAL_BYTES])).map_err(io("open the file"))?;
        let head = Head::read(&file, name)?;
        if head.channel != channel.as_str() || head.node != node {
            return Err(RaftLogError::Other {
                name: name.to_owned(),
                channel: channel.clone(),
                node,
                found_channel: head.channel,
                found_node: head.node,
            });
        }
        file.key = head.key;
        let mut log = Self::over(Box::new(folder), name, channel, node, file);
        log.scan()?;
        log.cut_tail()?;
        log.file.make_durable(log.end).map_err(|cause| log.io("write once more what was read", cause))?;
        log.written_state = log.view.hard_state;
        let contents = log.contents()?;
        Ok((log, contents))
    }

    /// Returns the consenter whose log has this name; `None` if there is none. Changes nothing.
    pub fn consenter(folder: &dyn LogDirectory, name: &str) -> Result<Option<u64>, RaftLogError> {
        let io = |action| move |cause| RaftLogError::Io { name: name.to_owned(), action, cause };
        let Some(file) = folder.open(name).map_err(io("open the file"))? else { return Ok(None) };
        let file =
            SealedFile::new(LogFile::Open(file), SealKey([0; sealed::SEAL_BYTES])).map_err(io("open the file"))?;
        Ok(Some(Head::read(&file, name)?.node))
    }

    fn over(folder: Box<dyn LogDirectory>, name: &str, channel: &ChannelId, node: u64, file: SealedFile) -> Self {
        Self {
            folder,
            name: name.to_owned(),
            channel: channel.clone(),
            node,
            file,
            view: View::default(),
            end: PAGE_BYTES,
            next: 1,
            staged: Vec::new(),
            needs_sync: false,
            written_state: HardState::default(),
            torn: None,
            failed: None,
        }
    }

    /// The row that was cut off when the log was opened.
    pub fn torn_tail(&self) -> Option<TornTail> {
        self.torn
    }

    /// Returns the ID of the consenter whose log it is.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// Puts something into the next row. A change of the commit index alone waits for a row that has another reason.
    ///
    /// # Errors
    /// `Unfit`: it contradicts what is there. Nothing of it is staged.
    pub fn stage(&mut self, write: &Write) -> Result<(), RaftLogError> {
        self.check_trusted()?;
        self.view.check(write).map_err(|cause| self.unfit(cause))?;
        let before = self.staged.len();
        if let Err(cause) = put_all(&mut self.staged, write) {
            self.staged.truncate(before);
            return Err(self.unfit(cause));
        }
        self.needs_sync |= self.view.must_sync(write);
        if let Some(snapshot) = &write.snapshot {
            self.view.apply_snapshot(snapshot, self.end, snapshot.encoded_len());
        }
        for entry in &write.entries {
            self.view.apply_entry(entry, self.end, entry.encoded_len()).map_err(|cause| self.unfit(cause))?;
        }
        if let Some(state) = write.hard_state {
            self.view.apply_state(state);
        }
        Ok(())
    }

    /// Makes durable what is staged, with one write and one sync; does nothing if nothing has to be.
    pub fn sync(&mut self) -> Result<Option<Synced>, RaftLogError> {
        self.check_trusted()?;
        if !self.needs_sync {
            return Ok(None);
        }
        if self.view.hard_state != self.written_state {
            let state = self.view.hard_state;
            put_hard_state(&mut self.staged, &state).map_err(|cause| self.unfit(cause))?;
        }
        let started = Instant::now();
        let staged = &self.staged;
        let mut row = sealed::encode(&self.file.key, self.next, staged.len(), |row| row.extend_from_slice(staged));
        let bytes = row.len() as u64;
        if let Err(cause) = self.file.write(self.end, &mut row) {
            self.failed = Some(cause.to_string());
            return Err(self.io("write and sync", cause));
        }
        self.end += bytes;
        self.next += 1;
        self.staged.clear();
        self.needs_sync = false;
        self.written_state = self.view.hard_state;
        Ok(Some(Synced { bytes, took: started.elapsed() }))
    }

    /// [`stage`](Self::stage) and [`sync`](Self::sync) in one.
    pub fn append(&mut self, write: &Write) -> Result<Option<Synced>, RaftLogError> {
        self.stage(write)?;
        self.sync()
    }

    /// Makes a snapshot durable.
    pub fn save_snapshot(&mut self, snapshot: Snapshot) -> Result<Option<Synced>, RaftLogError> {
        self.append(&Write { snapshot: Some(snapshot), ..Write::default() })
    }

    /// Forgets the entries up to this index. The blocks in them must be durable, and a snapshot must stand for them. The
    /// file is written anew when more than half of it, and more than 1 MiB, is of no use any more; that makes durable
    /// what is staged, too. A crash may bring back entries that were forgotten.
    pub fn trim(&mut self, index: u64) -> Result<(), RaftLogError> {
        self.check_trusted()?;
        self.view.check_trim(index).map_err(|cause| self.unfit(cause))?;
        if index > self.view.trimmed.index {
            let trimmed = Position { index, term: self.view.term(index).unwrap_or_default() };
            put_trimmed(&mut self.staged, trimmed);
            self.view.apply_trimmed(trimmed);
        }
        if self.idle_bytes() > self.view.live_bytes().max(IDLE_BYTES) { self.rewrite() } else { Ok(()) }
    }

    fn idle_bytes(&self) -> u64 {
        (self.end - PAGE_BYTES).saturating_sub(self.view.live_bytes())
    }

    /// If the new file cannot be written, the old one goes on being the log.
    fn rewrite(&mut self) -> Result<(), RaftLogError> {
        self.sync()?;
        let unfinished = format!("{}{UNFINISHED_SUFFIX}", self.name);
        let new = match self.copy_to(&unfinished) {
            Ok(new) => new,
            Err(error) => {
                // it is removed when the log is opened, if not now
                let _ = self.folder.remove(&unfinished);
                return Err(error);
            }
        };
        if let Err(cause) = self.folder.rename(&unfinished, &self.name) {
            self.failed = Some(cause.to_string());
            return Err(self.io("put the new file in the place of the old one", cause));
        }
        (self.file, self.view, self.end, self.next) = (new.file, new.view, new.end, new.next);
        self.staged.clear();
        self.written_state = self.view.hard_state;
        Ok(())
    }

    fn copy_to(&self, unfinished: &str) -> Result<NewFile, RaftLogError> {
        let made = |problem| not_made(&self.name, problem);
        let new = NewFile::make(&*self.folder, unfinished, &self.channel, self.node);
        let mut new = new.map_err(RewriteError::Io).map_err(made)?;
        new.begin(self.snapshot()?.as_ref(), self.view.trimmed).map_err(made)?;
        let mut index = self.view.trimmed.index + 1;
        while index <= self.view.last_index() {
            for entry in self.entries(index, u64::MAX, COPIES_BYTES)? {
                new.entry(&entry).map_err(made)?;
                index += 1;
            }
        }
        new.finish(&self.view.hard_state).map_err(made)?;
        Ok(new)
    }

    /// Entries from this index on, to `end` (which is not given), until they have `max_bytes`; at least one, if any is
    /// asked for.
    ///
    /// # Errors
    /// `Absent`: the first is not there any more, or not yet.
    pub fn entries(&self, from: u64, end: u64, max_bytes: u64) -> Result<Vec<Entry>, RaftLogError> {
        let (mut index, mut bytes, mut found) = (from, 0, Vec::new());
        let end = end.min(self.view.last_index().saturating_add(1));
        if from > end || from <= self.view.trimmed.index {
            let (first, last) = (self.view.trimmed.index.saturating_add(1), self.view.last_index());
            return Err(RaftLogError::Absent { name: self.name.clone(), index: from, first, last });
        }
        while index < end && bytes < max_bytes {
            let Some(row) = self.view.place(index).map(|place| place.row) else { break };
            let mut in_row = BTreeMap::new();
            for record in self.row(row)? {
                if let Record::Entry(entry) = record {
                    in_row.insert(entry.index, entry);
                }
            }
            while let Some(place) = self.view.place(index).filter(|place| place.row == row && index < end) {
                let entry = in_row.remove(&index).filter(|entry| entry.term == place.term);
                let entry = entry.ok_or_else(|| self.damaged(row, format!("entry {index} is not in the row")))?;
                bytes += entry.encoded_len() as u64;
                if bytes > max_bytes && !found.is_empty() {
                    return Ok(found);
                }
                found.push(entry);
                index += 1;
            }
        }
        Ok(found)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, RaftLogError> {
        let Some(place) = self.view.snapshot else { return Ok(None) };
        let found = self.row(place.row)?.into_iter().rev().find_map(|record| match record {
            Record::Snapshot(snapshot) => Some(snapshot),
            _ => None,
        });
        let found = found.filter(|found| super::view::position(found) == place.at);
        found.map(Some).ok_or_else(|| self.damaged(place.row, "the snapshot is not in the row".to_owned()))
    }

    /// The term of an entry that is there, or was the last to be trimmed.
    pub fn term(&self, index: u64) -> Option<u64> {
        self.view.term(index)
    }

    /// The state, with what is staged of it.
    pub fn hard_state(&self) -> HardState {
        self.view.hard_state
    }

    /// Returns the sizes of the log.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            file_bytes: self.file.length(),
            used_bytes: self.end,
            live_bytes: self.view.live_bytes(),
            entries: self.view.entries() as u64,
            first_index: self.view.trimmed.index.saturating_add(1),
            last_index: self.view.last_index(),
        }
    }

    fn contents(&self) -> Result<Contents, RaftLogError> {
        Ok(Contents {
            hard_state: self.view.hard_state,
            snapshot: self.snapshot()?,
            trimmed: self.view.trimmed,
            entries: self.entries(self.view.trimmed.index.saturating_add(1), u64::MAX, u64::MAX)?,
        })
    }

    /// The records of a row, also of the one that is staged.
    fn row(&self, at: u64) -> Result<Vec<Record>, RaftLogError> {
        let content = if at == self.end {
            Bytes::copy_from_slice(&self.staged)
        } else {
            let content = match self.file.header_at(at) {
                Ok(Some((header, encoded))) => self.file.content_at(at, header, &encoded),
                Ok(None) => Ok(None),
                Err(cause) => Err(cause),
            };
            let content = content.map_err(|cause| self.io("read", cause))?;
            content.ok_or_else(|| self.damaged(at, "a row that was durable is not whole any more".to_owned()))?
        };
        decode(content).map_err(|problem| self.damaged(at, problem.to_owned()))
    }

    fn check_trusted(&self) -> Result<(), RaftLogError> {
        match &self.failed {
            Some(reason) => Err(RaftLogError::Refused { name: self.name.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn io(&self, action: &'static str, cause: io::Error) -> RaftLogError {
        RaftLogError::Io { name: self.name.clone(), action, cause }
    }

    fn unfit(&self, cause: Unfit) -> RaftLogError {
        RaftLogError::Unfit { name: self.name.clone(), cause }
    }

    pub(super) fn damaged(&self, at: u64, problem: String) -> RaftLogError {
        RaftLogError::Damaged { name: self.name.clone(), at, problem }
    }
}

fn put_all(out: &mut Vec<u8>, write: &Write) -> Result<(), Unfit> {
    if let Some(snapshot) = &write.snapshot {
        put_snapshot(out, snapshot)?;
    }
    write.entries.iter().try_for_each(|entry| put_entry(out, entry))
}

fn not_made(name: &str, problem: RewriteError) -> RaftLogError {
    match problem {
        RewriteError::Io(cause) => RaftLogError::Io { name: name.to_owned(), action: "write a new file", cause },
        RewriteError::Unfit(cause) => RaftLogError::Unfit { name: name.to_owned(), cause },
    }
}
