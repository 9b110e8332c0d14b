//! Where the channels' ledgers are: `<location>/channels/<channel>/ledger.redb`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use orderer_core::block::EncodedBlock;
use orderer_core::channel::ChannelId;
use orderer_ledger::{Ledger, OpenError, Options};

/// Name of the folder with a folder a channel.
const CHANNELS: &str = "channels";
/// Name of the file in a channel's folder. A channel's name alone may fill what a file system allows a name.
const LEDGER_FILE: &str = "ledger.redb";

/// Why the folder of ledgers is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct LedgersError {
    /// What was tried.
    pub action: &'static str,
    /// With what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub cause: io::Error,
}

/// The folder of ledgers.
#[derive(Clone, Debug)]
pub struct LedgerStore {
    channels: PathBuf,
    options: Options,
}

impl LedgerStore {
    /// Uses the folder `location`, which is made if it does not exist. Blocks.
    pub fn new(location: &Path, options: Options) -> Result<Self, LedgersError> {
        let channels = location.join(CHANNELS);
        let failed = |cause| LedgersError { action: "make the folder of ledgers", path: channels.clone(), cause };
        fs::create_dir_all(&channels).map_err(failed)?;
        Ok(Self { channels, options })
    }

    /// The channels that have a ledger here. A folder without a ledger is what a crash leaves of a channel that was
    /// being created; it is no channel yet. Blocks.
    pub fn list(&self) -> Result<Vec<ChannelId>, LedgersError> {
        let failed = |cause| LedgersError { action: "list the folder of ledgers", path: self.channels.clone(), cause };
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

    /// Opens a channel's ledger. Blocks.
    pub fn open(&self, channel: &ChannelId) -> Result<Ledger, OpenError> {
        Ledger::open(&self.path(channel), channel, self.options)
    }

    /// Makes the ledger of a new channel. Blocks.
    pub fn create(&self, channel: &ChannelId, genesis: &EncodedBlock) -> Result<Ledger, OpenError> {
        let path = self.path(channel);
        let folder = path.parent().unwrap_or(&self.channels);
        let made = fs::create_dir_all(folder).and_then(|()| File::open(&self.channels)?.sync_all());
        made.map_err(|cause| OpenError::Io { path: folder.to_owned(), action: "make the channel's folder", cause })?;
        Ledger::create(&path, channel, genesis, self.options)
    }

    /// The file of a channel's ledger.
    pub fn path(&self, channel: &ChannelId) -> PathBuf {
        self.channels.join(channel.as_str()).join(LEDGER_FILE)
    }
}
