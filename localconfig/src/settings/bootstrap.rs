//! The keys that name the genesis block of a node without channels, in today's names and in those of Fabric 1.4.

use std::path::PathBuf;

use super::load::Note;
use super::validate::Validator;

/// Name of the file that Fabric reads if none is configured.
const FABRICS_FILE: &str = "genesisblock";

/// The source of the first channel, for a node without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// The node waits until it is given a channel.
    Nothing,
    /// Block 0 of the channel. Read only when there is no channel yet, as in Fabric: it may be gone later.
    File(PathBuf),
    /// A profile of configtx.yaml, from which only Fabric 1.4 creates a block when it starts.
    Provisional(String),
}

impl Validator {
    pub(super) fn bootstrap(&mut self) -> Bootstrap {
        let (method, by) = self.first_of("General.BootstrapMethod", "General.GenesisMethod");
        let (file, named_by) = self.first_of("General.BootstrapFile", "General.GenesisFile");
        // Fabric 2.5 reads a file unless the method is none, Fabric 3 never; here a configured file is read
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
        // Fabric's own files of versions before 2.5 name the block as well
        if !file.is_empty() {
            let text = format!("{named_by} is not used: {by} is none; file makes the first channel from it");
            self.notes.push(Note::warning(text));
        }
        Bootstrap::Nothing
    }

    /// Returns the value of a key, or else of the one that it has replaced, with the name of the key.
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
