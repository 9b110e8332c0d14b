//! Shell completions and manual pages, generated from the definition of the commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;

/// Arguments of `orderer completions`.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArguments {
    /// Shell for which the script is printed
    shell: Shell,
}

/// Arguments of `orderer man`.
#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// Write a page for each command into this folder, which is created [default: print the first page]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(arguments: &CompletionsArguments) -> ExitCode {
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "orderer", &mut std::io::stdout());
    ExitCode::SUCCESS
}

pub(super) fn man(arguments: &ManArguments) -> anyhow::Result<ExitCode> {
    match &arguments.dir {
        Some(folder) => write_pages(folder).with_context(|| folder.display().to_string())?,
        None => clap_mangen::Man::new(Arguments::command()).render(&mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write_pages(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
}
