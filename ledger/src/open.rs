//! Making a ledger and opening one: every way in which a file can be the wrong one has its own error.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use orderer_core::block::EncodedBlock;
use orderer_core::types::{BlockNumber, ChannelId};
use redb::{StorageBackend, StorageError, TableError};
use tokio::sync::watch;

use crate::cache::{BlockCache, CachedBlocks};
use crate::commit::{begin, write_blocks};
use crate::database::{DatabaseHandle, Reader};
use crate::error::{LedgerError, OpenError};
use crate::format::{
    BLOCKS, CHANNEL_KEY, FORMAT, FORMAT_KEY, FORMAT_WHOLE, HISTORY, IDENTITY, MAGIC, MAGIC_KEY, PENDING,
    PENDING_KEY_KEY, REDB_MAGIC, VALUES, decode_number,
};
use crate::horizon::Horizon;
use crate::ledger::{Ledger, Options, Writer};
use crate::pending::{PendingLog, stored_floor};
use crate::read::{last_number, read_block};
use crate::recent_blocks::RecentBlocks;
use crate::sealed::{LogFile, SealKey, sync_folder};
use crate::slot::{self, DatabaseSlot, Opened};
use crate::storage::KeptStorage;
use crate::verify::check_link;

/// A file is made under this name, and gets its own once it is whole.
const UNFINISHED_SUFFIX: &str = ".new";
/// Pending envelopes are in a file that is named as the database, but for this.
const PENDING_EXTENSION: &str = "pending";
/// Number of blocks at the end that are read and checked when a ledger is opened.
const CHECKED_AT_OPEN: u64 = 2;

impl Ledger {
    /// Creates the ledger of a new channel, with block 0 in it, and opens it. A crash leaves either the whole ledger or none
    /// under `path`. Performs blocking I/O.
    pub fn create(
        path: &Path,
        channel: &ChannelId,
        genesis: &EncodedBlock,
        options: Options,
    ) -> Result<Self, OpenError> {
        let io = |action| move |cause| OpenError::Io { path: path.to_owned(), action, cause };
        if path.try_exists().map_err(io("look for the file"))? {
            return Err(OpenError::Exists { path: path.to_owned() });
        }
        let (unfinished, pending) = remove_unfinished(path)?;
        let storage = KeptStorage::create(&unfinished, path)?;
        let db = open_database(path, || slot::open_writable(path, options.page_cache_bytes, storage.clone()))?;
        initialize(&db, path, channel, genesis)?;
        // the commit has synced the file; its name is made to last by syncing the folder
        fs::rename(&unfinished, path).map_err(io("give the new file its name"))?;
        sync_folder(path.parent()).map_err(io("sync the ledger folder"))?;
        load(Opened::new(db, storage), LogFile::Missing(pending), path, channel, options)
    }

    /// Opens a channel's ledger, repairs it if it was not closed cleanly (a second a GiB, unless it was
    /// [settled](Self::checkpoint)), and checks its identity and its newest blocks. Performs blocking I/O.
    pub fn open(path: &Path, channel: &ChannelId, options: Options) -> Result<Self, OpenError> {
        check_is_database(path)?;
        let storage = KeptStorage::open(path)?;
        let db = open_database(path, || slot::open(path, options.page_cache_bytes, storage.clone()))?;
        let pending = path.with_extension(PENDING_EXTENSION);
        let log = LogFile::open(pending.clone());
        let log = log.map_err(|cause| OpenError::Io { path: pending, action: "open the pending log", cause })?;
        load(Opened::new(db, storage), log, path, channel, options)
    }

