//! The database, kept so that an error or a panic while it is closed cannot terminate its holder.

use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _, TransactionError};

use crate::error::{LedgerError, catch_database_panic};
use crate::storage::KeptStorage;

/// A database that may be open or closed. redb commits once more when it is dropped, and may panic then if its file was changed
/// by something else; so it is dropped in a place where that is caught.
#[derive(Debug)]
pub(crate) struct DatabaseHandle {
    database: OpenMode,
    /// Path of the file, for messages.
    path: PathBuf,
}

/// A database as it is open. To open one for writing costs a sync, and to close it another.
enum OpenMode {
    Closed,
    ReadOnly(ReadOnlyDatabase),
    Writable(Database),
}

impl std::fmt::Debug for OpenMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::ReadOnly(_) => "ReadOnly",
            Self::Writable(_) => "Writable",
        })
    }
}

/// A database that can be read, open for writing or not.
#[derive(Clone, Copy)]
pub(crate) enum Reader<'a> {
    ReadOnly(&'a ReadOnlyDatabase),
    Writable(&'a Database),
}

impl Reader<'_> {
    /// Begins a transaction, which sees what was committed before.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, TransactionError> {
        match self {
            Self::ReadOnly(db) => db.begin_read(),
            Self::Writable(db) => db.begin_read(),
        }
    }
}

impl DatabaseHandle {
    /// Creates a handle of a database that is closed.
    pub(crate) fn closed(path: &Path) -> Self {
        Self { database: OpenMode::Closed, path: path.to_owned() }
    }

    /// Opens or creates the database with `open`, for writing, whatever happens in there.
    pub(crate) fn writable(
        path: &Path,
        open: impl FnOnce() -> Result<Database, LedgerError>,
    ) -> Result<Self, LedgerError> {
        let database = catch_database_panic(open).map(OpenMode::Writable)?;
        Ok(Self { database, path: path.to_owned() })
    }

    /// Opens the database for reading only, which changes nothing in the file.
    ///
    /// # Errors
    /// Also that it was not closed cleanly: only a writer repairs it.
    pub(crate) fn read_only(path: &Path, builder: &Builder, storage: KeptStorage) -> Result<Self, LedgerError> {
        let database = catch_database_panic(|| Ok(builder.open_read_only_with_backend(storage)?))?;
        Ok(Self { database: OpenMode::ReadOnly(database), path: path.to_owned() })
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.database, OpenMode::Closed)
    }

    pub(crate) fn is_writable(&self) -> bool {
        matches!(self.database, OpenMode::Writable(_))
    }

    /// Works on the database, which must be open for writing, whatever happens in there.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        match &self.database {
            OpenMode::Writable(db) => catch_database_panic(|| work(db)),
            // not there when the store has ended, or could not be opened again
            OpenMode::ReadOnly(_) | OpenMode::Closed => Err(not_open()),
        }
    }

    /// Reads from the database, whatever happens in there.
    pub(crate) fn read<T>(&self, work: impl FnOnce(Reader<'_>) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let reader = match &self.database {
            OpenMode::ReadOnly(db) => Reader::ReadOnly(db),
            OpenMode::Writable(db) => Reader::Writable(db),
            OpenMode::Closed => return Err(not_open()),
        };
        catch_database_panic(|| work(reader))
    }

    /// Moves what is in the file to its front and cuts it off behind that.
    pub(crate) fn compact(&mut self) -> Result<(), LedgerError> {
        let OpenMode::Writable(db) = &mut self.database else { return Err(not_open()) };
        catch_database_panic(|| {
            db.compact()?;
            Ok(())
        })
    }

    /// Closes the database, if it is open, and says how that went. It is closed in any case.
    pub(crate) fn close(&mut self) -> Result<(), LedgerError> {
        let database = std::mem::replace(&mut self.database, OpenMode::Closed);
        catch_database_panic(|| match database {
            OpenMode::Closed => Ok(()),
            OpenMode::ReadOnly(db) => Ok(db.close()?),
            OpenMode::Writable(db) => Ok(db.close()?),
        })
    }
}

fn not_open() -> LedgerError {
    LedgerError::Database(Box::new(redb::Error::DatabaseClosed))
}

impl Drop for DatabaseHandle {
    fn drop(&mut self) {
        // a database that failed before closes with the same failure
        if let Err(fault) = self.close().or_else(|fault| if fault.is_poisoned() { Ok(()) } else { Err(fault) }) {
            tracing::error!(path = %self.path.display(), "closing a ledger failed: {}", fault.chain());
        }
    }
}
