//! The commands of the program: their arguments and their execution.

/// Prints a line on standard output. A write error, such as a closed pipe, is ignored: the command continues.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::io::say(format_args!($($text)*)) };
}

pub mod channel;
pub mod client;
pub mod codec;
pub mod config_update;
pub mod crypto;
pub mod genesis;
pub mod health;
pub mod identity;
pub mod io;
pub mod kafka;
pub mod ledger;
pub mod output;
pub mod progress;
pub mod raft;
pub mod sign;
mod subjects;
mod terminal;
pub mod token_key;

use std::path::PathBuf;

use crate::dev_network;

/// Default folder of a development network.
pub const DEV_FOLDER: &str = "orderer-dev";

/// Returns the named configuration file, or that of the named development network.
pub fn config_file(config: Option<&PathBuf>, dev: Option<&PathBuf>) -> Option<PathBuf> {
    config.cloned().or_else(|| dev.map(|folder| folder.join(dev_network::CONFIG_FILE)))
}
