//! `orderer ledger prune`.

use anyhow::Context as _;
use orderer_core::types::BlockNumber;
use orderer_ledger::PruneStep;

use super::{LedgerLocation, Ledgers, channels, store};
use crate::commands::progress::Progress;
use orderer_core::counted::counted;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("horizon").required(true).args(["before", "keep"]))]
pub struct PruneArguments {
    #[command(flatten)]
    pub place: LedgerLocation,
    /// The channel
    #[arg(long, value_name = "NAME")]
    channel: String,
    /// Remove the blocks before this one
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// Keep this number of the newest blocks
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
}

pub(super) fn prune(arguments: &PruneArguments, place: &Ledgers) -> anyhow::Result<()> {
    let store = store(place)?;
    let ids = channels(&store, std::slice::from_ref(&arguments.channel))?;
    let id = ids.first().context("no channel")?;
    let mut ledger = store.open(id)?;
    let was = ledger.horizon();
    let horizon = match (arguments.before, arguments.keep) {
        (Some(before), _) => BlockNumber(before),
        (None, keep) => BlockNumber(ledger.height().saturating_sub(keep.unwrap_or(u64::MAX))).max(was),
    };
    let total = horizon.0.saturating_sub(was.0);
    let (mut checking, mut removing) =
        (Progress::of(format!("checking {id}"), total), Progress::of(format!("pruning {id}"), total));
    let removed = ledger.prune(horizon, &mut |step| match step {
        PruneStep::Checked(done) => checking.at(done),
        PruneStep::Removed(done) => removing.at(done),
    })?;
    drop((checking, removing));
    let kept = ledger.history()?.len();
    ledger.close()?;
    say!(
        "{id}: {} removed, the chain begins at block {horizon} now; config blocks kept before it: {kept}",
        counted(removed, "block")
    );
    if removed > 0 {
        say!("to give their space back: orderer ledger compact --channel {id}");
    }
    Ok(())
}
