//! Reads the channel configurations that a check examines: from a block file, or from the ledgers of a stopped node.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::chain_state::load_snapshot;
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_ledger::Ledger;
use orderer_localconfig::settings::Settings;

/// Reads the configuration from a file with a config block.
pub(super) fn read_block(file: &Path, catalog: &Arc<ConfigCache>) -> anyhow::Result<ChannelSnapshot> {
    let block = EncodedBlock::parse(&std::fs::read(file)?)?;
    Ok(ChannelSnapshot::from_config_block(&block.decode(), catalog)?)
}

/// Opens the ledger of each channel, or only that of the channel `wanted`, and collects the results of `read` with the
/// ledger and the configuration in force. `hint` is the advice in the error for a missing directory.
pub(super) fn of_ledgers<T>(
    settings: &Settings,
    wanted: Option<&str>,
    hint: &'static str,
    catalog: &Arc<ConfigCache>,
    read: impl Fn(&Ledger, ChannelSnapshot) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let location = &settings.ledger_location;
    anyhow::ensure!(location.is_dir(), "FileLedger.Location {}: no such folder; {hint}", location.display());
    let store = LedgerProvider::new(location, BlockCacheConfig { bytes: 0 })?;
    let mut found = Vec::new();
    for id in store.list()? {
        if wanted.is_none_or(|wanted| id.as_str() == wanted) {
            let ledger = store.open(&id).context("give --block while the node runs")?;
            let snapshot = load_snapshot(&ledger, catalog)?;
            found.push(read(&ledger, snapshot)?);
        }
    }
    Ok(found)
}
