//! The command line: parses the arguments and runs the command.

mod benchmark;
mod config;
mod dev_cluster;
mod manual;
mod start;
mod version;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use orderer_benchmark::command as bench;
use orderer_tools::commands::output::{done, ended, print_errors};
use orderer_tools::commands::{
    DEV_FOLDER, channel, client, codec, config_update, crypto, genesis, health, kafka, ledger, raft, sign,
};
use orderer_tools::dev_network::cluster::{BASE_PORT, BASE_PORT_MAX};
use orderer_tools::fabric_tools::{FabricTool, configtxgen, configtxlator, cryptogen, osnadmin};
use orderer_tools::say;

use crate::telemetry::LogFormat;

const AFTER_HELP: &str = "\
Try it:
  orderer start --dev               # a development network, in ./orderer-dev
  orderer start --dev --orderers 3  # the same with three orderers, by Raft
  orderer start --config orderer.yaml
  ORDERER_GENERAL_LISTENPORT=7051 FABRIC_LOGGING_SPEC=debug orderer start

Variables:
  FABRIC_CFG_PATH        folder of orderer.yaml, if --config names no file
  FABRIC_LOGGING_SPEC    log levels: LEVEL or LOGGER[,LOGGER]=LEVEL, separated
                         by colons, such as info:orderer.chain=debug
  FABRIC_LOGGING_FORMAT  json for JSON lines
  ORDERER_SECTION_KEY    overrides a key of orderer.yaml

Exit codes:
  0  success
  1  the request failed, or the configuration is invalid
  2  the arguments are invalid";

/// The ordering service node of Hyperledger Fabric.
///
/// Takes signed envelopes from clients, puts them in one order per channel, cuts them into blocks, signs and stores the
/// blocks, and streams them to peers.
#[derive(Debug, Parser)]
#[command(name = "orderer", after_long_help = AFTER_HELP, disable_version_flag = true, max_term_width = 80)]
struct Arguments {
    /// Print version, commit, Rust version and platform
    #[arg(short = 'V', long)]
    version: bool,
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
    /// List, join, remove, update, fetch and restart channels of a running node
    #[command(subcommand, after_help = channel::AFTER_HELP)]
    Channel(channel::ChannelCommand),
    /// Convert a serialized Fabric message to JSON
    #[command(after_help = codec::DECODE_HELP)]
    Decode(codec::DecodeArguments),
    /// Convert JSON to a serialized Fabric message
    #[command(after_help = codec::ENCODE_HELP)]
    Encode(codec::EncodeArguments),
    /// Compute the update from one configuration to another, and explain it
    #[command(after_help = config_update::AFTER_HELP)]
    ConfigUpdate(config_update::ConfigUpdateArguments),
    /// Sign a config update or an envelope
    #[command(after_help = sign::AFTER_HELP)]
    Sign(sign::SignArguments),
    /// Sample clients: send envelopes, receive blocks, fetch a block
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Measure a node's throughput, latency, and CPU time per envelope
    #[command(after_help = bench::AFTER_HELP)]
    Benchmark(Box<bench::BenchmarkArguments>),
    /// Check configurations
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check the health of a node, for probes of containers and load balancers
    ///
    /// Queries /healthz of the operations endpoint, or the gRPC health service if there is none. Exit code 0: the node
    /// serves and every channel is healthy; 1: a problem, or no response; 2: wrong arguments.
    Health(health::HealthArguments),
    /// Verify, count, move, prune and compact ledgers of a stopped node
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Create certificate authorities, identities and TLS certificates for development
    #[command(after_help = crypto::AFTER_HELP)]
    Crypto(crypto::CryptoArguments),
    /// Create a channel's genesis block or creation transaction from configtx.yaml
    #[command(after_help = genesis::AFTER_HELP)]
    Genesis(genesis::GenesisArguments),
    /// Check Kafka clusters
    #[command(subcommand)]
    Kafka(KafkaCommand),
    /// Check the consenters of Raft channels
    #[command(subcommand)]
    Raft(RaftCommand),
    /// Fabric's configtxgen: create and inspect genesis blocks and transactions
    #[command(after_help = configtxgen::AFTER_HELP)]
    Configtxgen(Box<configtxgen::ConfigtxgenArguments>),
    /// Fabric's configtxlator: convert messages, compute config updates, serve both by HTTP
    #[command(after_help = configtxlator::AFTER_HELP)]
    Configtxlator(configtxlator::ConfigtxlatorArguments),
    /// Fabric's cryptogen: create and extend certificates for development
    #[command(after_help = cryptogen::AFTER_HELP)]
    Cryptogen(cryptogen::CryptogenArguments),
    /// Fabric's osnadmin: manage the channels of a running node
    #[command(after_help = osnadmin::AFTER_HELP)]
    Osnadmin(osnadmin::OsnadminArguments),
    /// Print the completion script for a shell
    Completions(manual::CompletionsArguments),
    /// Print or write manual pages
    Man(manual::ManArguments),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration as `start` would, without starting the node
    ///
    /// Checks keys and values, certificates and private keys, the MSP, the bootstrap block and the ledgers' folder.
    /// Prints each finding and how to fix it. Changes nothing. Exit code 0: no errors; 1: errors; 2: wrong arguments.
    Check(config::CheckArguments),
}

