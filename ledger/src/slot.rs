//! The place of a ledger's database, which is opened when it is needed and may be closed while nobody uses it.
//!
//! It is opened for reading until something is written: that changes nothing in the file, and needs no sync.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, Weak};
use std::time::Duration;

use orderer_core::types::BlockNumber;
use redb::{Builder, Database};

use crate::database::{DatabaseHandle, Reader};
use crate::error::LedgerError;
use crate::idle::{Counted, IdleDatabase, OpenDatabases, Usage};
use crate::read::last_number;
use crate::storage::KeptStorage;

/// The database of an open ledger.
pub(crate) struct DatabaseSlot {
    path: PathBuf,
    page_cache_bytes: usize,
    pool: Option<OpenDatabases>,
    opened: RwLock<Opened>,
    /// Milliseconds of the pool's time.
    last_used: AtomicU64,
    /// Whether a change failed. The database is not closed then, nor opened for writing, until the ledger is opened again.
    has_failed: AtomicBool,
}

/// The database, for as long as it takes work.
#[derive(Debug)]
pub(crate) struct Opened {
    handle: DatabaseHandle,
    /// `None` if the ledger could not be opened again after a failure.
    storage: Option<KeptStorage>,
    /// The file opened read-only, once the database refuses work because of a failure.
    rescued: OnceLock<Result<DatabaseHandle, String>>,
    /// The error that closing the idle database ended with.
    close_failed: Option<String>,
    counted: Option<Counted>,
}

impl Opened {
    pub(crate) fn new(handle: DatabaseHandle, storage: KeptStorage) -> Self {
        let rescued = OnceLock::new();
        Self { handle, storage: Some(storage), rescued, close_failed: None, counted: None }
    }

    /// Creates the state of a database whose file is not open either.
    pub(crate) fn gone(path: &Path) -> Self {
        let rescued = OnceLock::new();
        Self { handle: DatabaseHandle::closed(path), storage: None, rescued, close_failed: None, counted: None }
    }

    pub(crate) fn handle(&self) -> &DatabaseHandle {
        &self.handle
    }

    fn read<T>(
        &self,
        read: impl Fn(Reader<'_>) -> Result<T, LedgerError>,
        rescue: impl FnOnce() -> Result<DatabaseHandle, String>,
    ) -> Result<T, LedgerError> {
        match self.handle.read(&read) {
            Err(fault) if fault.is_poisoned() => match self.rescued.get_or_init(rescue) {
                Ok(around) => around.read(&read),
                Err(why) => Err(LedgerError::Layout(why.clone())),
            },
            result => result,
        }
    }

    pub(crate) fn close(&mut self) -> Result<(), LedgerError> {
        self.counted = None;
        self.handle.close()
    }
}

impl DatabaseSlot {
    pub(crate) fn new(
        path: &Path,
        page_cache_bytes: usize,
        pool: Option<OpenDatabases>,
        mut opened: Opened,
    ) -> Arc<Self> {
        opened.counted = pool.as_ref().map(OpenDatabases::count);
        let slot = Arc::new(Self {
            path: path.to_owned(),
            page_cache_bytes,
            pool,
            opened: RwLock::new(opened),
            last_used: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
        });
        slot.record_use();
        if let Some(pool) = &slot.pool {
            let member: Weak<Self> = Arc::downgrade(&slot);
            pool.add(member);
            pool.close_surplus();
        }
        slot
    }

    fn record_use(&self) {
        if let Some(pool) = &self.pool {
            let now = u64::try_from(pool.now().as_millis()).unwrap_or(u64::MAX);
            self.last_used.store(now, Ordering::Relaxed);
        }
    }

    fn shared(&self) -> RwLockReadGuard<'_, Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the database's state for a change of the state itself. All others wait.
    pub(crate) fn exclusive(&self) -> RwLockWriteGuard<'_, Opened> {
        self.opened.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the state out, as if the file could not be opened.
    pub(crate) fn take(&self) -> Opened {
        std::mem::replace(&mut *self.exclusive(), Opened::gone(&self.path))
    }

    /// Ends a failure: the state is that of a ledger that was opened again.
    pub(crate) fn replace(&self, place: &mut Opened, mut opened: Opened) {
        opened.counted = self.pool.as_ref().map(OpenDatabases::count);
        *place = opened;
        self.has_failed.store(false, Ordering::Release);
    }

    /// Returns whether the database is open for writing.
    pub(crate) fn is_writable(&self) -> bool {
        self.shared().handle.is_writable()
    }

    /// Changes the database, which is opened for that if it is not. It must have the block `newest`.
    pub(crate) fn change<T>(
        &self,
        newest: BlockNumber,
        change: impl FnOnce(&Database) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.record_use();
        let opened = self.shared();
        if opened.handle.is_writable() {
            return self.record_failure(opened.handle.with(change));
        }
        drop(opened);
        let mut opened = self.exclusive();
        let ready = self.open_for_writing(&mut opened, newest);
        self.record_failure(ready.and_then(|()| opened.handle.with(change)))
    }

    /// Moves what is in the file to its front, and cuts it off behind that.
    pub(crate) fn compact(&self, newest: BlockNumber) -> Result<(), LedgerError> {
        let mut opened = self.exclusive();
        self.open_for_writing(&mut opened, newest)?;
        opened.handle.compact()
    }

