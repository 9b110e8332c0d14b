//! `orderer ledger`: commands on the ledgers of a stopped node; some also read from a running one.

mod backup;
mod compact;
mod export;
mod import;
mod node;
mod prune;
mod raft;
mod stats;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_core::config::ConsensusMapping;
use orderer_core::types::ChannelId;

use crate::commands::output::{done, ended, print_errors};
use orderer_localconfig::environment::{load_settings, variables};

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the command failed, or a ledger has an error
  2  the arguments are invalid";

/// Subcommands of `orderer ledger`.
#[derive(Debug, clap::Subcommand)]
pub enum LedgerCommand {
    /// Check every block: hashes, links, signatures under the configuration of its time, and the configurations
    ///
    /// Reports for each channel whether its chain is valid, and otherwise its first invalid block. With --from-node,
    /// the blocks come from a running node, up to the height that it has at the beginning.
    #[command(after_long_help = EXIT_CODES)]
    Verify(verify::VerifyArguments),
    /// Show the number and size of blocks, disk usage and age of each channel
    #[command(after_long_help = EXIT_CODES)]
    Stats(stats::StatsArguments),
    /// Export blocks to a file, or to a ledger folder for Fabric's orderer
    ///
    /// With --from-node, the blocks come from a running node and are verified. The file contains the serialized Block messages, each preceded by its length as a varint (length-delimited
    /// protobuf). For a pruned chain, the retained config blocks come first, so that the file can be verified and
    /// imported.
    #[command(after_long_help = EXIT_CODES)]
    Export(export::ExportArguments),
    /// Copy the chains of a running node to a folder, one file for each channel
    ///
    /// Verifies each block. The node continues to order meanwhile: it hands out one block at a time, and a chain is
    /// copied up to the height that it has at the beginning. `import --from DIR` restores the chains. Envelopes that are
    /// acknowledged and in no block yet, and Raft logs, are not copied.
    #[command(after_long_help = EXIT_CODES)]
    Backup(backup::BackupArguments),
    /// Import channels from exported blocks, or from a Fabric orderer's ledger folder
    ///
    /// Verifies each block while reading it. A channel appears only when all its blocks are imported. After an
    /// interruption, the same command imports the missing channels.
    #[command(after_long_help = EXIT_CODES)]
    Import(import::ImportArguments),
    /// Remove old blocks; config blocks stay, and the rest can still be verified
    ///
    /// Requests for removed blocks are answered with NOT_FOUND. The space becomes free inside the ledger's file;
    /// `compact` returns it to the file system.
    #[command(after_long_help = EXIT_CODES, override_usage = "orderer ledger prune --channel <NAME> <--before <NUMBER>|--keep <COUNT>>")]
    Prune(prune::PruneArguments),
    /// Shrink the files of ledgers to their minimum size
    #[command(after_long_help = EXIT_CODES)]
    Compact(compact::CompactArguments),
}

/// Location of the ledgers.
#[derive(Debug, clap::Args)]
pub struct LedgerLocation {
    /// Configuration file, as for `orderer start`; supplies FileLedger.Location
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the ledgers, instead of FileLedger.Location
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
}

/// Runs one of the subcommands.
pub fn run(command: &LedgerCommand) -> ExitCode {
    let place = match command {
        LedgerCommand::Backup(arguments) => return done(backup::backup(arguments)),
        LedgerCommand::Verify(arguments) if arguments.node.from_node.is_some() => {
            return ended(verify::verify_node(arguments));
        }
        LedgerCommand::Export(arguments) if arguments.node.from_node.is_some() => {
            return done(export::export_node(arguments));
        }
        LedgerCommand::Verify(arguments) => &arguments.place,
        LedgerCommand::Stats(arguments) => &arguments.place,
        LedgerCommand::Export(arguments) => &arguments.place,
        LedgerCommand::Import(arguments) => &arguments.place,
        LedgerCommand::Prune(arguments) => &arguments.place,
        LedgerCommand::Compact(arguments) => &arguments.place,
    };
    let ledgers = match place.find() {
        Ok(ledgers) => ledgers,
        Err(mistakes) => return print_errors(mistakes),
    };
    ended(match command {
        LedgerCommand::Backup(arguments) => backup::backup(arguments).map(|()| ExitCode::SUCCESS),
        LedgerCommand::Verify(arguments) => verify::verify(arguments, &ledgers),
        LedgerCommand::Stats(arguments) => stats::stats(arguments, &ledgers),
        LedgerCommand::Export(arguments) => export::export(arguments, &ledgers).map(|()| ExitCode::SUCCESS),
        LedgerCommand::Import(arguments) => import::import(arguments, &ledgers).map(|()| ExitCode::SUCCESS),
        LedgerCommand::Prune(arguments) => prune::prune(arguments, &ledgers).map(|()| ExitCode::SUCCESS),
        LedgerCommand::Compact(arguments) => compact::compact(arguments, &ledgers).map(|()| ExitCode::SUCCESS),
    })
}

/// The directory of ledgers, and the consenters that the node has for its channels.
struct Ledgers {
    location: PathBuf,
    consensus_mapping: ConsensusMapping,
    /// Public keys of the node's TLS certificates; `None` without a configuration.
    tls_keys: Option<Vec<Bytes>>,
}

impl LedgerLocation {
    fn find(&self) -> Result<Ledgers, Vec<String>> {
        match &self.ledger {
            // no configuration is needed then
            Some(folder) if self.config.is_none() => {
                Ok(Ledgers { location: folder.clone(), consensus_mapping: ConsensusMapping::default(), tls_keys: None })
            }
            folder => {
                let settings = load_settings(self.config.clone(), &variables())?.settings;
                let tls_keys = Some(settings.tls_keys());
                let location = folder.clone().unwrap_or(settings.ledger_location);
                Ok(Ledgers { location, consensus_mapping: settings.consensus_mapping, tls_keys })
            }
        }
    }
}

/// Opens the existing ledgers.
fn store(place: &Ledgers) -> anyhow::Result<LedgerProvider> {
    let location = &place.location;
    anyhow::ensure!(location.is_dir(), "{}: no such folder; name the one of ledgers by --ledger", location.display());
    Ok(LedgerProvider::new(location, BlockCacheConfig { bytes: 0 })?)
}

/// Returns the named channels, or all.
fn channels(store: &LedgerProvider, named: &[String]) -> anyhow::Result<Vec<ChannelId>> {
    let there = store.list()?;
    if named.is_empty() {
        return Ok(there);
    }
    let mut found = Vec::new();
    for name in named {
        let id = ChannelId::parse(name).with_context(|| format!("channel {name}"))?;
        anyhow::ensure!(there.contains(&id), "channel {name}: there is no ledger of it; there are {}", list(&there));
        found.push(id);
    }
    Ok(found)
}

fn list(channels: &[ChannelId]) -> String {
    if channels.is_empty() {
        return "none".to_owned();
    }
    channels.iter().map(ChannelId::to_string).collect::<Vec<_>>().join(", ")
}

/// Describes pruned blocks, if there are any.
fn pruned(horizon: u64) -> String {
    if horizon == 0 { String::new() } else { format!(", those before block {horizon} pruned") }
}

/// Formats a size with a unit.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
