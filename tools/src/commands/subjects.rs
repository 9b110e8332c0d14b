//! The channels that a check looks at: of a block in a file, or of the ledgers of a node that does not run.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::chain_state::load_snapshot;
use orderer_actors::ledgers::{BlockCaches, LedgerStore};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{Catalog, ChannelSnapshot};
use orderer_ledger::Ledger;
use orderer_localconfig::settings::Settings;

/// The configuration in a config block.
pub(super) fn read_block(file: &Path, catalog: &Arc<Catalog>) -> anyhow::Result<ChannelSnapshot> {
    let block = EncodedBlock::parse(&std::fs::read(file)?)?;
    Ok(ChannelSnapshot::from_config_block(&block.decode(), catalog)?)
}

/// What `read` finds in each ledger on the disk and the configuration in force, of one channel if one is wanted. `hint` says what else
/// can be given.
pub(super) fn of_ledgers<T>(
    settings: &Settings,
    wanted: Option<&str>,
    hint: &'static str,
    catalog: &Arc<Catalog>,
    read: impl Fn(&Ledger, ChannelSnapshot) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let location = &settings.ledger_location;
    anyhow::ensure!(location.is_dir(), "FileLedger.Location {}: no such folder; {hint}", location.display());
    let store = LedgerStore::new(location, BlockCaches { bytes: 0 })?;
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
