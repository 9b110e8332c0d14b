//! Fabric's own command-line tools, with their flags, output and exit codes: configtxgen, configtxlator, cryptogen and
//! osnadmin. Each is a command of the program, and is also what the program does if it is started by the tool's name.

pub mod configtxgen;
pub mod configtxlator;
pub mod cryptogen;
pub mod osnadmin;
mod rest;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;

/// One of the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FabricTool {
    /// Creates genesis blocks and transactions from configtx.yaml.
    Configtxgen,
    /// Converts messages and computes config updates.
    Configtxlator,
    /// Creates certificates.
    Cryptogen,
    /// Joins and removes channels of a node.
    Osnadmin,
}

impl FabricTool {
    /// Returns the tool with this name.
    pub fn named(name: &OsStr) -> Option<Self> {
        match name.to_str()? {
            "configtxgen" => Some(Self::Configtxgen),
            "configtxlator" => Some(Self::Configtxlator),
            "cryptogen" => Some(Self::Cryptogen),
            "osnadmin" => Some(Self::Osnadmin),
            _ => None,
        }
    }

    /// Returns the tool that a command line selects, and the arguments of the tool: by the name under which the program
    /// was started, such as that of a symbolic link, or by the first argument.
    pub fn of_command_line(arguments: &[OsString]) -> Option<(Self, &[OsString])> {
        let program = Path::new(arguments.first()?).file_name()?;
        if let Some(tool) = Self::named(program) {
            return Some((tool, &arguments[1..]));
        }
        Some((Self::named(arguments.get(1)?)?, &arguments[2..]))
    }

    /// Runs the tool. `version` returns the text of the tool's version command for a program's name.
    pub fn run(self, arguments: &[OsString], version: fn(&str) -> String) -> ExitCode {
        match self {
            Self::Configtxgen => {
                match parsed(("configtxgen", configtxgen::AFTER_HELP), configtxgen::with_two_dashes(arguments), 2) {
                    Ok(arguments) => configtxgen::run(&arguments, version),
                    Err(code) => code,
                }
            }
            Self::Configtxlator => match parsed(("configtxlator", configtxlator::AFTER_HELP), arguments.to_vec(), 1) {
                Ok(arguments) => configtxlator::run(&arguments, version),
                Err(code) => code,
            },
            Self::Cryptogen => match parsed(("cryptogen", cryptogen::AFTER_HELP), arguments.to_vec(), 1) {
                Ok(arguments) => cryptogen::run(&arguments, version),
                Err(code) => code,
            },
            Self::Osnadmin => match parsed(("osnadmin", osnadmin::AFTER_HELP), arguments.to_vec(), 1) {
                Ok(arguments) => osnadmin::run(&arguments),
                Err(code) => code,
            },
        }
    }
}

/// Parses a tool's arguments, or prints help or the error. Of these tools only configtxgen reports an error in the
/// arguments by code 2.
fn parsed<T: clap::Args>(
    (name, after_help): (&'static str, &'static str),
    arguments: Vec<OsString>,
    wrong: u8,
) -> Result<T, ExitCode> {
    let command =
        T::augment_args(clap::Command::new(name).after_help(after_help).max_term_width(80)).args_override_self(true);
    let matches = command.try_get_matches_from(std::iter::once(OsString::from(name)).chain(arguments));
    matches.and_then(|matches| T::from_arg_matches(&matches)).map_err(|error| {
        // a closed pipe is no error
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(wrong),
        }
    })
}

/// Prints an error as the tools do: on standard error, after the tool's name.
fn failed(tool: &str, error: &str) -> ExitCode {
    eprintln!("{tool}: error: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_selected_by_the_programs_name_or_by_the_first_argument() {
        let of = |line: &[&str]| {
            let line: Vec<OsString> = line.iter().map(OsString::from).collect();
            FabricTool::of_command_line(&line).map(|(tool, rest)| (tool, rest.len()))
        };
        assert_eq!(of(&["/usr/bin/configtxgen", "-profile", "X"]), Some((FabricTool::Configtxgen, 2)));
        assert_eq!(of(&["orderer", "osnadmin", "channel", "list"]), Some((FabricTool::Osnadmin, 2)));
        assert_eq!(of(&["cryptogen"]), Some((FabricTool::Cryptogen, 0)));
        assert_eq!(of(&["orderer", "start"]), None);
        assert_eq!(of(&["orderer"]), None);
        assert_eq!(of(&[]), None);
    }
}
