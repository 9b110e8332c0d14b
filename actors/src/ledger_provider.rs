//! The channels' ledgers, in `<location>/channels/<channel>/ledger.redb`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orderer_core::block::EncodedBlock;
use orderer_core::config::ConfigCache;
use orderer_core::types::ChannelId;
use orderer_ledger::transfer::{Import, Imported, TransferError};
use orderer_ledger::{BlockCache, Ledger, OpenDatabases, OpenError, Options};

/// Name of the folder with a folder a channel.
const CHANNELS: &str = "channels";
/// Name of the file in a channel's folder. A channel's name alone may fill what a file system allows a name.
const LEDGER_FILE: &str = "ledger.redb";

/// Name of the file with the block that a channel was joined with, as long as the blocks before it are not all there.
const JOIN_BLOCK_FILE: &str = "join.block";

/// A channel's folder gets this before its name when it is to be removed: from then on it is none.
const REMOVED_PREFIX: &str = ".removed.";

/// A ledger that is being imported is in a folder with this before its channel's name.
const IMPORTED_PREFIX: &str = ".importing.";

/// Maximum length of a file name, in bytes.
const MAX_FILE_NAME_BYTES: usize = 255;

/// Memory for pages of all ledgers' databases together. One ledger gains nothing from more than
/// [`MAX_PAGE_CACHE_BYTES`], since new blocks are kept elsewhere. With next to nothing a commit of fifty blocks takes
/// 3.8 ms instead of 2.1: better than to keep, for each of a thousand channels, what was read when it was opened.
const PAGE_CACHES_BYTES: usize = 4 << 20;
const MAX_PAGE_CACHE_BYTES: usize = 4 << 20;

/// Number of databases that stay open while nobody uses them: some 50 kB each, besides the pages. The databases of all other channels are
/// closed; to open one costs half a millisecond and a sync.
const MAX_IDLE_DATABASES: usize = 64;

/// Memory limit of cached blocks.
#[derive(Clone, Copy, Debug)]
pub struct BlockCacheConfig {
    /// Maximum size of blocks of all channels that were written or read lately, in bytes.
    pub bytes: usize,
}

/// The reason why the directory of ledgers cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct LedgerProviderError {
    /// The operation that failed.
    pub action: &'static str,
    /// The file or directory of the operation.
    pub path: PathBuf,
    /// The operating system's error.
    #[source]
    pub cause: io::Error,
}

/// Says, while it is held, that channels come and go by this process alone.
#[derive(Debug)]
pub struct LedgerDirLock {
    _folder: File,
}

/// The folder of ledgers.
#[derive(Clone, Debug)]
pub struct LedgerProvider {
    channels: PathBuf,
    blocks: BlockCache,
    open_databases: OpenDatabases,
    /// Number of ledgers, which share the memory for pages.
    count: Arc<AtomicUsize>,
}

impl LedgerProvider {
    /// Uses the directory `location`, which is created if it does not exist. Performs blocking I/O.
    pub fn new(location: &Path, block_caches: BlockCacheConfig) -> Result<Self, LedgerProviderError> {
        let channels = location.join(CHANNELS);
        let failed =
            |cause| LedgerProviderError { action: "make the folder of ledgers", path: channels.clone(), cause };
        make_folder(&channels).map_err(failed)?;
        remove_leftovers(&channels, REMOVED_PREFIX).map_err(failed)?;
        let blocks = BlockCache::new(block_caches.bytes);
        let open_databases = OpenDatabases::new(MAX_IDLE_DATABASES);
        let store = Self { channels, blocks, open_databases, count: Arc::default() };
        store.count.store(store.list()?.len(), Ordering::Relaxed);
        Ok(store)
    }

    /// Uses the ledgers in the directory `location`, if there are any, to read them: nothing is created or removed.
    pub fn read_only(location: &Path) -> Self {
        let (blocks, open_databases) = (BlockCache::new(0), OpenDatabases::new(MAX_IDLE_DATABASES));
        Self { channels: location.join(CHANNELS), blocks, open_databases, count: Arc::default() }
    }

    /// The blocks of all channels that are in memory.
    pub fn block_cache(&self) -> &BlockCache {
        &self.blocks
    }

    /// The databases of all channels that are open.
    pub fn open_databases(&self) -> &OpenDatabases {
        &self.open_databases
    }

