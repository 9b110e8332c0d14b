//! Reads values as they are written, each with its source.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::secrets::without_secrets;
use crate::yaml::{self, Value};

/// The commented defaults that come with the program.
pub const EMBEDDED: &str = include_str!("../../../orderer.yaml");
/// Name of the file in the directories that are searched.
const FILE_NAME: &str = "orderer.yaml";
/// Directory of a packaged installation.
const SYSTEM_FOLDER: &str = "/etc/hyperledger/fabric";

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, and the line if it could be found.
    File(PathBuf, Option<usize>),
    /// A variable.
    Variable(String),
    /// The key's default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One error of the configuration, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The source of the wrong value.
    pub source: Source,
    /// The error, beginning with the key.
    text: String,
}

impl ConfigError {
    /// Creates an error. `text` may quote a value: secrets in it are hidden.
    pub fn new(source: Source, text: impl AsRef<str>) -> Self {
        Self { source, text: without_secrets(text.as_ref()) }
    }
}

impl ConfigError {
    /// Returns whether the error is about this key.
    pub fn is_about(&self, key: &str) -> bool {
        self.text.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.text)
    }
}

/// The places where a configuration file may be.
#[derive(Clone, Debug, Default)]
pub struct SearchPath {
    /// `--config`.
    pub given: Option<PathBuf>,
    /// `FABRIC_CFG_PATH`.
    pub fabric_cfg_path: Option<PathBuf>,
    /// The working directory.
    pub working_folder: PathBuf,
}

/// Returns the first configuration file found; `None` for the embedded defaults. Fails if a named place has none.
pub fn find_file(places: &SearchPath) -> Result<Option<PathBuf>, ConfigError> {
    let missing = |path: &Path, named_by: &str| {
        ConfigError::new(Source::File(path.to_owned(), None), format!("no such file, named by {named_by}"))
    };
    if let Some(given) = &places.given {
        return if given.is_file() { Ok(Some(given.clone())) } else { Err(missing(given, "--config")) };
    }
    if let Some(folder) = &places.fabric_cfg_path {
        let file = folder.join(FILE_NAME);
        return if file.is_file() { Ok(Some(file)) } else { Err(missing(&file, "FABRIC_CFG_PATH")) };
    }
    let usual = [places.working_folder.join(FILE_NAME), Path::new(SYSTEM_FOLDER).join(FILE_NAME)];
    Ok(usual.into_iter().find(|file| file.is_file()))
}

/// Values with their sources, by the full path as written.
pub(super) type RawValues = BTreeMap<String, (Value, Source)>;

/// Flattens a YAML text into values by path.
pub(super) fn flatten(text: &str, file: &Path) -> Result<RawValues, ConfigError> {
    let at = |line| Source::File(file.to_owned(), line);
    let root = yaml::parse(text)
        .map_err(|e| ConfigError::new(at(e.location().map(|l| l.line())), format!("is not YAML: {e}")))?;
    let mut written = RawValues::new();
    match root {
        Value::Null => {}
        Value::Mapping(_) => flatten_value(String::new(), &root, &mut |path, value| {
            let line = line_of(text, &path);
            written.insert(path, (value, at(line)));
        }),
        _ => return Err(ConfigError::new(at(Some(1)), "is not a mapping of sections")),
    }
    Ok(written)
}

fn flatten_value(path: String, value: &Value, put: &mut impl FnMut(String, Value)) {
    match value {
        Value::Mapping(members) if !members.is_empty() => {
            for (name, member) in members {
                let name = yaml::shown(name);
                let below = if path.is_empty() { name } else { format!("{path}.{name}") };
                flatten_value(below, member, put);
            }
        }
        _ => put(path, value.clone()),
    }
}

/// Returns the line of a key, found by indentation; `None` for YAML in other styles.
fn line_of(text: &str, path: &str) -> Option<usize> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    let wanted: Vec<&str> = path.split('.').collect();
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') || content.starts_with('-') {
            continue;
        }
        let Some((name, _)) = content.split_once(':') else { continue };
        let indent = line.len() - content.len();
        while open.last().is_some_and(|&(outer, _)| outer >= indent) {
            open.pop();
        }
        open.push((indent, name.trim()));
        if open.iter().map(|&(_, name)| name).eq(wanted.iter().copied()) {
            return Some(number + 1);
        }
    }
    None
}
