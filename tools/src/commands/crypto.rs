//! `orderer crypto`: certificates for development, from a crypto-config.yaml or a few numbers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::output::print_errors;
use super::token_key;
use crate::cryptogen::{Algorithm, Network, SimpleTopology, generate};

/// The end of `orderer crypto --help`.
pub const AFTER_HELP: &str = "\
Try it:
  orderer crypto
  orderer crypto --config crypto-config.yaml --output crypto
  orderer crypto --orderers 3 --organizations 2 --users 5 --host orderer.local

Exit codes:
  0  success
  1  the file is invalid, or the folder exists: nothing is written
  2  the arguments are invalid";

/// Arguments of `orderer crypto`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CryptoArguments {
    #[command(subcommand)]
    command: Option<CryptoCommand>,
    /// File in the format of cryptogen's crypto-config.yaml: OrdererOrgs, PeerOrgs, Specs, Template, Users, SANS
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["domain", "orderers", "organizations", "peers", "users", "hosts"])]
    config: Option<PathBuf>,
    /// Folder to create; it must not exist
    #[arg(long, value_name = "DIR", default_value = "crypto-config")]
    output: PathBuf,
    /// Domain of the orderers' organization; organizations of peers are org1.DOMAIN, ...
    #[arg(long, value_name = "NAME", default_value = "example.com")]
    domain: String,
    /// Number of orderers: orderer, orderer2, ...
    #[arg(long, value_name = "N", default_value_t = 1)]
    orderers: usize,
    /// Number of organizations of peers
    #[arg(long, value_name = "N", default_value_t = 1)]
    organizations: usize,
    /// Number of peers of each organization
    #[arg(long, value_name = "N", default_value_t = 1)]
    peers: usize,
    /// Number of users of each organization, without its administrator
    #[arg(long, value_name = "N", default_value_t = 1)]
    users: usize,
    /// Additional host name or address in every TLS certificate; may be repeated
    #[arg(long = "host", value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
    hosts: Vec<String>,
    /// Key algorithm, with --config as the default of the file; ed25519 requires channel capability V3_0
    #[arg(long, value_enum, default_value_t = Keys::Ecdsa)]
    algorithm: Keys,
}

/// The things that `orderer crypto` makes instead of a network.
#[derive(Debug, clap::Subcommand)]
enum CryptoCommand {
    /// Make a key in a PKCS#11 token, and a certificate or a certificate request for it
    #[command(
        after_help = token_key::AFTER_HELP,
        override_usage = "orderer crypto token-key --library <FILE> --label <NAME>\n       --common-name <NAME> --output <FILE> [OPTIONS]"
    )]
    TokenKey(token_key::TokenKeyArguments),
}

/// Kind of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keys {
    /// On the curve P-256.
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

impl Keys {
    /// Returns the value of the option.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl From<Keys> for Algorithm {
    fn from(keys: Keys) -> Self {
        match keys {
            Keys::Ecdsa => Self::Ecdsa,
            Keys::Ed25519 => Self::Ed25519,
        }
    }
}

/// Generates the network. Performs blocking I/O.
pub fn run(arguments: &CryptoArguments) -> ExitCode {
    if let Some(CryptoCommand::TokenKey(arguments)) = &arguments.command {
        return token_key::run(arguments);
    }
    let algorithm = arguments.algorithm.into();
    let network = match &arguments.config {
        Some(file) => Network::load(file, algorithm),
        None => Network::simple(&SimpleTopology {
            domain: arguments.domain.clone(),
            orderers: arguments.orderers,
            organizations: arguments.organizations,
            peers: arguments.peers,
            users: arguments.users,
            hosts: arguments.hosts.clone(),
            algorithm,
        }),
    };
    let network = match network {
        Ok(network) => network,
        Err(mistakes) => return print_errors(mistakes.0),
    };
    if let Err(error) = generate(&arguments.output, &network) {
        return print_errors([orderer_actors::chain_state::error_chain(&error)]);
    }
    for folder in network.folders() {
        say!("{}", arguments.output.join(folder).display());
    }
    say!("For development only: the keys of the certificate authorities lie unprotected beside all others.");
    if network.has_ed25519() {
        say!("Ed25519 identities are members from channel capability V3_0 on.");
    }
    ExitCode::SUCCESS
}