    /// Keeps other processes from adding channels, and removes what an interrupted import has left. Performs blocking I/O.
    ///
    /// # Errors
    /// Another process has locked the directory, or the operating system reports an error.
    pub fn lock(&self) -> Result<LedgerDirLock, LedgerProviderError> {
        let failed = |action, cause| LedgerProviderError { action, path: self.channels.clone(), cause };
        let folder = File::open(&self.channels).map_err(|cause| failed("open the folder of ledgers", cause))?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let used =
                    io::Error::new(io::ErrorKind::ResourceBusy, "in use by another orderer; stop that one first");
                return Err(failed("lock the folder of ledgers", used));
            }
            Err(TryLockError::Error(cause)) => return Err(failed("lock the folder of ledgers", cause)),
        }
        remove_leftovers(&self.channels, IMPORTED_PREFIX)
            .map_err(|cause| failed("remove what is left of an import in", cause))?;
        Ok(LedgerDirLock { _folder: folder })
    }

    /// Begins an import: the ledger is created in a directory that belongs to no channel yet. Performs blocking I/O.
    pub fn import(
        &self,
        _lock: &LedgerDirLock,
        channel: &ChannelId,
        source: &Path,
        catalog: &Arc<ConfigCache>,
    ) -> Result<Import, TransferError> {
        let folder = self.channels.join(marked(IMPORTED_PREFIX, channel));
        Import::begin(&folder, LEDGER_FILE, source, channel, catalog, self.options())
    }

    /// Ends an import: the channel exists when this returns. Performs blocking I/O.
    pub fn imported(&self, import: Import, channel: &ChannelId) -> Result<Imported, TransferError> {
        let imported = import.finish(&self.channels.join(channel.as_str()))?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(imported)
    }

    fn options(&self) -> Options {
        let open = self.count.load(Ordering::Relaxed).clamp(1, self.open_databases.max_idle());
        let share = PAGE_CACHES_BYTES / open;
        Options {
            blocks: Some(self.blocks.clone()),
            block_bytes: 0,
            page_cache_bytes: share.min(MAX_PAGE_CACHE_BYTES),
            open_databases: Some(self.open_databases.clone()),
        }
    }

    /// Lists the channels that have a ledger here. A directory without a ledger is what a crash leaves of a channel that was
    /// being created; it is no channel yet. Performs blocking I/O.
    pub fn list(&self) -> Result<Vec<ChannelId>, LedgerProviderError> {
        let failed =
            |cause| LedgerProviderError { action: "list the folder of ledgers", path: self.channels.clone(), cause };
        let mut channels = Vec::new();
        for entry in fs::read_dir(&self.channels).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            match name.to_str().map(ChannelId::parse) {
                Some(Ok(channel)) if self.path(&channel).exists() => channels.push(channel),
                _ => tracing::debug!(target: "orderer.ledger", path = %entry.path().display(), "no ledger in folder"),
            }
        }
        channels.sort();
        Ok(channels)
    }

    /// Opens a channel's ledger. Performs blocking I/O.
    pub fn open(&self, channel: &ChannelId) -> Result<Ledger, OpenError> {
        Ledger::open(&self.path(channel), channel, self.options())
    }

    /// Creates the ledger of a new channel. Performs blocking I/O.
    pub fn create(&self, channel: &ChannelId, genesis: &EncodedBlock) -> Result<Ledger, OpenError> {
        let path = self.path(channel);
        let folder = path.parent().unwrap_or(&self.channels);
        let made = fs::create_dir_all(folder).and_then(|()| File::open(&self.channels)?.sync_all());
        made.map_err(|cause| OpenError::Io { path: folder.to_owned(), action: "make the channel's folder", cause })?;
        let ledger = Ledger::create(&path, channel, genesis, self.options())?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(ledger)
    }

    /// Removes a channel's directory. A crash leaves it there whole, or not at all. A holder of the open ledger can go on
    /// reading it; its space on the disk is free when the last of them is gone. Performs blocking I/O.
    pub fn remove(&self, channel: &ChannelId) -> Result<(), LedgerProviderError> {
        let folder = self.channels.join(channel.as_str());
        let removed = self.channels.join(marked(REMOVED_PREFIX, channel));
        let gone = || -> io::Result<()> {
            if removed.exists() {
                fs::remove_dir_all(&removed)?;
            }
            fs::rename(&folder, &removed)?;
            File::open(&self.channels)?.sync_all()
        };
        gone().map_err(|cause| LedgerProviderError {
            action: "remove the channel's folder",
            path: folder.clone(),
            cause,
        })?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = fs::remove_dir_all(&removed) {
            tracing::warn!(target: "orderer.ledger", path = %removed.display(), %error,
                "failed to remove the remains of a channel; retrying at the next start");
        }
        Ok(())
    }

    /// Creates the ledger of a channel that was joined with a later block than its first, which is stored beside the
    /// ledger. Performs blocking I/O.
    pub fn create_joined(
        &self,
        channel: &ChannelId,
        genesis: &EncodedBlock,
        joined_with: &EncodedBlock,
    ) -> Result<Ledger, OpenError> {
        let path = self.join_block(channel);
        let io = |action| {
            let path = path.clone();
            move |cause| OpenError::Io { path, action, cause }
        };
        let folder = path.parent().unwrap_or(&self.channels);
        fs::create_dir_all(folder).map_err(io("make the channel's folder"))?;
        // before the ledger: without one there is no channel
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&joined_with.block_bytes())?;
            file.sync_all()?;
            File::open(folder)?.sync_all()
        });
        written.map_err(io("write the block that the channel is joined with"))?;
        self.create(channel, genesis)
    }

    /// The file of the block that a channel was joined with; it is there as long as blocks before that one are missing.
    pub fn join_block(&self, channel: &ChannelId) -> PathBuf {
        self.channels.join(channel.as_str()).join(JOIN_BLOCK_FILE)
    }

    /// The folder of the channels' folders.
    pub fn folder(&self) -> &Path {
        &self.channels
    }

    /// The file of a channel's ledger.
    pub fn path(&self, channel: &ChannelId) -> PathBuf {
        self.channels.join(channel.as_str()).join(LEDGER_FILE)
    }
}

