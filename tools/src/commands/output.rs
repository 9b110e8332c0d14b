//! How a command ends.

use std::process::ExitCode;

/// Ends the program well, or with what went wrong on standard error.
pub fn done(result: anyhow::Result<()>) -> ExitCode {
    ended(result.map(|()| ExitCode::SUCCESS))
}

/// Ends the program with this code, or with what went wrong on standard error.
pub fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| complain([format!("{error:#}")]))
}

/// Lines on standard error for each thing that is wrong; nothing else.
pub fn complain(lines: impl IntoIterator<Item = String>) -> ExitCode {
    for line in lines {
        eprintln!("orderer: {line}");
    }
    ExitCode::FAILURE
}