    /// After a failure: closes the files and opens them again, for all holders of this ledger. Their reads from the disk wait
    /// meanwhile. Does nothing if nothing has failed. Performs blocking I/O.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); the ledger rejects work as before then. `Shrunk`: blocks are missing that were
    /// there.
    pub fn reopen(&self) -> Result<(), OpenError> {
        let mut writer = self.lock_writer();
        if writer.failed.is_none() {
            return Ok(());
        }
        let mut database = self.database.exclusive();
        // the files are locked until they are closed
        writer.pending.close();
        *database = Opened::gone(&self.path);
        let again = Self::open(&self.path, &self.channel, self.options.clone())?;
        let (had, has) = (self.height(), again.height());
        if has < had {
            return Err(OpenError::Shrunk { path: self.path.clone(), had, has });
        }
        for number in had..has {
            // durable before the failure was noticed, and seen by nobody yet
            let block = again.block(BlockNumber(number)).ok().flatten();
            let block = block.ok_or_else(|| OpenError::Shrunk { path: self.path.clone(), had: has, has: number })?;
            self.publish(vec![block]);
        }
        let Self { database: other, writer: its_writer, .. } = again;
        self.database.replace(&mut database, other.take());
        *writer = its_writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    /// Creates a ledger as [`create`](Self::create) does, on storages of the caller: for simulations. `path` names the first in
    /// messages, and its bytes are read from there if the storage fails.
    pub fn create_on(
        storage: impl StorageBackend,
        pending: impl StorageBackend,
        path: &Path,
        channel: &ChannelId,
        genesis: &EncodedBlock,
        options: Options,
    ) -> Result<Self, OpenError> {
        let storage = KeptStorage::lock(Box::new(storage), path)?;
        let db = open_database(path, || slot::open_writable(path, options.page_cache_bytes, storage.clone()))?;
        initialize(&db, path, channel, genesis)?;
        load(Opened::new(db, storage), LogFile::Open(Box::new(pending)), path, channel, options)
    }

    /// Opens a ledger as [`open`](Self::open) does, on storages of the caller.
    pub fn open_on(
        storage: impl StorageBackend,
        pending: impl StorageBackend,
        path: &Path,
        channel: &ChannelId,
        options: Options,
    ) -> Result<Self, OpenError> {
        let storage = KeptStorage::lock(Box::new(storage), path)?;
        let db = open_database(path, || slot::open(path, options.page_cache_bytes, storage.clone()))?;
        load(Opened::new(db, storage), LogFile::Open(Box::new(pending)), path, channel, options)
    }

    /// Closes the file cleanly; dropping the last handle does the same but cannot report errors. Performs blocking I/O.
    pub fn close(self) -> Result<(), OpenError> {
        let Self { database, path, .. } = self;
        let closed = database.exclusive().close();
        closed.map_err(|cause| OpenError::Damaged { path, cause })
    }
}

/// Removes what a crash left of a ledger that was being created under this name, where there is none. Returns the name that it
/// has until it is whole, and that of its pending log.
pub(crate) fn remove_unfinished(path: &Path) -> Result<(PathBuf, PathBuf), OpenError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED_SUFFIX);
    let unfinished = PathBuf::from(unfinished);
    let pending = path.with_extension(PENDING_EXTENSION);
    for (stale, action) in [(&unfinished, "remove an unfinished file"), (&pending, "remove an old pending log")] {
        match fs::remove_file(stale) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::Io { path: path.to_owned(), action, cause });
            }
            _ => {}
        }
    }
    Ok((unfinished, pending))
}

/// Checks the first bytes before redb may write to the file.
fn check_is_database(path: &Path) -> Result<(), OpenError> {
    let io = |action| move |cause| OpenError::Io { path: path.to_owned(), action, cause };
    let foreign = |found: &str| OpenError::Foreign { path: path.to_owned(), found: found.to_owned() };
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(OpenError::Missing { path: path.to_owned() }),
        opened => opened.map_err(io("open the file"))?,
    };
    if file.metadata().map_err(io("look at the file"))?.is_dir() {
        return Err(foreign("a folder"));
    }
    let mut begin = Vec::with_capacity(REDB_MAGIC.len());
    file.by_ref().take(REDB_MAGIC.len() as u64).read_to_end(&mut begin).map_err(io("read the file"))?;
    match &begin[..] {
        REDB_MAGIC => Ok(()),
        [] => Err(foreign("an empty file")),
        _ => Err(foreign("a file of another kind")),
    }
}

fn open_database(
    path: &Path,
    open: impl FnOnce() -> Result<DatabaseHandle, LedgerError>,
) -> Result<DatabaseHandle, OpenError> {
    let path = path.to_owned();
    open().map_err(|fault| match fault {
        LedgerError::Database(error) => match *error {
            redb::Error::DatabaseAlreadyOpen => OpenError::AlreadyOpen { path },
            redb::Error::UpgradeRequired(version) => {
                OpenError::Foreign { path, found: format!("a redb file of version {version}") }
            }
            redb::Error::Io(cause) if !is_damage(cause.kind()) => {
                OpenError::Io { path, action: "open the database", cause }
            }
            other => OpenError::Damaged { path, cause: LedgerError::Database(Box::new(other)) },
        },
        fault => OpenError::Damaged { path, cause: fault },
    })
}

/// Returns whether redb reports damage: a header that it cannot read, or a file that ends too early.
fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Writes identity and block 0 into an empty database.
fn initialize(db: &DatabaseHandle, path: &Path, channel: &ChannelId, genesis: &EncodedBlock) -> Result<(), OpenError> {
    if genesis.number() != BlockNumber::GENESIS {
        return Err(OpenError::NotGenesis { path: path.to_owned(), number: genesis.number() });
    }
    let written = db.with(|db| {
        let tx = begin(db)?;
        {
            let mut identity = tx.open_table(IDENTITY)?;
            identity.insert(MAGIC_KEY, MAGIC)?;
            identity.insert(FORMAT_KEY, &FORMAT_WHOLE.to_be_bytes()[..])?;
            identity.insert(CHANNEL_KEY, channel.as_str().as_bytes())?;
            identity.insert(PENDING_KEY_KEY, &rand::random::<[u8; 32]>()[..])?;
        }
        // readers expect the tables to be there
        tx.open_table(PENDING)?;
        tx.open_table(VALUES)?;
        write_blocks(&tx, BLOCKS, std::slice::from_ref(genesis))?;
        Ok(tx.commit()?)
    });
    written.map_err(|fault| match fault {
        LedgerError::Database(error) => match *error {
            redb::Error::Io(cause) => OpenError::Io { path: path.to_owned(), action: "write block 0", cause },
            other => OpenError::Damaged { path: path.to_owned(), cause: LedgerError::Database(Box::new(other)) },
        },
        cause => OpenError::Damaged { path: path.to_owned(), cause },
    })
}

