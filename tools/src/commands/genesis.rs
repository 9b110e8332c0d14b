//! `orderer genesis`: first blocks and channel creation transactions from configtx.yaml, with configtxgen's flags.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use orderer_core::types::ChannelId;

use super::output::print_errors;
use crate::configtx;
use orderer_localconfig::environment::variables;

/// The end of `orderer genesis --help`.
pub const AFTER_HELP: &str = "\
A profile with Consortiums makes a system channel. OrdererType is solo, kafka or
etcdraft. Flags may begin with one dash, as configtxgen's do.

Try it:
  orderer genesis --profile SampleAppChannel --channelID mychannel \\
      --outputBlock mychannel.block
  orderer genesis --profile SampleSystem --channelID syschan \\
      --outputBlock system.block --configPath ./network
  orderer genesis --profile SampleChannel --channelID mychannel \\
      --outputCreateChannelTx mychannel.tx

Variables:
  FABRIC_CFG_PATH  folder of configtx.yaml
  CONFIGTX_PROFILES_NAME_ORDERER_ORDERERTYPE, and so on, override keys

Exit codes:
  0  success
  1  the file or the profile is invalid; nothing is written
  2  the arguments are invalid";

/// Arguments of `orderer genesis`.
#[derive(Debug, clap::Args)]
pub struct GenesisArguments {
    /// Profile in configtx.yaml
    #[arg(long, value_name = "NAME")]
    profile: String,
    /// Name of the channel
    #[arg(long = "channelID", value_name = "NAME")]
    channel_id: String,
    /// Write block 0 of the channel to this file
    #[arg(long = "outputBlock", value_name = "FILE", required_unless_present = "output_create_channel_tx")]
    output_block: Option<PathBuf>,
    /// Write the unsigned transaction that creates the channel through a system channel
    #[arg(long = "outputCreateChannelTx", value_name = "FILE")]
    output_create_channel_tx: Option<PathBuf>,
    /// Path of configtx.yaml [default: configtx.yaml in --configPath, $FABRIC_CFG_PATH, the working folder or
    /// /etc/hyperledger/fabric]; relative paths in it are relative to its folder
    #[arg(long, value_name = "FILE", conflicts_with = "config_path")]
    config: Option<PathBuf>,
    /// Folder of configtx.yaml
    #[arg(long = "configPath", value_name = "DIR")]
    config_path: Option<PathBuf>,
}

/// Adds a second dash to flags of `genesis` that begin with one, as Go's may, so that a command line of configtxgen
/// can be used.
pub fn with_two_dashes(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|command| command == "genesis") {
        for argument in &mut arguments[2..] {
            let is_long = argument.to_str().is_some_and(|a| a.len() > 2 && a.starts_with('-') && !a.starts_with("--"));
            if is_long {
                let mut longer = OsString::from("-");
                longer.push(&*argument);
                *argument = longer;
            }
        }
    }
    arguments
}

/// Writes the block or the transaction. Performs blocking I/O.
pub fn run(arguments: &GenesisArguments) -> ExitCode {
    match make(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<configtx::ProfileErrors>() {
            Some(configtx::ProfileErrors(mistakes)) => print_errors(mistakes.iter().map(ToString::to_string)),
            None => print_errors([format!("{error:#}")]),
        },
    }
}

fn make(arguments: &GenesisArguments) -> anyhow::Result<()> {
    let channel = ChannelId::parse(&arguments.channel_id).context("--channelID")?;
    let variables = variables();
    let file = if let Some(file) = &arguments.config {
        file.clone()
    } else {
        let fabric_cfg_path = variables.get("FABRIC_CFG_PATH").map(Path::new);
        configtx::find_file(arguments.config_path.as_deref(), fabric_cfg_path)?
    };
    let loaded = configtx::load(&file, &arguments.profile, &variables)?;
    // everything is created before anything is written
    let block = arguments.output_block.as_ref().map(|to| loaded.genesis_block(&channel).map(|made| (to, made)));
    let creation =
        arguments.output_create_channel_tx.as_ref().map(|to| loaded.creation(&channel).map(|made| (to, made)));
    let (block, creation) = (block.transpose()?, creation.transpose()?);
    if let Some((to, block)) = block {
        write(to, &block)?;
        let kind = if loaded.is_system_channel() { "system" } else { "application" };
        say!("genesis block of {kind} channel {channel} ({}): {}", loaded.consensus_type(), to.display());
    }
    if let Some((to, creation)) = creation {
        write(to, &creation)?;
        say!("channel creation transaction of {channel}, not signed yet: {}", to.display());
    }
    Ok(())
}

/// Writes a file completely or not at all.
pub(crate) fn write(to: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut unfinished = to.as_os_str().to_owned();
        unfinished.push(".unfinished");
        fs::write(&unfinished, bytes)?;
        fs::rename(&unfinished, to)
    };
    written().with_context(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_of_configtxgen_is_taken_as_it_is() {
        let given = ["orderer", "genesis", "-profile", "X", "--channelID", "-h", "-outputBlock=x-y"];
        let taken = with_two_dashes(given.into_iter().map(OsString::from));
        assert_eq!(taken, ["orderer", "genesis", "--profile", "X", "--channelID", "-h", "--outputBlock=x-y"]);
        let other = ["orderer", "start", "-config"];
        assert_eq!(with_two_dashes(other.into_iter().map(OsString::from)), other);
    }
}
