//! Commands: what can be typed, and what comes of it.

mod start;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Default folder of a development network.
const DEV_FOLDER: &str = "orderer-dev";

const AFTER_HELP: &str = "\
Try it:
  orderer start --dev                 a whole network for development, in ./orderer-dev
  orderer start --config orderer.yaml
  ORDERER_GENERAL_LISTENPORT=7051 FABRIC_LOGGING_SPEC=debug orderer start

Variables:
  FABRIC_CFG_PATH       folder of orderer.yaml, if --config does not name a file
  FABRIC_LOGGING_SPEC   what is logged: LEVEL or LOGGER[,LOGGER]=LEVEL, separated by colons, such as
                        info:orderer.chain=debug
  FABRIC_LOGGING_FORMAT json for JSON lines
  ORDERER_SECTION_KEY   overrides a key of orderer.yaml

Exit codes:
  0  ended as asked    1  the configuration or the start failed    2  wrong arguments";

/// The ordering service node of Hyperledger Fabric.
///
/// Takes signed envelopes from clients, puts them in one order per channel, cuts them into blocks, signs and stores the
/// blocks, and streams them to peers.
#[derive(Debug, Parser)]
#[command(name = "orderer", after_long_help = AFTER_HELP, disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the node (also what happens without a command)
    #[command(after_long_help = AFTER_HELP)]
    Start(StartArguments),
    /// Print version, commit, Rust version and platform
    Version,
}

#[derive(Debug, Default, clap::Args)]
struct StartArguments {
    /// Configuration file; otherwise $FABRIC_CFG_PATH/orderer.yaml, ./orderer.yaml, /etc/hyperledger/fabric/orderer.yaml,
    /// or the defaults that come with the program
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Run a network for development in DIR, which is made the first time: certificate authorities, an orderer, an
    /// organization with users, a system channel and a ready application channel
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = DEV_FOLDER)]
    dev: Option<PathBuf>,
    /// How log lines look [default: human, or what FABRIC_LOGGING_FORMAT says]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Some(Command::Version) => {
            println!("{}", version::text());
            ExitCode::SUCCESS
        }
        Some(Command::Start(arguments)) => start::run(arguments),
        None => start::run(StartArguments::default()),
    }
}
