//! The database, kept so that even closing it cannot bring down who holds it.

use redb::Database;

use crate::error::{Fault, shielded};

/// An open database. redb commits once more when it is dropped, and may panic then if its file was changed by something
/// else; so it is dropped in a place where that is caught.
#[derive(Debug)]
pub(crate) struct Store(Option<Database>);

impl Store {
    /// Opens a database with `open`, whatever happens in there.
    pub(crate) fn open(open: impl FnOnce() -> Result<Database, Fault>) -> Result<Self, Fault> {
        shielded(open).map(|db| Self(Some(db)))
    }

    /// None.
    pub(crate) fn closed() -> Self {
        Self(None)
    }

    /// Works on the database, whatever happens in there.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        // not there when the store has ended, or could not be opened again
        let db = self.0.as_ref().ok_or_else(|| Fault::Database(Box::new(redb::Error::DatabaseClosed)))?;
        shielded(|| work(db))
    }

    /// Moves what is in the file to its front and cuts it off behind that.
    pub(crate) fn compact(&mut self) -> Result<(), Fault> {
        let db = self.0.as_mut().ok_or_else(|| Fault::Database(Box::new(redb::Error::DatabaseClosed)))?;
        shielded(|| {
            db.compact()?;
            Ok(())
        })
    }

    /// Closes the database and says how that went.
    pub(crate) fn close(mut self) -> Result<(), Fault> {
        let db = self.0.take();
        shielded(|| db.map_or(Ok(()), |db| Ok(db.close()?)))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let db = self.0.take();
        let closed = shielded(|| {
            drop(db);
            Ok(())
        });
        if let Err(fault) = closed {
            tracing::error!("closing a ledger failed: {}", fault.chain());
        }
    }
}
