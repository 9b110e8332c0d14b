//! A file of sealed rows, one after the other.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::record::{self, HEADER_BYTES, PAGE_BYTES, RecordHeader, SealKey};

/// A file grows by so much, written as zeros: room that is only reserved would cost each first write a second one.
const GROWS_BY_BYTES: u64 = 256 << 10;
/// Size of the pieces in which existing contents are read to be written once more.
const COPIES_BYTES: u64 = 1 << 20;

/// The file of the rows.
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
            sync_folder(path.parent())?;
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

/// The file; it is not locked.
pub(crate) fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    FileBackend::new(file).map(|file| Box::new(file) as Box<dyn StorageBackend>).map_err(|error| match error {
        redb::DatabaseError::Storage(redb::StorageError::Io(cause)) => cause,
        other => io::Error::other(other),
    })
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The rows of a file.
pub(crate) struct SealedFile {
    file: LogFile,
    pub(crate) key: SealKey,
    length: u64,
}

impl fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedFile").field("file", &self.file).field("length", &self.length).finish_non_exhaustive()
    }
}

impl SealedFile {
    pub(crate) fn new(file: LogFile, key: SealKey) -> io::Result<Self> {
        let length = file.storage().map_or(Ok(0), StorageBackend::len)?;
        Ok(Self { file, key, length })
    }

    /// Closes the file, so that it can be opened again.
    pub(crate) fn close(&mut self) {
        self.file = LogFile::Missing(PathBuf::new());
    }

    pub(crate) fn is_open(&self) -> bool {
        self.file.storage().is_some()
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Writes a row, or several, at this place, and makes it durable; the file grows as needed.
    pub(crate) fn write(&mut self, at: u64, row: &mut Vec<u8>) -> io::Result<()> {
        self.put(at, row)?;
        self.sync()
    }

    /// Makes durable what was put.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.storage().map_or(Ok(()), StorageBackend::sync_data)
    }

    /// Writes without making it durable.
    pub(crate) fn put(&mut self, at: u64, row: &mut Vec<u8>) -> io::Result<()> {
        let end = at + row.len() as u64;
        let storage = self.file.make()?;
        if end > self.length {
            let length = end.next_multiple_of(GROWS_BY_BYTES);
            storage.set_len(length)?;
            let zeros = usize::try_from(length - end).map_err(io::Error::other)?;
            row.resize(row.len() + zeros, 0);
            self.length = length;
        }
        storage.write(at, row)
    }

    /// Truncates the file to `length`, if it is longer.
    pub(crate) fn shrink(&mut self, length: u64) -> io::Result<()> {
        if let Some(storage) = self.file.storage().filter(|_| self.length > length) {
            storage.set_len(length)?;
            self.length = length;
        }
        Ok(())
    }

    /// Writes once more what was read, up to `end`. After a sync that failed a file system may show what the disk does not
    /// have, and take it for written: after a power cut that would be a hole before what is written from now on.
    pub(crate) fn make_durable(&self, end: u64) -> io::Result<()> {
        let Some(storage) = self.file.storage().filter(|_| end > 0) else { return Ok(()) };
        let mut at = 0;
        while at < end {
            let count = (end - at).min(COPIES_BYTES);
            let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
            storage.read(at, &mut bytes)?;
            storage.write(at, &bytes)?;
            at += count;
        }
        storage.sync_data()
    }

    /// The header of the row that begins there and its encoded form; none if no row of this key does.
    pub(crate) fn header_at(&self, at: u64) -> io::Result<Option<(RecordHeader, [u8; HEADER_BYTES])>> {
        if at.checked_add(PAGE_BYTES).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let mut encoded = [0; HEADER_BYTES];
        self.read(at, &mut encoded)?;
        Ok(RecordHeader::decode(&self.key, encoded).map(|header| (header, encoded)))
    }

    /// The content of the row with this header; none if it was not wholly written.
    pub(crate) fn content_at(
        &self,
        at: u64,
        header: RecordHeader,
        encoded: &[u8; HEADER_BYTES],
    ) -> io::Result<Option<Bytes>> {
        if at.checked_add(header.record_bytes()).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let mut rest = vec![0; usize::try_from(header.rest_bytes()).map_err(io::Error::other)?];
        self.read(at + HEADER_BYTES as u64, &mut rest)?;
        Ok(record::open(&self.key, encoded, rest.into()))
    }

    /// A row that was not wholly written when the power went is the last one: it was never reported as durable, and nothing was
    /// written behind it. Returns the position of a row of this sequence or a later one behind `end`, if there is one: then a
    /// row that was reported as durable is lost.
    pub(crate) fn find_behind(&self, end: u64, sequence: u64) -> io::Result<Option<(u64, RecordHeader)>> {
        let mut at = end.saturating_add(PAGE_BYTES);
        while at < self.length {
            if let Some((header, _)) = self.header_at(at)?.filter(|(header, _)| header.sequence >= sequence) {
                return Ok(Some((at, header)));
            }
            at += PAGE_BYTES;
        }
        Ok(None)
    }

    /// Fills `out` with what is there.
    pub(crate) fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        match self.file.storage() {
            Some(storage) => storage.read(at, out),
            None => Err(io::Error::other("the file is closed")),
        }
    }
}
