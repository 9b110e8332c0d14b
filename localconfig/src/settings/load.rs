//! Reads and checks a node's settings: returns them, or everything that is known of an invalid configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Settings;
use super::effective::EffectiveValue;
use super::sources::{ConfigError, EMBEDDED, Source, flatten};
use super::validate::Validator;

/// Checked settings, and notes about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Notes for the log.
    pub notes: Vec<Note>,
    /// Every key with its value and source.
    pub effective: Vec<EffectiveValue>,
    /// The source, to read the settings again.
    pub origin: ConfigSource,
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
pub struct ConfigSource {
    /// The configuration file; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// The directory that relative paths are relative to if there is no file.
    pub working_folder: PathBuf,
    /// The process's environment.
    pub variables: BTreeMap<String, String>,
}

// variables may hold secrets
impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, working_folder, variables } = self;
        let names: Vec<&String> = variables.keys().collect();
        let mut shown = f.debug_struct("Origin");
        shown.field("file", file).field("working_folder", working_folder).field("variables", &names).finish()
    }
}

/// Everything known of a configuration, whatever its errors.
#[derive(Debug)]
pub struct CheckedConfig {
    /// The settings, as far as the errors leave any.
    pub settings: Option<Settings>,
    /// The errors.
    pub mistakes: Vec<ConfigError>,
    /// The notes.
    pub notes: Vec<Note>,
    /// Every key with its value and source.
    pub effective: Vec<EffectiveValue>,
}

/// Reads and checks the settings. Fails with every error.
pub fn load(origin: ConfigSource) -> Result<Loaded, Vec<ConfigError>> {
    match examine(&origin) {
        CheckedConfig { settings: Some(settings), mistakes, notes, effective } if mistakes.is_empty() => {
            Ok(Loaded { settings, notes, effective, origin })
        }
        CheckedConfig { mistakes, .. } => Err(mistakes),
    }
}

/// Reads and checks the settings. Returns everything known of them, whatever their errors.
pub fn examine(origin: &ConfigSource) -> CheckedConfig {
    let ConfigSource { file, working_folder, variables } = origin;
    let unreadable =
        |mistake| CheckedConfig { settings: None, mistakes: vec![mistake], notes: Vec::new(), effective: Vec::new() };
    let (text, written_in, folder) = match file {
        Some(path) => {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(e) => {
                    let source = Source::File(path.clone(), None);
                    return unreadable(ConfigError::new(source, format!("cannot be read: {e}")));
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
    let mut checker = Validator {
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
    let Validator { mistakes, notes, .. } = checker;
    CheckedConfig { settings, mistakes, notes, effective }
}