/// A channel's name behind something that makes it none; its end is missing if there is no room for it.
fn marked(prefix: &str, channel: &ChannelId) -> String {
    // of ASCII: may be cut anywhere
    let mut name = format!("{prefix}{channel}");
    name.truncate(MAX_FILE_NAME_BYTES);
    name
}

/// Makes a folder, and those that are missing above it. A power cut leaves them there: nothing that is synced within a folder
/// is found again if the folder is not.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made?,
    }
    File::open(above)?.sync_all()
}

/// Removes what an interrupted removal or import left.
fn remove_leftovers(channels: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(channels)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(prefix)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(target: "orderer.ledger", path = %path.display(), %error, "failed to remove the remains of a channel");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderer_core::types::MAX_CHANNEL_ID_BYTES;

    const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/net");

    fn store() -> (tempfile::TempDir, LedgerProvider) {
        let folder = tempfile::tempdir().unwrap();
        let store = LedgerProvider::new(folder.path(), BlockCacheConfig { bytes: 0 }).unwrap();
        (folder, store)
    }

    fn genesis() -> EncodedBlock {
        EncodedBlock::parse(&fs::read(Path::new(NET).join("AppSolo.block")).unwrap()).unwrap()
    }

    #[test]
    fn a_channel_of_the_longest_name_is_made_removed_and_imported() {
        let (_folder, store) = store();
        let channel = ChannelId::parse(&"x".repeat(MAX_CHANNEL_ID_BYTES)).unwrap();
        drop(store.create(&channel, &genesis()).expect("is made"));
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&channel));
        store.remove(&channel).expect("is removed");
        assert_eq!((store.list().unwrap(), fs::read_dir(&store.channels).unwrap().count()), (vec![], 0));
        let lock = store.lock().unwrap();
        store.import(&lock, &channel, Path::new("source"), &Arc::default()).expect("begins");
        drop(lock);
        drop(store.lock().unwrap());
        assert_eq!(fs::read_dir(&store.channels).unwrap().count(), 0);
    }

    #[test]
    fn what_a_crash_left_of_a_channel_that_was_being_made_is_in_no_imports_way() {
        let (_folder, store) = store();
        let channel = ChannelId::parse("app").unwrap();
        let path = store.path(&channel);
        fs::create_dir(path.parent().unwrap()).unwrap();
        for left in ["ledger.redb.new", "ledger.pending"] {
            fs::write(path.with_file_name(left), "half").unwrap();
        }
        let import = |store: &LedgerProvider| {
            let lock = store.lock().unwrap();
            let mut import = store.import(&lock, &channel, Path::new("source"), &Arc::default()).unwrap();
            import.push(genesis()).unwrap();
            store.imported(import, &channel)
        };
        assert_eq!(import(&store).expect("is imported").blocks, 1);
        assert_eq!(store.open(&channel).expect("opens").height(), 1);
        assert!(import(&store).is_err(), "it is there");
        assert_eq!(store.open(&channel).expect("opens").height(), 1);
    }
}
