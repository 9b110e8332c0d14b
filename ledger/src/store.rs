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

    /// Works on the database, whatever happens in there.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        // taken only by who owns the store, when it ends
        let db = self.0.as_ref().ok_or_else(|| Fault::Layout("the ledger is closed".to_owned()))?;
        shielded(|| work(db))
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
