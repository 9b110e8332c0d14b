//! Where settings come from, and what comes of them: a node's settings, or all that can be said of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Settings;
use super::check::Checker;
use super::effective::Effective;
use super::read::{EMBEDDED, Mistake, Source, flatten};

/// Checked settings, and what is worth saying about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// For the log, once there is one.
    pub notes: Vec<Note>,
    /// Every key, and where its value came from.
    pub effective: Vec<Effective>,
    /// To read them again.
    pub origin: Origin,
}

/// Something worth saying about settings that are not wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody may have meant something else.
    pub is_warning: bool,
    /// What.
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

/// Where settings come from.
#[derive(Clone)]
pub struct Origin {
    /// The configuration file; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// What relative paths are relative to if there is no file.
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

/// All that can be said of a configuration, whatever is wrong with it.
#[derive(Debug)]
pub struct Examined {
    /// As far as the mistakes leave any.
    pub settings: Option<Settings>,
    /// What is wrong.
    pub mistakes: Vec<Mistake>,
    /// What is worth saying.
    pub notes: Vec<Note>,
    /// Every key, and where its value came from.
    pub effective: Vec<Effective>,
}

/// Reads and checks the settings.
pub fn load(origin: Origin) -> Result<Loaded, Vec<Mistake>> {
    match examine(&origin) {
        Examined { settings: Some(settings), mistakes, notes, effective } if mistakes.is_empty() => {
            Ok(Loaded { settings, notes, effective, origin })
        }
        Examined { mistakes, .. } => Err(mistakes),
    }
}

/// Reads and checks the settings, and tells everything about them.
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
