//! `orderer ledger import`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerDirLock, LedgerProvider};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, ConfigCache, ConsenterKind};
use orderer_core::ordering::kafka::LastBlock;
use orderer_core::types::{BlockNumber, ChannelId};
use orderer_ledger::transfer::{BlockFileSummary, BlockReader, TransferError};

use super::backup::ENDING;
use super::raft::{FabricLogs, import_log};
use super::{LedgerLocation, Ledgers, pruned, size};
use crate::commands::progress::Progress;
use orderer_core::counted::counted;

/// Paths in a Fabric orderer's ledger directory: the channels' directories, and the file that it locks while it runs.
const CHAINS: &str = "chains";
const INDEX_LOCK: &str = "index/LOCK";
/// Path with the channels that it was about to remove.
const REMOVED: &str = "pendingops/remove";

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["from", "from_fabric"]))]
pub struct ImportArguments {
    #[command(flatten)]
    pub place: LedgerLocation,
    /// File with the blocks of one channel, written by `export`, or folder with such files, written by `backup`
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Ledger folder of a Fabric orderer, which must not run
    #[arg(long, value_name = "DIR")]
    from_fabric: Option<PathBuf>,
    /// Consensus.WALDir of that orderer [default: etcdraft/wal in its ledger folder]
    #[arg(long, value_name = "DIR", requires = "from_fabric")]
    pub(super) wal: Option<PathBuf>,
    /// Consensus.SnapDir of that orderer [default: etcdraft/snapshot in its ledger folder]
    #[arg(long, value_name = "DIR", requires = "from_fabric")]
    pub(super) snapshots: Option<PathBuf>,
    /// Import only these channels of the Fabric orderer [default: all]
    #[arg(long, value_name = "NAME", requires = "from_fabric")]
    channel: Vec<String>,
}

/// A channel to import, with everything that is known of it before anything is created.
struct Chain {
    channel: ChannelId,
    reader: BlockReader,
    survey: BlockFileSummary,
}

pub(super) fn import(arguments: &ImportArguments, place: &Ledgers) -> anyhow::Result<()> {
    let catalog = Arc::<ConfigCache>::default();
    let (chains, _source_lock) = match (&arguments.from, &arguments.from_fabric) {
        (Some(path), _) if path.is_dir() => {
            let chains = backed_up(path)?.into_iter().map(|file| in_file(&file, &catalog));
            (chains.collect::<anyhow::Result<Vec<_>>>()?, None)
        }
        (Some(file), _) => (vec![in_file(file, &catalog)?], None),
        (None, Some(folder)) => {
            let lock = lock_source(folder)?;
            (chains_in(folder, &arguments.channel, &catalog)?, lock)
        }
        (None, None) => return Ok(()),
    };
    let store = LedgerProvider::new(&place.location, BlockCacheConfig { bytes: 0 })?;
    let lock = store.lock()?;
    // a command for several channels can be repeated after an interruption
    let repeatable = arguments.from.as_deref().is_none_or(Path::is_dir);
    let logs = arguments.from_fabric.as_deref().map(|folder| FabricLogs::of(folder, arguments));
    let mut missing = Vec::new();
    for chain in chains {
        if !store.list()?.contains(&chain.channel) {
            missing.push(chain);
        } else if repeatable && has_already(&store, &chain)? {
            say!("{}: is here already, with all {}", chain.channel, counted(chain.survey.blocks, "block"));
            import_log(&store, &chain.channel, logs.as_ref(), place, &catalog)?;
        } else {
            anyhow::bail!(
                "channel {}: has a ledger in {} already; to import it, remove the channel or move that folder away",
                chain.channel,
                place.location.display()
            );
        }
    }
    for chain in missing {
        let channel = chain.channel.clone();
        make(&store, &lock, chain, place, &catalog)?;
        import_log(&store, &channel, logs.as_ref(), place, &catalog)?;
    }
    Ok(())
}

/// Returns the files of a backup.
fn backed_up(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // a name that begins with a dot is that of a file that is not complete
        if name.ends_with(ENDING) && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{}: there is no file NAME{ENDING} in it, as `backup` writes", folder.display());
    Ok(files)
}

/// Surveys a file with the blocks of one channel.
fn in_file(file: &Path, catalog: &Arc<ConfigCache>) -> anyhow::Result<Chain> {
    let survey = BlockReader::plain(file).survey()?;
    let channel = channel_of(&survey, file, catalog)?;
    Ok(Chain { channel, reader: BlockReader::plain(file), survey })
}

