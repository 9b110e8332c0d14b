//! What a node without any channel makes its first one from, in today's keys and in those of Fabric 1.4.

use std::path::PathBuf;

use super::check::Checker;
use super::load::Note;

/// What Fabric reads if a file is to be read and none is named.
const FABRICS_FILE: &str = "genesisblock";

/// What a node without any channel makes its first one from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// Nothing: it waits until it is given a channel.
    Nothing,
    /// Block 0 of the channel. Read only when there is no channel yet, as in Fabric: it may be gone later.
    File(PathBuf),
    /// A profile of configtx.yaml, which only Fabric 1.4 makes into a block when it starts.
    Provisional(String),
}

impl Checker {
    pub(super) fn bootstrap(&mut self) -> Bootstrap {
        let (method, by) = self.first_of("General.BootstrapMethod", "General.GenesisMethod");
        let (file, named_by) = self.first_of("General.BootstrapFile", "General.GenesisFile");
        // Fabric 2.5 reads a file unless it is told not to, Fabric 3 never: here one that is named is read
        let method = match method.as_str() {
            "" if file.is_empty() => "none",
            "" => "file",
            other => other,
        };
        if method.eq_ignore_ascii_case("provisional") {
            return Bootstrap::Provisional(self.text("General.GenesisProfile"));
        }
        if method.eq_ignore_ascii_case("file") {
            let name = if file.is_empty() { FABRICS_FILE } else { &file };
            return Bootstrap::File(self.folder.join(name));
        }
        // Fabric's own files of versions before 2.5 say where the block would be, too
        if !file.is_empty() {
            let text = format!("{named_by} is not used: {by} is none; file makes the first channel from it");
            self.notes.push(Note::warning(text));
        }
        Bootstrap::Nothing
    }

    /// The value of a key, or else of the one that it has replaced.
    fn first_of(&mut self, key: &'static str, replaced: &'static str) -> (String, &'static str) {
        let value = self.text(key);
        if !value.is_empty() {
            return (value, key);
        }
        let old = self.text(replaced);
        if old.is_empty() {
            return (old, key);
        }
        self.notes.push(Note::warning(format!("{replaced} should be replaced by {key}")));
        (old, replaced)
    }
}
