//! Assigns each value, from the file or from a variable, to its key.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{KEYS, Key, Kind, ReloadEffect};
use super::load::Note;
use super::sources::{RawValues, Source};
use super::validate::Validator;
use crate::yaml::{self, Overrides, Value};

/// Maximum edit distance of a key that is suggested for an unknown one.
const NEAREST_MAX_DISTANCE: usize = 12;
/// Prefix of the node's variables.
pub(super) const PREFIX: &str = "ORDERER_";
/// Suffix below a key whose value is in a file.
const FILE: &str = "File";

impl Validator {
    /// Assigns each value to its key.
    pub(super) fn place(&mut self, written: RawValues) {
        let mut ignored: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (path, (value, source)) in written {
            let Some(key) = KEYS.iter().find(|key| key.covers(&path)) else {
                self.place_elsewhere(&path, value, source);
                continue;
            };
            if let ReloadEffect::Ignored(why) = key.effect {
                if value != Value::Null {
                    ignored.entry(why).or_default().insert(key.path);
                }
                continue;
            }
            self.values.insert(key.path, (value, source));
        }
        for (why, keys) in ignored {
            let keys: Vec<&str> = keys.into_iter().collect();
            self.notes.push(Note::fine(format!("ignored: {} ({why})", keys.join(", "))));
        }
    }

    /// Handles a path that is no key: an empty section, the file of a key, or an error.
    fn place_elsewhere(&mut self, path: &str, value: Value, source: Source) {
        if KEYS.iter().any(|key| is_inside(key.path, path)) {
            // an empty section is ignored, whatever its name
            if !matches!(value, Value::Null | Value::Mapping(_)) {
                self.mistake(source, format!("{path} is a section, not a value"));
            }
            return;
        }
        if let Some(key) = KEYS.iter().find(|key| is_inside(path, key.path)) {
            // the text may be a secret
            if key.may_be_in_a_file() && path[key.path.len() + 1..].eq_ignore_ascii_case(FILE) {
                self.files.insert(key.path, (value, source));
            } else {
                self.mistake(source, format!("{} is a value, not a section", key.path));
            }
            return;
        }
        self.mistake(source, format!("unknown key {path}{}", nearest(path)));
    }

    pub(super) fn override_by(&mut self, variables: &BTreeMap<String, String>) {
        let overrides = Overrides::new(PREFIX, variables);
        for (name, text) in overrides.iter() {
            let source = Source::Variable(name.to_owned());
            if let Some(key) = KEYS.iter().find(|key| overrides.name(key.path) == name) {
                if let ReloadEffect::Ignored(why) = key.effect {
                    self.notes.push(Note::fine(format!("ignored: variable {name} ({why})")));
                    continue;
                }
                self.files.remove(key.path);
                self.values.insert(key.path, (in_variable(key, text), source));
            } else if let Some(key) = file_of(&overrides, name) {
                self.file_by_variable(key, name, text);
            } else if let Some(why) = ignored_above(&overrides, name) {
                self.notes.push(Note::fine(format!("ignored: variable {name} ({why})")));
            } else if !is_service_link(name, text) {
                // other programs have such variables too, so this is no error
                let hint = nearest_variable(&overrides, name);
                self.notes.push(Note::warning(format!("variable {name} names no key{hint}")));
            }
        }
    }

    /// Takes a key's value from a file named by a variable. As in Fabric, only if the key is not written otherwise.
    fn file_by_variable(&mut self, key: &'static Key, name: &str, text: &str) {
        let source = Source::Variable(name.to_owned());
        if self.written(key.path).is_some_and(|value| *value != Value::Null) {
            let by = self.source(key.path);
            self.notes.push(Note::warning(format!("variable {name} is not used: {} is written ({by})", key.path)));
        } else {
            self.values.remove(key.path);
            self.files.insert(key.path, (Value::String(text.to_owned()), source));
        }
    }

    /// Replaces the names of files by their content.
    pub(super) fn read_files(&mut self) {
        for (path, (value, source)) in std::mem::take(&mut self.files) {
            let name = yaml::text(&value).unwrap_or_default().trim().to_owned();
            if name.is_empty() {
                self.mistake(source, format!("{path}.{FILE} names no file"));
                continue;
            }
            let is_pem = KEYS.iter().any(|key| key.path == path && matches!(key.kind, Kind::Pem | Kind::Pems));
            if is_pem {
                self.values.insert(path, (Value::String(name), source));
                continue;
            }
            let file = self.folder.join(&name);
            match std::fs::read_to_string(&file) {
                Ok(text) => {
                    let text = text.trim_end_matches(['\r', '\n']).to_owned();
                    self.values.insert(path, (Value::String(text), source));
                }
                Err(error) => self.mistake(source, format!("{path}.{FILE}: {}: {error}", file.display())),
            }
        }
    }
}

