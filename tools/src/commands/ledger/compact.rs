//! `orderer ledger compact`.

use super::{LedgerLocation, Ledgers, channels, size, store};
use crate::commands::progress::spinner;

#[derive(Debug, clap::Args)]
pub struct CompactArguments {
    #[command(flatten)]
    pub place: LedgerLocation,
    /// Only these channels; otherwise all
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
}

pub(super) fn compact(arguments: &CompactArguments, place: &Ledgers) -> anyhow::Result<()> {
    let store = store(place)?;
    for id in channels(&store, &arguments.channel)? {
        let ledger = store.open(&id)?;
        let sign_of_life = spinner(format!("compacting {id}"));
        let compacted = ledger.compact()?;
        ledger.close()?;
        drop(sign_of_life);
        say!("{id}: {} on the disk before, {} now", size(compacted.before_bytes), size(compacted.after_bytes));
    }
    Ok(())
}