    /// Reads from the database, which is opened if it is not. It must have the block `newest`. If the database rejects reads because
    /// of a failure, what `rescue` opens is read instead.
    pub(crate) fn read<T>(
        &self,
        newest: BlockNumber,
        read: impl Fn(Reader<'_>) -> Result<T, LedgerError>,
        rescue: impl FnOnce() -> Result<DatabaseHandle, String>,
    ) -> Result<T, LedgerError> {
        self.record_use();
        let opened = self.shared();
        if opened.handle.is_open() || opened.storage.is_none() || opened.rescued.get().is_some() {
            return opened.read(read, rescue);
        }
        drop(opened);
        let mut opened = self.exclusive();
        if let Err(fault) = self.open_for_reading(&mut opened, newest)
            && !fault.is_poisoned()
        {
            return Err(fault);
        }
        let result = opened.read(read, rescue);
        drop(opened);
        if let Some(pool) = &self.pool {
            pool.close_surplus();
        }
        result
    }

    fn record_failure<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        if result.is_err() {
            self.has_failed.store(true, Ordering::Release);
        }
        result
    }

    fn open_for_writing(&self, opened: &mut Opened, newest: BlockNumber) -> Result<(), LedgerError> {
        if opened.handle.is_writable() {
            return Ok(());
        }
        if let Some(cause) = &opened.close_failed {
            return Err(LedgerError::Layout(format!("the idle database could not be closed: {cause}")));
        }
        if self.has_failed.load(Ordering::Acquire) {
            return Err(poisoned());
        }
        let storage = usable(opened)?;
        opened.close()?;
        self.set(opened, newest, open_writable(&self.path, self.page_cache_bytes, storage)?)
    }

    fn open_for_reading(&self, opened: &mut Opened, newest: BlockNumber) -> Result<(), LedgerError> {
        if opened.handle.is_open() {
            return Ok(());
        }
        let storage = usable(opened)?;
        let handle = if self.has_failed.load(Ordering::Acquire) {
            // only a writer may repair the file, and none may write to it now
            let builder = builder(&self.path, self.page_cache_bytes);
            DatabaseHandle::read_only(&self.path, &builder, storage).map_err(|_| poisoned())?
        } else {
            open(&self.path, self.page_cache_bytes, storage)?
        };
        self.set(opened, newest, handle)
    }

    fn set(&self, opened: &mut Opened, newest: BlockNumber, handle: DatabaseHandle) -> Result<(), LedgerError> {
        if handle.read(last_number)? < Some(newest) {
            return Err(LedgerError::Layout(format!("block {newest} is not in the file any more")));
        }
        opened.handle = handle;
        opened.counted = self.pool.as_ref().map(OpenDatabases::count);
        Ok(())
    }

    /// Closes the database, unless somebody uses it now, or something failed.
    pub(crate) fn close_unused(&self) -> Result<(), LedgerError> {
        let mut opened = match self.opened.try_write() {
            Ok(opened) => opened,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        if self.has_failed.load(Ordering::Acquire) || !opened.handle.is_open() {
            return Ok(());
        }
        let closed = opened.close();
        if let Err(fault) = &closed {
            opened.close_failed = Some(fault.chain());
            self.has_failed.store(true, Ordering::Release);
        }
        closed
    }

    /// Closes idle databases of all ledgers, if more are open than may stay open.
    pub(crate) fn close_surplus(&self) {
        if let Some(pool) = &self.pool {
            pool.close_surplus();
        }
    }
}

impl IdleDatabase for DatabaseSlot {
    fn usage(&self) -> Option<Usage> {
        let opened = self.opened.try_read().ok().filter(|opened| opened.handle.is_open())?;
        if self.has_failed.load(Ordering::Acquire) {
            return None;
        }
        let last_used = Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        Some(Usage { is_writable: opened.handle.is_writable(), last_used })
    }

    fn close_unused(&self) {
        if let Err(fault) = self.close_unused() {
            tracing::error!(path = %self.path.display(), cause = %fault.chain(),
                action = "check the disk (space, health), then restart the channel; its next commit will fail",
                "failed to close the database of an idle ledger");
        }
    }
}

impl fmt::Debug for DatabaseSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSlot").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Opens a database for reading, or for writing if it has to be repaired.
pub(crate) fn open(path: &Path, page_cache_bytes: usize, storage: KeptStorage) -> Result<DatabaseHandle, LedgerError> {
    let builder = builder(path, page_cache_bytes);
    DatabaseHandle::read_only(path, &builder, storage.clone())
        .or_else(|_| DatabaseHandle::writable(path, || Ok(builder.create_with_backend(storage)?)))
}

/// Opens or creates a database for writing.
pub(crate) fn open_writable(
    path: &Path,
    page_cache_bytes: usize,
    storage: KeptStorage,
) -> Result<DatabaseHandle, LedgerError> {
    DatabaseHandle::writable(path, || Ok(builder(path, page_cache_bytes).create_with_backend(storage)?))
}

/// Returns the file under the database, if a database is in it.
fn usable(opened: &Opened) -> Result<KeptStorage, LedgerError> {
    let io = |cause| LedgerError::Database(Box::new(redb::Error::Io(cause)));
    let closed = || LedgerError::Database(Box::new(redb::Error::DatabaseClosed));
    let storage = opened.storage.clone().ok_or_else(closed)?;
    if storage.is_database().map_err(io)? {
        Ok(storage)
    } else {
        Err(LedgerError::Layout("the file is no database any more".to_owned()))
    }
}

fn poisoned() -> LedgerError {
    LedgerError::Database(Box::new(redb::Error::PreviousIo))
}

fn builder(path: &Path, page_cache_bytes: usize) -> Builder {
    let mut builder = Database::builder();
    let path = path.to_owned();
    let announced = Cell::new(None);
    builder.set_cache_size(page_cache_bytes).set_repair_callback(move |repair| {
        // redb counts from 0 to 1, in steps of its own
        let tenths = (repair.progress() * 10.0).round();
        if announced.replace(Some(tenths)) != Some(tenths) {
            tracing::warn!(path = %path.display(), percent = tenths * 10.0,
                "ledger was not closed cleanly; repairing it");
        }
    });
    builder
}
