//! `orderer ledger export`.

use std::path::{Path, PathBuf};

use orderer_actors::ledger_provider::LedgerProvider;
use orderer_core::types::ChannelId;
use orderer_ledger::Ledger;
use orderer_ledger::transfer::BlockFileWriter;

use super::backup::copy;
use super::node::{NodeArguments, RemoteNode};
use super::raft::export_log;
use super::{LedgerLocation, Ledgers, channels, list, size, store};
use crate::commands::progress::Progress;
use orderer_core::counted::counted;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["to", "to_fabric"]))]
pub struct ExportArguments {
    #[command(flatten)]
    pub place: LedgerLocation,
    #[command(flatten)]
    pub node: NodeArguments,
    /// Channel to export; with --to-fabric several or, by default, all
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// Write the blocks of one channel to this file
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Write a ledger folder for Fabric's orderer, which builds its index at startup
    #[arg(long, value_name = "DIR")]
    to_fabric: Option<PathBuf>,
}

pub(super) fn export(arguments: &ExportArguments, place: &Ledgers) -> anyhow::Result<()> {
    let store = store(place)?;
    let channels = channels(&store, &arguments.channel)?;
    if let Some(file) = &arguments.to {
        let [id] = &channels[..] else {
            anyhow::bail!("a file holds one channel's blocks; name it by --channel: there are {}", list(&channels));
        };
        return write(&store, id, || Ok(BlockFileWriter::plain(file)?));
    }
    let Some(folder) = &arguments.to_fabric else { return Ok(()) };
    check_new(folder)?;
    for id in &channels {
        check_not_pruned(id, store.open(id)?.horizon().0)?;
    }
    for id in &channels {
        write(&store, id, || Ok(BlockFileWriter::fabric(folder, id.as_str())?))?;
        let ledger = store.open(id)?;
        export_log(&ledger, folder)?;
        name_pending(&ledger)?;
    }
    Ok(())
}

/// Prints how many acknowledged envelopes the exported ledger lacks: those in no block have no place in Fabric's ledger.
fn name_pending(ledger: &Ledger) -> anyhow::Result<()> {
    let pending = ledger.pending()?.len() as u64;
    if pending > 0 {
        say!(
            "  WITHOUT {} that this orderer acknowledged, in no block yet: Fabric's orderer would never order them (start \
             this orderer again until `orderer ledger stats` shows none pending, then export to a new directory)",
            counted(pending, "envelope")
        );
    }
    Ok(())
}

/// Exports chains of a running node.
pub(super) fn export_node(arguments: &ExportArguments) -> anyhow::Result<()> {
    let address = arguments.node.from_node.as_deref().unwrap_or_default();
    let mut node = RemoteNode::connect(address, &arguments.node.tls)?;
    let chains = node.chains(&arguments.channel)?;
    if let Some(file) = &arguments.to {
        let [chain] = &chains[..] else {
            let there: Vec<ChannelId> = chains.into_iter().map(|chain| chain.channel).collect();
            anyhow::bail!("a file holds one channel's blocks; name it by --channel: there are {}", list(&there));
        };
        return copy(&mut node, chain, BlockFileWriter::plain(file)?, file);
    }
    let Some(folder) = &arguments.to_fabric else { return Ok(()) };
    check_new(folder)?;
    for chain in &chains {
        check_not_pruned(&chain.channel, chain.horizon)?;
    }
    for chain in &chains {
        copy(&mut node, chain, BlockFileWriter::fabric(folder, chain.channel.as_str())?, folder)?;
    }
    Ok(())
}

/// Rejects the directory of an orderer that has run: its index would not know the new files and would not be rebuilt.
fn check_new(folder: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !folder.join("index").exists(),
        "{}: is the ledger folder of an orderer that has run; choose another",
        folder.display()
    );
    Ok(())
}

fn check_not_pruned(channel: &ChannelId, horizon: u64) -> anyhow::Result<()> {
    anyhow::ensure!(
        horizon == 0,
        "channel {channel}: its blocks before {horizon} were pruned, and Fabric's orderer needs them; import them from \
         another orderer, or export to a plain file"
    );
    Ok(())
}

fn write(
    store: &LedgerProvider,
    id: &ChannelId,
    open: impl FnOnce() -> anyhow::Result<BlockFileWriter>,
) -> anyhow::Result<()> {
    let ledger = store.open(id)?;
    let mut writer = open()?;
    let (horizon, height) = (ledger.horizon().0, ledger.height());
    let kept = ledger.history()?.len() as u64;
    let mut progress = Progress::of(format!("exporting {id}"), kept + height - horizon);
    let (mut blocks, mut bytes) = (0, 0);
    ledger.for_all(&mut |block| {
        writer.write(block)?;
        blocks += 1;
        bytes += block.size_bytes() as u64;
        progress.at(blocks);
        Ok::<_, anyhow::Error>(())
    })?;
    writer.finish()?;
    drop(progress);
    let before = if horizon == 0 { String::new() } else { format!(" behind {}", counted(kept, "config block")) };
    say!("{id}: {} exported, {horizon} to {}{before}, {}", counted(blocks, "block"), height - 1, size(bytes));
    Ok(())
}
