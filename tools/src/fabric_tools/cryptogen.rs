//! `cryptogen`: certificates for development.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cryptogen::{Algorithm, Network, extend, generate_within};
use crate::say;

/// The network that is created without --config, as `showtemplate` prints it.
const TEMPLATE: &str = include_str!("crypto-config.yaml");
const FOLDER: &str = "crypto-config";

/// The end of `cryptogen --help`.
pub const AFTER_HELP: &str = "\
Try it:
  cryptogen showtemplate > crypto-config.yaml
  cryptogen generate --config crypto-config.yaml --output organizations
  cryptogen extend --config crypto-config.yaml --input organizations";

/// Arguments of `cryptogen`.
#[derive(Debug, clap::Args)]
pub struct CryptogenArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create certificate authorities, identities and TLS certificates
    Generate {
        /// Folder, which may contain other organizations
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        output: PathBuf,
        /// File with the organizations [default: those of showtemplate]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Add the members and organizations that a folder does not contain yet
    Extend {
        /// Folder with the organizations
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        input: PathBuf,
        /// File with the organizations [default: those of showtemplate]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print a file with organizations
    Showtemplate,
    /// Print the version
    Version,
}

/// Runs the command. Performs blocking I/O.
pub fn run(arguments: &CryptogenArguments, version: fn(&str) -> String) -> ExitCode {
    let done = match &arguments.command {
        Command::Version => {
            say!("{}", version("cryptogen"));
            Ok(())
        }
        Command::Showtemplate => {
            say!("{}", TEMPLATE.trim_end());
            Ok(())
        }
        Command::Generate { output, config } => network(config.as_ref()).and_then(|network| {
            generate_within(output, &network).context("error generating")?;
            network.peer_domains().for_each(|domain| say!("{domain}"));
            Ok(())
        }),
        Command::Extend { input, config } => {
            network(config.as_ref()).and_then(|network| extend(input, &network).context("error extending"))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failed("cryptogen", &format!("{error:#}")),
    }
}

fn network(config: Option<&PathBuf>) -> anyhow::Result<Network> {
    let network = match config {
        Some(file) => Network::load(file, Algorithm::Ecdsa),
        None => Network::parse(TEMPLATE, "template", Algorithm::Ecdsa),
    };
    Ok(network.context("error reading config")?.without_orderer_users())
}
