//! The directory of a raft log's file, in which the next file is created, too.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;

use redb::StorageBackend;

use crate::sealed::{backend, sync_folder};

/// A folder, or what passes for one in a simulation.
pub trait LogDirectory: Send {
    /// The file of this name, locked; none if there is none.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// Creates an empty file of this name, locked; one that is there is emptied.
    fn make(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;
    /// Gives a file another name, at once and durably; what had that name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file, if there is one of this name.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Clone, Debug)]
pub struct DiskDirectory(pub PathBuf);

impl LogDirectory for DiskDirectory {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn StorageBackend>>> {
        match File::options().read(true).write(true).open(self.0.join(name)) {
            Ok(file) => locked(file).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn make(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(self.0.join(name))?;
        locked(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))?;
        sync_folder(Some(&self.0))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// The database's own backend locks nothing by itself.
fn locked(file: File) -> io::Result<Box<dyn StorageBackend>> {
    match file.try_lock() {
        Ok(()) => backend(file),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}