/// Returns the value of a variable; a list may do without its brackets.
fn in_variable(key: &Key, text: &str) -> Value {
    let is_list = matches!(key.kind, Kind::Paths | Kind::List | Kind::Pems | Kind::KeyIds);
    if is_list && yaml::bracketed(text).is_none() && !super::secrets::is_pem(text) {
        return Value::Sequence(text.split(',').map(|part| Value::String(part.trim().to_owned())).collect());
    }
    Value::String(text.to_owned())
}

fn file_of(overrides: &Overrides, name: &str) -> Option<&'static Key> {
    let of = name.strip_suffix("_FILE")?;
    KEYS.iter().find(|key| key.may_be_in_a_file() && overrides.name(key.path) == of)
}

fn ignored_above(overrides: &Overrides, name: &str) -> Option<&'static str> {
    KEYS.iter().find_map(|key| match key.effect {
        ReloadEffect::Ignored(why) => {
            let rest = name.strip_prefix(&*overrides.name(key.path))?;
            rest.starts_with('_').then_some(why)
        }
        ReloadEffect::Works => None,
    })
}

/// Returns whether Kubernetes sets this variable in every container, for a service named `orderer` or
/// `orderer-SOMETHING`.
fn is_service_link(name: &str, text: &str) -> bool {
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP_ADDR", "_TCP_PORT", "_TCP_PROTO"];
    name.contains("_SERVICE_PORT_") || ends.iter().any(|end| name.ends_with(end)) || text.starts_with("tcp://")
}

fn is_inside(path: &str, section: &str) -> bool {
    path.len() > section.len()
        && path.is_char_boundary(section.len())
        && path[..section.len()].eq_ignore_ascii_case(section)
        && path.as_bytes()[section.len()] == b'.'
}

/// Suggests a known key for an unknown one.
fn nearest(path: &str) -> String {
    let wanted = path.to_ascii_lowercase();
    let distance = |key: &&Key| strsim::osa_distance(&wanted, &key.path.to_ascii_lowercase());
    match KEYS.iter().min_by_key(distance).filter(|key| distance(key) <= NEAREST_MAX_DISTANCE) {
        Some(key) => format!("; did you mean {}?", key.path),
        None => String::new(),
    }
}

/// Suggests a known variable: the one with the fewest letters to change, or else one that ends alike.
fn nearest_variable(overrides: &Overrides, name: &str) -> String {
    let wanted = name.to_ascii_uppercase();
    let last = wanted.trim_start_matches(PREFIX);
    let names = || KEYS.iter().map(|key| overrides.name(key.path));
    let ends_alike = || names().find(|known| known.ends_with(&format!("_{last}")));
    let by_letters = || {
        let near = names().min_by_key(|known| strsim::osa_distance(&wanted, known))?;
        (strsim::osa_distance(&wanted, &near) <= last.len() / 3).then_some(near)
    };
    by_letters().or_else(ends_alike).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_names_no_key_is_told_the_one_that_was_meant() {
        let overrides = Overrides::new(PREFIX, &BTreeMap::new());
        let cases = [
            ("ORDERER_GENERAL_LISTENPRT", "; did you mean ORDERER_GENERAL_LISTENPORT?"),
            ("ORDERER_General_ListenPort", "; did you mean ORDERER_GENERAL_LISTENPORT?"),
            ("ORDERER_LISTENPORT", "; did you mean ORDERER_GENERAL_LISTENPORT?"),
            ("ORDERER_CA", ""),
        ];
        for (name, hint) in cases {
            assert_eq!(nearest_variable(&overrides, name), hint, "{name}");
        }
        let links = ["ORDERER_SERVICE_HOST", "ORDERER_PORT_7050_TCP_ADDR", "ORDERER_SERVICE_PORT_GRPC"];
        assert!(
            links.iter().all(|name| is_service_link(name, "x")) && is_service_link("ORDERER_PORT", "tcp://10.1.2.3:1")
        );
        assert!(!is_service_link("ORDERER_GENERAL_LISTEN_PORT", "7050"));
    }
}
