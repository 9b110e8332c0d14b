//! The manual page of a command.

use std::io::{self, Write};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::after_help::AfterHelp;
use super::examples;

/// Returns the name of a command's page, such as `orderer-client-fetch`.
pub(super) fn name(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// Writes the page.
pub(super) fn render(command: &clap::Command, to: &mut dyn Write) -> io::Result<()> {
    let name = name(command);
    let after = AfterHelp::of(command);
    let source = format!("orderer {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("orderer manual");
    man.render_title(to)?;
    man.render_name_section(to)?;
    man.render_synopsis_section(to)?;
    man.render_description_section(to)?;
    paragraphs(&after.notes, to)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(to)?;
    }
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(to)?;
    }
    section("EXAMPLES", &examples(command, &after), to)?;
    let or = |own: &str, otherwise: &'static str| if own.is_empty() { otherwise.to_owned() } else { own.to_owned() };
    section("ENVIRONMENT", &or(&after.variables, examples::variables(&name)), to)?;
    section("EXIT STATUS", &or(&after.exit_codes, examples::exit_codes(&name)), to)?;
    let others = if name == "orderer" { "orderer.yaml(5), orderer-start(1)" } else { "orderer(1), orderer.yaml(5)" };
    section("SEE ALSO", others, to)
}

/// Returns the command's examples: those in its help, or those of the table.
pub(super) fn examples(command: &clap::Command, after: &AfterHelp) -> String {
    if !after.examples.is_empty() {
        return after.examples.clone();
    }
    let name = name(command);
    let listed = examples::EXAMPLES.iter().find(|(page, _)| *page == name);
    listed.map(|(_, lines)| (*lines).to_owned()).unwrap_or_default()
}

/// Writes a section whose lines are kept.
pub(super) fn section(heading: &str, lines: &str, to: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::default();
    roff.control("SH", [heading]);
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(to)
}

/// Writes paragraphs whose lines are filled.
pub(super) fn paragraphs(text: &str, to: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::default();
    for paragraph in text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    roff.to_writer(to)
}
