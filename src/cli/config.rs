//! `orderer config check`: finds errors in a configuration before the node starts with it.

use std::path::PathBuf;
use std::process::ExitCode;

use orderer_kafka::check::{Finding, Severity};

use orderer_tools::say;

use crate::config_check::check;
use crate::settings::{EffectiveValue, examine};
use orderer_localconfig::environment::{find_settings, variables};
use orderer_tools::commands::output::print_errors;
use orderer_tools::commands::{DEV_FOLDER, config_file};

/// Arguments of `orderer config check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// Configuration file, as for `orderer start`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the node of the development network in DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = DEV_FOLDER, conflicts_with = "config")]
    dev: Option<PathBuf>,
    /// Also listen on each address for a moment; only while the node is stopped
    #[arg(long)]
    bind: bool,
    /// First print every key with its value and the source of the value; passwords are hidden
    #[arg(long)]
    print: bool,
}

/// Prints each finding. Returns 0 if none is an error.
pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let variables = variables();
    let origin = match find_settings(config_file(arguments.config.as_ref(), arguments.dev.as_ref()), &variables) {
        Ok(origin) => origin,
        Err(mistake) => return print_errors([mistake.to_string()]),
    };
    let examined = examine(&origin);
    if arguments.print {
        for EffectiveValue { key, value, source } in &examined.effective {
            say!("{:<60} # {source}", format!("{key}: {value}"));
        }
        say!("");
    }
    let spec = variables.get("FABRIC_LOGGING_SPEC").map(String::as_str);
    let mut worst = Severity::Fine;
    for Finding { level, found, fix } in check(&examined, spec, arguments.bind) {
        say!("{level:<8} {found}");
        if let Some(fix) = fix.filter(|_| level != Severity::Fine) {
            say!("         fix: {fix}");
        }
        worst = worst.max(level);
    }
    if worst == Severity::Error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
