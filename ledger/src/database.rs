//! The database, kept so that an error or a panic while it is closed cannot terminate its holder.

use std::path::{Path, PathBuf};

use redb::Database;

use crate::error::{LedgerError, catch_database_panic};

/// An open database. redb commits once more when it is dropped, and may panic then if its file was changed by something
/// else; so it is dropped in a place where that is caught.
#[derive(Debug)]
pub(crate) struct DatabaseHandle {
    database: Option<Database>,
    /// Path of the file, for messages.
    path: PathBuf,
}

impl DatabaseHandle {
    /// Opens the database of this file with `open`, whatever happens in there.
    pub(crate) fn open(path: &Path, open: impl FnOnce() -> Result<Database, LedgerError>) -> Result<Self, LedgerError> {
        catch_database_panic(open).map(|db| Self { database: Some(db), path: path.to_owned() })
    }

    /// Creates a store without a database.
    pub(crate) fn closed() -> Self {
        Self { database: None, path: PathBuf::new() }
    }

    /// Works on the database, whatever happens in there.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        // not there when the store has ended, or could not be opened again
        let db = self.database.as_ref().ok_or_else(|| LedgerError::Database(Box::new(redb::Error::DatabaseClosed)))?;
        catch_database_panic(|| work(db))
    }

    /// Moves what is in the file to its front and cuts it off behind that.
    pub(crate) fn compact(&mut self) -> Result<(), LedgerError> {
        let db = self.database.as_mut().ok_or_else(|| LedgerError::Database(Box::new(redb::Error::DatabaseClosed)))?;
        catch_database_panic(|| {
            db.compact()?;
            Ok(())
        })
    }

    /// Closes the database and says how that went.
    pub(crate) fn close(mut self) -> Result<(), LedgerError> {
        let db = self.database.take();
        catch_database_panic(|| db.map_or(Ok(()), |db| Ok(db.close()?)))
    }
}

impl Drop for DatabaseHandle {
    fn drop(&mut self) {
        let db = self.database.take();
        let closed = catch_database_panic(|| {
            drop(db);
            Ok(())
        });
        if let Err(fault) = closed {
            tracing::error!(path = %self.path.display(), "closing a ledger failed: {}", fault.chain());
        }
    }
}
