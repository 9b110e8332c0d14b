//! Commands: what can be typed, and what comes of it.

mod benchmark;
mod config;
mod dev_cluster;
mod manual;
mod start;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use orderer_benchmark::command as bench;
use orderer_tools::commands::output::{complain, done, ended};
use orderer_tools::commands::{
    DEV_FOLDER, channel, client, codec, config_update, crypto, genesis, health, kafka, ledger, raft, sign,
};
use orderer_tools::dev::cluster::{BASE_PORT, BASE_PORT_MAX};
use orderer_tools::say;

use crate::telemetry::LogFormat;

const AFTER_HELP: &str = "\
Try it:
  orderer start --dev                 a whole network for development, in ./orderer-dev
  orderer start --dev --orderers 3    the same with three orderers, by Raft
  orderer start --config orderer.yaml
  ORDERER_GENERAL_LISTENPORT=7051 FABRIC_LOGGING_SPEC=debug orderer start

Variables:
  FABRIC_CFG_PATH       folder of orderer.yaml, if --config does not name a file
  FABRIC_LOGGING_SPEC   what is logged: LEVEL or LOGGER[,LOGGER]=LEVEL, separated by colons, such as
                        info:orderer.chain=debug
  FABRIC_LOGGING_FORMAT json for JSON lines
  ORDERER_SECTION_KEY   overrides a key of orderer.yaml

Exit codes:
  0  ended as asked    1  what was asked failed, or the configuration is wrong    2  wrong arguments";

/// The ordering service node of Hyperledger Fabric.
///
/// Takes signed envelopes from clients, puts them in one order per channel, cuts them into blocks, signs and stores the
/// blocks, and streams them to peers.
#[derive(Debug, Parser)]
#[command(name = "orderer", after_long_help = AFTER_HELP, disable_version_flag = true)]
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
    /// Show a message of Fabric's as JSON
    #[command(after_help = codec::DECODE_HELP)]
    Decode(codec::DecodeArguments),
    /// Make a message of Fabric's from JSON
    #[command(after_help = codec::ENCODE_HELP)]
    Encode(codec::EncodeArguments),
    /// Compute the update from one configuration to another, and say what it means
    #[command(after_help = config_update::AFTER_HELP)]
    ConfigUpdate(config_update::ConfigUpdateArguments),
    /// Sign a config update or an envelope
    #[command(after_help = sign::AFTER_HELP)]
    Sign(sign::SignArguments),
    /// Sample clients: send envelopes, follow a channel, fetch a block
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Measure a node: how fast it is, how long clients wait, what an envelope costs
    #[command(after_help = bench::AFTER_HELP)]
    Benchmark(Box<bench::BenchmarkArguments>),
    /// Look at configurations
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a node how it is, for probes of containers and load balancers
    ///
    /// Asks /healthz of the operations endpoint, or the gRPC health service if there is none. Exit code 0: the node serves and
    /// every channel is well; 1: not so, or no answer; 2: wrong arguments.
    Health(health::HealthArguments),
    /// Verify, count, move, prune and compact ledgers, while the node does not run
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Make certificate authorities, identities and TLS certificates for development
    #[command(after_help = crypto::AFTER_HELP)]
    Crypto(crypto::CryptoArguments),
    /// Make the first block of a channel, or the transaction that creates it, from configtx.yaml
    #[command(after_help = genesis::AFTER_HELP)]
    Genesis(genesis::GenesisArguments),
    /// Look at Kafka clusters
    #[command(subcommand)]
    Kafka(KafkaCommand),
    /// Look at the consenters of Raft
    #[command(subcommand)]
    Raft(RaftCommand),
    /// Print what a shell needs to complete commands
    Completions(manual::CompletionsArguments),
    /// Print or write manual pages
    Man(manual::ManArguments),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check everything that `start` would: keys and values, certificates and keys, the MSP, the bootstrap block, the ledgers'
    /// folder
    ///
    /// Prints each finding, and what mends it. Changes nothing. Exit code 0: no error was found; 1: one was; 2: wrong
    /// arguments.
    Check(config::CheckArguments),
}

#[derive(Debug, Subcommand)]
enum KafkaCommand {
    /// Check whether brokers and topics are fit for the channels: addresses, authorization, replicas, retention, sizes
    ///
    /// Prints each finding, and what mends it. Writes nothing to the cluster. Exit code 0: no error was found; 1: one was,
    /// or the configuration is wrong; 2: wrong arguments.
    Check(kafka::CheckArguments),
}

#[derive(Debug, Subcommand)]
enum RaftCommand {
    /// Check whether the consenters of a channel find each other: addresses, TLS, the certificates in the configuration and when they
    /// expire, clocks, a quorum
    ///
    /// Looks at each consenter in a config block (--block), in the configuration of a running node (-o, --dev), or in the ledgers of one
    /// that does not run (--config). Prints each finding, and what mends it. Changes nothing. Exit code 0: no error was found; 1: one
    /// was, or the configuration is wrong; 2: wrong arguments.
    Check(raft::CheckArguments),
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
    /// The network for development has so many orderers, which order its channel by Raft: one process each, which this one looks
    /// after [default: what is in DIR, or one that orders alone]
    #[arg(long, value_name = "N", requires = "dev", value_parser = ["1", "3", "5"])]
    orderers: Option<String>,
    /// With --orderers, the first time: the first one listens on PORT, each other one 10 higher than the one before; 3 above are Admin
    /// endpoints, and 5 above are Operations endpoints
    #[arg(long, value_name = "PORT", requires = "orderers", default_value_t = BASE_PORT,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(BASE_PORT_MAX)))]
    base_port: u16,
    /// Ends when its standard input does, and prints a line when it serves: for who looks after it
    #[arg(long, hide = true)]
    supervised: bool,
    /// How log lines look [default: human, or what FABRIC_LOGGING_FORMAT says]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let Arguments { version, command } = Arguments::parse_from(genesis::with_two_dashes(std::env::args_os()));
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
        Some(Command::Completions(arguments)) => manual::completions(&arguments),
        Some(Command::Man(arguments)) => {
            manual::man(&arguments).unwrap_or_else(|error| complain([format!("{error:#}")]))
        }
        None => start::run(StartArguments::default()),
    }
}
