//! The exit of a command.

use std::process::ExitCode;

/// Returns success, or prints the error to standard error and returns failure.
pub fn done(result: anyhow::Result<()>) -> ExitCode {
    ended(result.map(|()| ExitCode::SUCCESS))
}

/// Returns this code, or prints the error to standard error and returns failure.
pub fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| print_errors([format!("{error:#}")]))
}

/// Prints a line on standard error for each error, and returns failure.
pub fn print_errors(lines: impl IntoIterator<Item = String>) -> ExitCode {
    for line in lines {
        eprintln!("orderer: {line}");
    }
    ExitCode::FAILURE
}