#[derive(Debug, Subcommand)]
enum KafkaCommand {
    /// Check whether brokers and topics meet the requirements of the channels
    ///
    /// Checks addresses, authorization, replicas, retention and sizes. Prints each finding and how to fix it. Writes
    /// nothing to the cluster. Exit code 0: no errors; 1: errors, or an invalid configuration; 2: wrong arguments.
    Check(kafka::CheckArguments),
}

#[derive(Debug, Subcommand)]
enum RaftCommand {
    /// Check whether the consenters of a channel can connect to each other
    ///
    /// Checks addresses, TLS, the certificates in the configuration and their expiry, clocks, and whether there is a
    /// quorum. Reads the consenters from a config block (--block), from a running node (-o, --dev), or from the ledgers
    /// of a stopped node (--config). Prints each finding and how to fix it. Changes nothing. Exit code 0: no errors; 1:
    /// errors, or an invalid configuration; 2: wrong arguments.
    Check(raft::CheckArguments),
}

#[derive(Debug, Default, clap::Args)]
struct StartArguments {
    /// Configuration file [default: $FABRIC_CFG_PATH/orderer.yaml, ./orderer.yaml,
    /// /etc/hyperledger/fabric/orderer.yaml, or the built-in defaults]
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Run the development network in DIR, which is created the first time: certificate authorities, an orderer, an
    /// organization with users, a system channel and an application channel that is ready for transactions
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = DEV_FOLDER)]
    dev: Option<PathBuf>,
    /// Number of orderers in the development network, with consensus by Raft. Each orderer is a process, supervised by
    /// this one [default: the network in DIR, or one solo orderer]
    #[arg(long, value_name = "N", requires = "dev", value_parser = ["1", "3", "5"])]
    orderers: Option<String>,
    /// Port of the first of the --orderers when the network is created; the next ones listen on PORT+10, PORT+20, ...
    /// Each orderer's Admin endpoint has its port + 3, and its Operations endpoint its port + 5
    #[arg(long, value_name = "PORT", requires = "orderers", default_value_t = BASE_PORT,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(BASE_PORT_MAX)))]
    base_port: u16,
    /// Stop when standard input is closed, and print a line when the node serves; used by the supervising process
    #[arg(long, hide = true)]
    supervised: bool,
    /// Format of log lines [default: the value of FABRIC_LOGGING_FORMAT, otherwise human]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Parses the process's arguments and runs the command.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some((tool, arguments)) = FabricTool::of_command_line(&arguments) {
        return tool.run(arguments, version::text_of);
    }
    let Arguments { version, command } = Arguments::parse_from(genesis::with_two_dashes(arguments.into_iter()));
    match command {
        _ if version => {
            say!("{}", version::text());
            ExitCode::SUCCESS
        }
        Some(Command::Version) => {
            say!("{}", version::text());
            ExitCode::SUCCESS
        }
        Some(Command::Start(arguments)) => start::run(arguments),
        Some(Command::Client(command)) => client::run(command),
        Some(Command::Ledger(command)) => ledger::run(&command),
        Some(Command::Channel(command)) => ended(channel::run(&command)),
        Some(Command::Decode(arguments)) => done(codec::decode(&arguments)),
        Some(Command::Encode(arguments)) => done(codec::encode(&arguments)),
        Some(Command::ConfigUpdate(arguments)) => done(config_update::run(&arguments)),
        Some(Command::Sign(arguments)) => done(sign::run(&arguments)),
        Some(Command::Crypto(arguments)) => crypto::run(&arguments),
        Some(Command::Genesis(arguments)) => genesis::run(&arguments),
        Some(Command::Benchmark(arguments)) => bench::run(&arguments, benchmark::PROGRAM),
        Some(Command::Kafka(KafkaCommand::Check(arguments))) => kafka::run(&arguments),
        Some(Command::Raft(RaftCommand::Check(arguments))) => raft::run(&arguments),
        Some(Command::Config(ConfigCommand::Check(arguments))) => config::run(&arguments),
        Some(Command::Health(arguments)) => health::run(&arguments),
        // run above, with the exit codes of the tools
        Some(Command::Configtxgen(arguments)) => configtxgen::run(&arguments, version::text_of),
        Some(Command::Configtxlator(arguments)) => configtxlator::run(&arguments, version::text_of),
        Some(Command::Cryptogen(arguments)) => cryptogen::run(&arguments, version::text_of),
        Some(Command::Osnadmin(arguments)) => osnadmin::run(&arguments),
        Some(Command::Completions(arguments)) => manual::completions(&arguments),
        Some(Command::Man(arguments)) => {
            manual::man(&arguments).unwrap_or_else(|error| print_errors([format!("{error:#}")]))
        }
        None => start::run(StartArguments::default()),
    }
}
