//! The file of a database: open and locked for as long as the ledger is, while databases over it are opened and closed.
//!
//! redb locks a file while a database over it is open. A ledger closes its database when nobody uses it, and must stay locked for other
//! processes, so it holds the lock itself and answers redb's requests for locks. redb's locks are ranges of the same file, so programs
//! that open the file with redb see this one.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::error::OpenError;
use crate::format::REDB_MAGIC;

/// The storage under a ledger's database. Clones share it; the last of them closes it, which releases the lock.
#[derive(Clone, Debug)]
pub(crate) struct KeptStorage(Arc<Owned>);

#[derive(Debug)]
struct Owned(Box<dyn StorageBackend>);

impl Drop for Owned {
    fn drop(&mut self) {
        // what it would release is released with the file
        let _ = self.0.close();
    }
}

impl KeptStorage {
    /// Opens an existing file, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::of_file(path, File::options().read(true).write(true).open(path))
    }

    /// Creates a file, which must not exist, and locks it.
    pub(crate) fn create(file: &Path, path: &Path) -> Result<Self, OpenError> {
        Self::of_file(path, File::options().read(true).write(true).create_new(true).open(file))
    }

    fn of_file(path: &Path, file: io::Result<File>) -> Result<Self, OpenError> {
        let io = |cause| OpenError::Io { path: path.to_owned(), action: "open the database", cause };
        let file = FileBackend::new(file.map_err(io)?).map_err(|error| io(io::Error::other(error)))?;
        Self::lock(Box::new(file), path)
    }

    /// Locks the whole storage, if it supports locks.
    pub(crate) fn lock(storage: Box<dyn StorageBackend>, path: &Path) -> Result<Self, OpenError> {
        let failed = |cause| OpenError::Io { path: path.to_owned(), action: "lock the database", cause };
        match storage.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(true) | Err(BackendError::Unsupported) => Ok(Self(Arc::new(Owned(storage)))),
            Ok(false) => Err(OpenError::AlreadyOpen { path: path.to_owned() }),
            Err(BackendError::Io(cause)) if cause.kind() == io::ErrorKind::Unsupported => {
                Ok(Self(Arc::new(Owned(storage))))
            }
            Err(BackendError::Io(cause)) => Err(failed(cause)),
            Err(other) => Err(failed(io::Error::other(other))),
        }
    }

    /// Returns whether a database begins here. redb would create one in an empty file.
    pub(crate) fn is_database(&self) -> io::Result<bool> {
        let mut begin = [0; REDB_MAGIC.len()];
        if self.len()? < begin.len() as u64 {
            return Ok(false);
        }
        self.read(0, &mut begin)?;
        Ok(begin == *REDB_MAGIC)
    }
}

impl StorageBackend for KeptStorage {
    fn len(&self) -> io::Result<u64> {
        self.0.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.0.write(offset, data)
    }

    /// Keeps the file open: another database may be opened over it.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}
