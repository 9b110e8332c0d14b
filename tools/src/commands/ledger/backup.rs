//! `orderer ledger backup`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use orderer_core::counted::counted;
use orderer_ledger::transfer::BlockFileWriter;

use super::node::{RemoteChain, RemoteNode, TlsArguments};
use super::{pruned, size};

/// Ending of the names of a backup's files, one for each channel.
pub(super) const ENDING: &str = ".blocks";

#[derive(Debug, clap::Args)]
pub struct BackupArguments {
    /// Admin endpoint of the node
    #[arg(long, value_name = "HOST:PORT")]
    from_node: String,
    #[command(flatten)]
    tls: TlsArguments,
    /// Folder for the files; existing files are not overwritten
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only these channels [default: all]
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
}

/// Writes a file for each channel, up to the height that it had when the command began.
pub(super) fn backup(arguments: &BackupArguments) -> anyhow::Result<()> {
    let mut node = RemoteNode::connect(&arguments.from_node, &arguments.tls)?;
    let chains = node.chains(&arguments.channel)?;
    std::fs::create_dir_all(&arguments.to).with_context(|| format!("create {}", arguments.to.display()))?;
    for chain in &chains {
        let file = arguments.to.join(format!("{}{ENDING}", chain.channel));
        copy(&mut node, chain, BlockFileWriter::plain(&file)?, &file)?;
    }
    if chains.is_empty() {
        say!("the node has no channels");
    }
    Ok(())
}

/// Copies a chain to a file or a directory, which appears when it is complete.
pub(super) fn copy(
    node: &mut RemoteNode,
    chain: &RemoteChain,
    mut writer: BlockFileWriter,
    to: &Path,
) -> anyhow::Result<()> {
    let report = node.read(chain, "copying", &mut |block| Ok(writer.write(block)?))?;
    writer.finish()?;
    let blocks = counted(report.blocks, "block");
    let (last, before) = (chain.height - 1, pruned(chain.horizon));
    say!(
        "{}: {blocks} verified and written, up to block {last}, {}{before}: {}",
        chain.channel,
        size(report.bytes),
        to.display()
    );
    Ok(())
}
