//! Shell completions and manual pages, generated from the definition of the commands and from the table of settings.

mod after_help;
mod examples;
mod page;
mod settings_page;

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
    /// Write a page for each command, and orderer.yaml.5, into this folder, which is created [default: print the first
    /// page]
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
        None => page::render(&built(), &mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write_pages(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for command in all(&built()) {
        let mut text = Vec::new();
        page::render(&command, &mut text)?;
        std::fs::write(folder.join(format!("{}.1", page::name(&command))), text)?;
    }
    let mut text = Vec::new();
    settings_page::render(&mut text)?;
    std::fs::write(folder.join("orderer.yaml.5"), text)
}

/// Returns the commands, each with its full name.
fn built() -> clap::Command {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    command
}

/// Returns a command and all commands below it.
fn all(command: &clap::Command) -> Vec<clap::Command> {
    let mut found = vec![command.clone()];
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        found.extend(all(below));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::after_help::{AfterHelp, command_lines};
    use super::*;
    use orderer_tools::fabric_tools::configtxgen;

    const COLUMNS: usize = 80;

    #[test]
    fn every_help_fits_80_columns() {
        let commands = all(&built());
        assert!(commands.len() > 40, "{}", commands.len());
        for mut command in commands {
            let name = page::name(&command);
            for help in [command.render_help(), command.render_long_help()] {
                for line in help.to_string().lines() {
                    assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
                }
            }
            // lines that are longer would be broken within an example
            for text in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
                for line in text.to_string().lines() {
                    assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
                }
            }
        }
    }

    #[test]
    fn every_page_has_examples_that_are_valid_and_says_what_it_reads_and_how_it_exits() {
        for command in all(&built()) {
            let name = page::name(&command);
            let mut text = Vec::new();
            page::render(&command, &mut text).expect("is written");
            let text = String::from_utf8(text).expect("text");
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "ENVIRONMENT", "\"EXIT STATUS\""] {
                assert!(text.contains(&format!(".SH {section}\n")), "{name} has no {section}:\n{text}");
            }
            let examples = page::examples(&command, &AfterHelp::of(&command));
            assert!(!examples.is_empty(), "{name}");
            let lines = command_lines(&examples);
            let of_this = lines.iter().filter(|line| line.join("-").contains(&name)).count();
            assert!(of_this > 0 || command.has_subcommands(), "{name} is in none of its examples: {lines:?}");
            for line in lines {
                let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
                let parsed = match line.get(1).map(String::as_str) {
                    Some("configtxgen") => {
                        let longer = configtxgen::with_two_dashes(&arguments[2..]);
                        Arguments::command().try_get_matches_from(arguments[..2].iter().cloned().chain(longer))
                    }
                    _ => Arguments::command().try_get_matches_from(arguments),
                };
                assert!(parsed.is_ok(), "{name}: {line:?}: {}", parsed.err().map_or(String::new(), |e| e.to_string()));
            }
        }
    }

    #[test]
    fn lines_that_do_not_parse_are_found() {
        let lines = command_lines("seq 3 | orderer client broadcast -c x\n  orderer start \\\n    --dev > log\nA note");
        assert_eq!(lines, [vec!["orderer", "client", "broadcast", "-c", "x"], vec!["orderer", "start", "--dev"]]);
        assert_eq!(command_lines("X=1 orderer start # and so on"), [vec!["orderer", "start"]]);
        assert_eq!(command_lines("  cryptogen version"), [vec!["orderer", "cryptogen", "version"]]);
    }
}
