//! The file of pending envelopes: rows one after the other, from the beginning again when all are in blocks.
//!
//! A row is written over what blocks have taken, into room that the file has already, so that a sync has one page to
//! write and no length to record. Where the rows end is not written anywhere: sequences only rise, so a row left from
//! before has a smaller one than the row it follows.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::PendingEnvelope;
use super::row::{self, HEADER_BYTES, Header, Key, PAGE_BYTES};
use crate::error::Fault;
use crate::format::FLOOR_KEY;

/// The file grows by so much, written as zeros: room that is only reserved would cost each first write a second one.
const GROWS_BY_BYTES: u64 = 256 << 10;
/// More than this is given back when the log is empty.
const KEEPS_BYTES: u64 = 1 << 20;

/// What is written once more is read in pieces of this size.
const COPIES_BYTES: u64 = 1 << 20;

/// Where the rows are.
pub(crate) enum LogFile {
    /// There is none yet. Most channels of an orderer on Kafka never have one.
    Missing(PathBuf),
    /// It is open.
    Open(Box<dyn StorageBackend>),
}

impl LogFile {
    /// The file under this name, if there is one.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        match File::options().read(true).write(true).open(&path) {
            Ok(file) => Ok(Self::Open(backend(file)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::Missing(path)),
            Err(e) => Err(e),
        }
    }

    /// The file, made if there is none.
    fn make(&mut self) -> io::Result<&dyn StorageBackend> {
        if let Self::Missing(path) = self {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&*path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()?;
            *self = Self::Open(backend(file)?);
        }
        match self {
            Self::Open(storage) => Ok(&**storage),
            Self::Missing(path) => Err(io::Error::other(format!("{} is not open", path.display()))),
        }
    }

    fn storage(&self) -> Option<&dyn StorageBackend> {
        match self {
            Self::Missing(_) => None,
            Self::Open(storage) => Some(&**storage),
        }
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => f.debug_tuple("Missing").field(path).finish(),
            Self::Open(_) => f.write_str("Open"),
        }
    }
}

fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    FileBackend::new(file).map(|file| Box::new(file) as Box<dyn StorageBackend>).map_err(|error| match error {
        redb::DatabaseError::Storage(redb::StorageError::Io(cause)) => cause,
        other => io::Error::other(other),
    })
}

/// The pending log of an open ledger.
pub(crate) struct PendingLog {
    file: LogFile,
    key: Key,
    /// Sequences below are in blocks.
    floor: u64,
    /// First and last sequence of each row that is not.
    rows: VecDeque<(u64, u64)>,
    /// Where the next row is written.
    end: u64,
    length: u64,
}

