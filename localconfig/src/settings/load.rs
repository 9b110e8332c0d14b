//! Reads and checks a node's settings: returns them, or everything that is known of an invalid configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Settings;
use super::check::Checker;
use super::effective::Effective;
use super::read::{EMBEDDED, Mistake, Source, flatten};

/// Checked settings, and notes about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Notes for the log.
    pub notes: Vec<Note>,
    /// Every key with its value and source.
    pub effective: Vec<Effective>,
    /// The source, to read the settings again.
    pub origin: Origin,
}

/// A note about valid settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether the operator may have meant something else.
    pub is_warning: bool,
    /// The note's text.
    pub text: String,
}

impl Note {
    pub(super) fn fine(text: String) -> Self {
        Self { is_warning: false, text }
    }

    pub(super) fn warning(text: String) -> Self {
        Self { is_warning: true, text }
    }
}

/// The source of settings.
#[derive(Clone)]
pub struct Origin {
    /// The configuration file; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// The directory that relative paths are relative to if there is no file.
    pub working_folder: PathBuf,
    /// The process's environment.
    pub variables: BTreeMap<String, String>,
}

// variables may hold secrets
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, working_folder, variables } = self;
        let names: Vec<&String> = variables.keys().collect();
        let mut shown = f.debug_struct("Origin");
        shown.field("file", file).field("working_folder", working_folder).field("variables", &names).finish()
    }
}

/// Everything known of a configuration, whatever its errors.
#[derive(Debug)]
pub struct Examined {
    /// The settings, as far as the errors leave any.
    pub settings: Option<Settings>,
    /// The errors.
    pub mistakes: Vec<Mistake>,
    /// The notes.
    pub notes: Vec<Note>,
    /// Every key with its value and source.
    pub effective: Vec<Effective>,
}

/// Reads and checks the settings. Fails with every error.
pub fn load(origin: Origin) -> Result<Loaded, Vec<Mistake>> {
    match examine(&origin) {
        Examined { settings: Some(settings), mistakes, notes, effective } if mistakes.is_empty() => {
            Ok(Loaded { settings, notes, effective, origin })
        }
        Examined { mistakes, .. } => Err(mistakes),
    }
}

/// Reads and checks the settings. Returns everything known of them, whatever their errors.
pub fn examine(origin: &Origin) -> Examined {
    let Origin { file, working_folder, variables } = origin;
    let unreadable =
        |mistake| Examined { settings: None, mistakes: vec![mistake], notes: Vec::new(), effective: Vec::new() };
    let (text, written_in, folder) = match file {
        Some(path) => {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(e) => {
                    let source = Source::File(path.clone(), None);
                    return unreadable(Mistake::new(source, format!("cannot be read: {e}")));
                }
            };
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(working_folder);
            (text, path.clone(), folder.to_owned())
        }
        None => (EMBEDDED.to_owned(), PathBuf::from("(embedded orderer.yaml)"), working_folder.clone()),
    };
    let written = match flatten(&text, &written_in) {
        Ok(written) => written,
        Err(mistake) => return unreadable(mistake),
    };
    let foreign = variables.iter().filter(|(name, _)| name.starts_with("OTEL_"));
    let mut checker = Checker {
        folder,
        values: BTreeMap::new(),
        files: BTreeMap::new(),
        foreign: foreign.map(|(name, value)| (name.clone(), value.clone())).collect(),
        mistakes: Vec::new(),
        notes: Vec::new(),
    };
    checker.place(written);
    checker.override_by(variables);
    let settings = checker.settings(written_in.display().to_string());
    let effective = checker.effective();
    let Checker { mistakes, notes, .. } = checker;
    Examined { settings, mistakes, notes, effective }
}