/// Checks what an open database holds and reads what is kept in memory.
fn load(opened: Opened, log: LogFile, path: &Path, channel: &ChannelId, options: Options) -> Result<Ledger, OpenError> {
    let damaged = |cause| OpenError::Damaged { path: path.to_owned(), cause };
    let db = opened.handle();
    db.read(|db| Ok(check_identity(db, path, channel))).map_err(damaged)??;
    let horizon = db.read(Horizon::load).map_err(damaged)?;
    let last = db.read(|db| load_last(db, horizon.as_ref())).map_err(damaged)?;
    let pending = db.read(|db| PendingLog::open(log, pending_key(db)?, stored_floor(db)?)).map_err(damaged)?;
    let height = last.number().0 + 1;
    let cache = options.blocks.clone().unwrap_or_else(|| BlockCache::new(options.block_bytes));
    Ok(Ledger {
        channel: channel.clone(),
        path: path.to_owned(),
        database: DatabaseSlot::new(path, options.page_cache_bytes, options.open_databases.clone(), opened),
        options,
        horizon,
        writer: Mutex::new(Writer { pending, settled: false, failed: None }),
        newest: RwLock::new(RecentBlocks::new(&last)),
        cached: CachedBlocks::of(&cache),
        heights: watch::Sender::new(height),
        write_lock: std::sync::Arc::default(),
    })
}

fn load_last(db: Reader<'_>, horizon: Option<&Horizon>) -> Result<EncodedBlock, LedgerError> {
    let number = last_number(db)?.ok_or_else(|| LedgerError::Layout("there is no block".to_owned()))?;
    let first = horizon.map_or(0, |horizon| horizon.number.0);
    let last = read_block(db, BLOCKS, number)?;
    let mut block = last.clone();
    for before in (number.0.saturating_sub(CHECKED_AT_OPEN - 1).max(first)..number.0).rev() {
        let previous = read_block(db, BLOCKS, BlockNumber(before))?;
        check_link(&previous, &block)?;
        block = previous;
    }
    // with the first block and the last one there, a hole between them would take more than an accident
    let missing = |number| Err(LedgerError::Layout(format!("block {number} is missing")));
    if db.begin_read()?.open_table(BLOCKS)?.get((first, 0))?.is_none() {
        return missing(first);
    }
    if horizon.is_some() {
        let kept = db.begin_read()?.open_table(HISTORY)?;
        // the first configuration, and the one in force
        for config in [0, last.last_config().0] {
            if config < first && kept.get((config, 0))?.is_none() {
                return missing(config);
            }
        }
    }
    Ok(last)
}

fn pending_key(db: Reader<'_>) -> Result<SealKey, LedgerError> {
    let key = db.begin_read()?.open_table(IDENTITY)?.get(PENDING_KEY_KEY)?;
    let key = key.and_then(|key| key.value().try_into().ok());
    key.map(SealKey).ok_or_else(|| LedgerError::Layout("the key of the pending log is missing".to_owned()))
}

fn check_identity(db: Reader<'_>, path: &Path, channel: &ChannelId) -> Result<(), OpenError> {
    let foreign = |found: &str| OpenError::Foreign { path: path.to_owned(), found: found.to_owned() };
    let damaged = |cause: LedgerError| OpenError::Damaged { path: path.to_owned(), cause };
    let tx = db.begin_read().map_err(|e| damaged(e.into()))?;
    let identity = match tx.open_table(IDENTITY) {
        Ok(table) => table,
        Err(TableError::Storage(e)) => return Err(damaged(e.into())),
        Err(_) => return Err(foreign("a redb file of another program")),
    };
    let value = |key| -> Result<Vec<u8>, OpenError> {
        let value = identity.get(key).map_err(|e: StorageError| damaged(e.into()))?;
        Ok(value.map(|v| v.value().to_vec()).unwrap_or_default())
    };
    if value(MAGIC_KEY)? != MAGIC {
        return Err(foreign("a redb file of another program"));
    }
    let format = decode_number("the format", &value(FORMAT_KEY)?).map_err(damaged)?;
    match u32::try_from(format) {
        Ok(FORMAT_WHOLE | FORMAT) => {}
        Ok(found @ 1..) if found > FORMAT => {
            return Err(OpenError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        _ => return Err(damaged(LedgerError::Layout(format!("there is no format {format}")))),
    }
    let found = value(CHANNEL_KEY)?;
    if found != channel.as_str().as_bytes() {
        return Err(OpenError::OtherChannel {
            path: path.to_owned(),
            expected: channel.clone(),
            found: String::from_utf8_lossy(&found).into_owned(),
        });
    }
    Ok(())
}