impl fmt::Debug for PendingLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLog")
            .field("file", &self.file)
            .field("floor", &self.floor)
            .field("rows", &self.rows)
            .field("end", &self.end)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl PendingLog {
    /// Reads what is there.
    ///
    /// # Errors
    /// The file cannot be read, or something in its middle was lost: what follows it is whole. Or a newer version wrote it.
    pub(crate) fn open(file: LogFile, key: Key, floor: u64) -> Result<Self, Fault> {
        let length = file.storage().map_or(Ok(0), StorageBackend::len).map_err(Fault::PendingLog)?;
        let mut log = Self { file, key, floor, rows: VecDeque::new(), end: 0, length };
        let mut rows = VecDeque::new();
        log.end = log.scan(|envelopes| {
            let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return };
            if last.sequence >= floor {
                rows.push_back((first.sequence, last.sequence));
            }
        })?;
        log.rows = rows;
        log.check_nothing_follows()?;
        if log.rows.is_empty() {
            log.end = 0;
        }
        log.make_durable().map_err(Fault::PendingLog)?;
        Ok(log)
    }

    /// Writes once more what was read. After a sync that failed a file system may show what the disk does not have, and take
    /// it for written: after a power cut that would be a hole before what is written from now on.
    fn make_durable(&self) -> io::Result<()> {
        let Some(storage) = self.file.storage().filter(|_| self.end > 0) else { return Ok(()) };
        let mut at = 0;
        while at < self.end {
            let count = (self.end - at).min(COPIES_BYTES);
            let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
            storage.read(at, &mut bytes)?;
            storage.write(at, &bytes)?;
            at += count;
        }
        storage.sync_data()
    }

    /// Lets go of the file, for one who opens it again.
    pub(crate) fn close(&mut self) {
        self.file = LogFile::Missing(PathBuf::new());
    }

    /// All that wait for a block, in order.
    pub(crate) fn read(&self) -> Result<Vec<PendingEnvelope>, Fault> {
        let mut pending = Vec::new();
        if !self.rows.is_empty() {
            if self.file.storage().is_none() {
                return Err(Fault::PendingLog(io::Error::other("the file is closed")));
            }
            self.scan(|envelopes| pending.extend(envelopes.into_iter().filter(|e| e.sequence >= self.floor)))?;
        }
        Ok(pending)
    }

    /// The smallest sequence that a new envelope may have.
    pub(crate) fn next(&self) -> u64 {
        let after_last = self.rows.back().map_or(1, |&(_, last)| last.saturating_add(1));
        after_last.max(self.floor).max(FLOOR_KEY + 1)
    }

    /// Whether raising the floor so far takes any envelope away.
    pub(crate) fn reaches(&self, drop_below: u64) -> bool {
        drop_below > self.floor && self.rows.front().is_some_and(|&(first, _)| first < drop_below)
    }

    /// Forgets what is below. The database must say so by now: these rows may be written over from here on.
    pub(crate) fn drop_below(&mut self, drop_below: u64) -> Result<(), Fault> {
        self.floor = self.floor.max(drop_below);
        while self.rows.front().is_some_and(|&(_, last)| last < self.floor) {
            self.rows.pop_front();
        }
        if self.rows.is_empty() {
            self.end = 0;
            if self.length > KEEPS_BYTES
                && let Some(storage) = self.file.storage()
            {
                storage.set_len(KEEPS_BYTES).map_err(Fault::PendingLog)?;
                self.length = KEEPS_BYTES;
            }
        }
        Ok(())
    }

    /// Writes one row and makes it durable; the caller has checked sequences and sizes.
    pub(crate) fn append(&mut self, envelopes: &[PendingEnvelope]) -> Result<(), Fault> {
        let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return Ok(()) };
        let (first, last) = (first.sequence, last.sequence);
        let mut row = row::encode(&self.key, envelopes);
        let end = self.end + row.len() as u64;
        self.write(&mut row, end).map_err(Fault::PendingLog)?;
        self.end = end;
        self.rows.push_back((first, last));
        Ok(())
    }

    fn write(&mut self, row: &mut Vec<u8>, end: u64) -> io::Result<()> {
        let storage = self.file.make()?;
        if end > self.length {
            let length = end.next_multiple_of(GROWS_BY_BYTES);
            storage.set_len(length)?;
            let zeros = usize::try_from(length - end).map_err(io::Error::other)?;
            row.resize(row.len() + zeros, 0);
            self.length = length;
        }
        storage.write(self.end, row)?;
        storage.sync_data()
    }

    /// Goes through the rows from the beginning, as long as one follows the other. Gives back where they end.
    fn scan(&self, mut found: impl FnMut(Vec<PendingEnvelope>)) -> Result<u64, Fault> {
        let (mut at, mut next) = (0, 0);
        while let Some((header, encoded)) = self.header_at(at)? {
            let end = at.saturating_add(header.row_bytes());
            if header.first < next || end > self.length {
                break;
            }
            let rest = self.bytes_at(at + HEADER_BYTES as u64, header.rest_bytes())?;
            let decoded = row::decode(&self.key, encoded, rest.into());
            let decoded = decoded
                .map_err(|problem| Fault::Layout(format!("the row at byte {at} of the pending log {problem}")))?;
            let Some(envelopes) = decoded else { break };
            next = envelopes.last().map_or(next, |last| last.sequence.saturating_add(1));
            found(envelopes);
            at = end;
        }
        Ok(at)
    }

    /// A row that was not wholly written when the power went is the last one: nobody was told of it, and nothing was
    /// written behind it. If something was, envelopes that were acknowledged are lost, and that must be said.
    fn check_nothing_follows(&self) -> Result<(), Fault> {
        let next = self.next();
        let mut at = self.end + PAGE_BYTES;
        while at + PAGE_BYTES <= self.length {
            if let Some((header, _)) = self.header_at(at)?
                && header.first >= next
            {
                return Err(Fault::Layout(format!(
                    "the pending log is damaged at byte {}: envelopes from {next} on are missing, {} is there at byte {at}",
                    self.end, header.first
                )));
            }
            at += PAGE_BYTES;
        }
        Ok(())
    }

    /// None if no row of this ledger begins there.
    fn header_at(&self, at: u64) -> Result<Option<(Header, [u8; HEADER_BYTES])>, Fault> {
        let Some(storage) = self.file.storage().filter(|_| at + PAGE_BYTES <= self.length) else { return Ok(None) };
        let mut encoded = [0; HEADER_BYTES];
        storage.read(at, &mut encoded).map_err(Fault::PendingLog)?;
        Ok(Header::decode(&self.key, encoded).map(|header| (header, encoded)))
    }

    fn bytes_at(&self, at: u64, count: u64) -> Result<Vec<u8>, Fault> {
        let count = usize::try_from(count).map_err(|e| Fault::PendingLog(io::Error::other(e)))?;
        let mut bytes = vec![0; count];
        if let Some(storage) = self.file.storage() {
            storage.read(at, &mut bytes).map_err(Fault::PendingLog)?;
        }
        Ok(bytes)
    }
}