/// Returns the channel that the first block creates.
fn channel_of(survey: &BlockFileSummary, source: &Path, catalog: &Arc<ConfigCache>) -> anyhow::Result<ChannelId> {
    let first = &survey.first;
    anyhow::ensure!(
        first.number() == BlockNumber::GENESIS,
        "{}: begins with block {}; a chain begins with block 0, also one that was pruned; export it again",
        source.display(),
        first.number()
    );
    let snapshot = ChannelSnapshot::from_config_block(&first.decode(), catalog);
    Ok(snapshot.with_context(|| format!("{}: block 0", source.display()))?.channel().clone())
}

/// Locks the index, so that a Fabric orderer cannot start meanwhile.
fn lock_source(folder: &Path) -> anyhow::Result<Option<File>> {
    let path = folder.join(INDEX_LOCK);
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| path.display().to_string())?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("{}: in use by a running orderer; stop that one first", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn chains_in(folder: &Path, named: &[String], catalog: &Arc<ConfigCache>) -> anyhow::Result<Vec<Chain>> {
    let chains = folder.join(CHAINS);
    anyhow::ensure!(
        chains.is_dir(),
        "{}: no ledger folder of a Fabric orderer: there is no folder {CHAINS} in it",
        folder.display()
    );
    let mut names = Vec::new();
    for entry in fs::read_dir(&chains).with_context(|| chains.display().to_string())? {
        let entry = entry.with_context(|| chains.display().to_string())?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    for name in named {
        anyhow::ensure!(
            names.contains(name),
            "channel {name}: not in {}; there are {}",
            chains.display(),
            names.join(", ")
        );
    }
    names.retain(|name| named.is_empty() || named.contains(name));
    let mut found = Vec::new();
    for name in names {
        if folder.join(REMOVED).join(format!("{name}.remove")).exists() {
            say!("{name}: left out, it was being removed");
            continue;
        }
        let path = chains.join(&name);
        let survey = match BlockReader::fabric(&path)?.survey() {
            Err(TransferError::Empty { .. }) => {
                say!("{name}: left out, it has no block; join the channel anew");
                continue;
            }
            survey => survey?,
        };
        let channel = channel_of(&survey, &path, catalog)?;
        anyhow::ensure!(channel.as_str() == name, "{}: holds channel {channel}", path.display());
        found.push(Chain { channel, reader: BlockReader::fabric(&path)?, survey });
    }
    Ok(found)
}

/// Returns whether a channel's ledger has all the blocks to import, as after an import that was interrupted.
fn has_already(store: &LedgerProvider, chain: &Chain) -> anyhow::Result<bool> {
    let ledger = store.open(&chain.channel)?;
    let same = |wanted: &EncodedBlock| -> anyhow::Result<bool> {
        let block = ledger.block(wanted.number())?;
        Ok(block.is_some_and(|block| block.header_hash() == wanted.header_hash()))
    };
    Ok(same(&chain.survey.first)? && same(&chain.survey.last)?)
}

fn make(
    store: &LedgerProvider,
    lock: &LedgerDirLock,
    chain: Chain,
    place: &Ledgers,
    catalog: &Arc<ConfigCache>,
) -> anyhow::Result<()> {
    let Chain { channel, mut reader, survey } = chain;
    let mut import = store.import(lock, &channel, reader.path(), catalog)?;
    let mut progress = Progress::of_bytes(format!("importing {channel}"), survey.bytes);
    while let Some(block) = reader.next()? {
        if reader.may_be_pruned() {
            import.push_kept(block)?;
        } else {
            import.push(block)?;
        }
        progress.at(reader.read_bytes());
    }
    let imported = store.imported(import, &channel)?;
    drop(progress);
    say!(
        "{channel}: {}, {} with a configuration, {} imported{}",
        counted(imported.blocks, "block"),
        imported.config_blocks,
        size(survey.bytes),
        pruned(imported.horizon.0)
    );
    if let Some(torn) = reader.torn() {
        say!(
            "  {} ends within a block that was not wholly written, as after a crash: {} left out",
            torn.path.display(),
            counted(torn.bytes, "byte")
        );
    }
    match place.consensus_mapping.engine(&imported.snapshot) {
        Ok(ConsenterKind::Kafka { .. }) => {
            let next = LastBlock::parse(&imported.last)?.metadata.last_offset_persisted.next();
            say!("  continues with the record at offset {} of its topic", next.0);
        }
        Ok(ConsenterKind::Solo | ConsenterKind::Raft) => {}
        Err(not_served) => say!("  can be read, but cannot continue here: {not_served}"),
    }
    Ok(())
}
