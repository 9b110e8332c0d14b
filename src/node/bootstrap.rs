//! Creates channels when a node starts: from the bootstrap file, and from genesis blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::ledger_provider::LedgerProvider;
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, ConfigCache, ConsensusMapping};

use crate::settings::{Bootstrap, Settings};

/// Rejection of a setting with which Fabric 1.4 creates the genesis block by itself.
pub(crate) const PROVISIONAL: &str =
    "General.GenesisMethod is provisional: no block is made from a profile at the start";
/// How to create that block here.
pub(crate) const PROVISIONAL_FIX: &str =
    "make the block with orderer genesis -profile PROFILE -outputBlock FILE, and name it in General.BootstrapFile";
/// Action for the operator when the file of the first channel does not exist.
pub(crate) const BOOTSTRAP_FIX: &str =
    "put the genesis block there, or set General.BootstrapMethod to none and let the node join channels";

/// Creates the channels of the given genesis blocks, if there are no channels yet.
pub(super) fn bootstrap(
    ledgers: &LedgerProvider,
    catalog: &Arc<ConfigCache>,
    settings: &Settings,
    genesis: &[PathBuf],
) -> anyhow::Result<()> {
    let existing = ledgers.list()?;
    let consensus_mapping = &settings.consensus_mapping;
    match &settings.bootstrap {
        Bootstrap::Nothing => {}
        _ if !existing.is_empty() => {
            tracing::info!(target: "orderer.node", channels = existing.len(), "bootstrap file was ignored: channels already exist");
        }
        Bootstrap::Provisional(_) => anyhow::bail!("{PROVISIONAL}: {PROVISIONAL_FIX}"),
        Bootstrap::File(file) => {
            let what = || format!("General.BootstrapFile {}", file.display());
            anyhow::ensure!(file.exists(), "{}: no such file: {BOOTSTRAP_FIX}", what());
            create(ledgers, catalog, consensus_mapping, file).with_context(what)?;
        }
    }
    for file in genesis {
        create(ledgers, catalog, consensus_mapping, file)
            .with_context(|| format!("genesis block {}", file.display()))?;
    }
    Ok(())
}

/// Reads the genesis block of a channel that this node would order.
pub fn read_genesis(
    file: &Path,
    catalog: &Arc<ConfigCache>,
    consensus_mapping: &ConsensusMapping,
) -> anyhow::Result<(EncodedBlock, ChannelSnapshot)> {
    let block = EncodedBlock::parse(&std::fs::read(file)?)?;
    anyhow::ensure!(block.number().0 == 0, "is block {}, not a genesis block", block.number());
    let snapshot = ChannelSnapshot::from_config_block(&block.decode(), catalog)?;
    snapshot.check_supported()?;
    consensus_mapping.engine(&snapshot)?;
    Ok((block, snapshot))
}

fn create(
    ledgers: &LedgerProvider,
    catalog: &Arc<ConfigCache>,
    consensus_mapping: &ConsensusMapping,
    file: &Path,
) -> anyhow::Result<()> {
    let (block, snapshot) = read_genesis(file, catalog, consensus_mapping)?;
    if ledgers.path(snapshot.channel()).exists() {
        return Ok(());
    }
    ledgers.create(snapshot.channel(), &block)?;
    tracing::info!(target: "orderer.node", channel = %snapshot.channel(), file = %file.display(), "channel created from its genesis block");
    Ok(())
}
