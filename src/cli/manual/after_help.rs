//! The parts of the text behind a command's options.

use orderer_tools::fabric_tools::FabricTool;

/// The text behind a command's options, by its headings.
#[derive(Debug, Default)]
pub(super) struct AfterHelp {
    /// Text without a heading.
    pub(super) notes: String,
    pub(super) examples: String,
    pub(super) variables: String,
    pub(super) exit_codes: String,
}

impl AfterHelp {
    pub(super) fn of(command: &clap::Command) -> Self {
        let text = command.get_after_long_help().or(command.get_after_help());
        Self::parse(&text.map(ToString::to_string).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut parts = Self::default();
        let mut part = &mut parts.notes;
        for line in text.lines() {
            part = match line {
                _ if line.starts_with("Try it") => &mut parts.examples,
                "Variables:" => &mut parts.variables,
                "Exit codes:" => &mut parts.exit_codes,
                line => {
                    part.push_str(line);
                    part.push('\n');
                    continue;
                }
            };
        }
        for part in [&mut parts.notes, &mut parts.examples, &mut parts.variables, &mut parts.exit_codes] {
            part.truncate(part.trim_end().len());
        }
        parts
    }
}

/// Returns the command lines of this program among lines of a shell, each as `orderer` and its arguments. Variables,
/// comments, other programs and redirections are left out.
#[cfg_attr(not(test), expect(dead_code, reason = "a test parses the examples"))]
pub(super) fn command_lines(shell: &str) -> Vec<Vec<String>> {
    let joined = shell.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        for part in line.split(" | ") {
            let words = part.split_whitespace().take_while(|word| !word.starts_with(['#', '>', '<', ';']));
            let mut words = words.skip_while(|word| word.contains('=') && !word.starts_with('-'));
            match words.next() {
                Some("orderer") => found.push(std::iter::once("orderer").chain(words).map(str::to_owned).collect()),
                Some(tool) if FabricTool::named(tool.as_ref()).is_some() => {
                    found.push(["orderer", tool].into_iter().chain(words).map(str::to_owned).collect());
                }
                _ => {}
            }
        }
    }
    found
}
