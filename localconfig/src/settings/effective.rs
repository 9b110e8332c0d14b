//! The configuration in force, for operators: every key with its value and its source.

use serde::Serialize;

use super::keys::{KEYS, Key, ReloadEffect};
use super::secrets::{HIDDEN, shown};
use super::validate::Validator;
use crate::yaml;

/// One key, as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EffectiveValue {
    /// The key's path.
    pub key: &'static str,
    /// The value as YAML; of a secret only whether there is one.
    pub value: String,
    /// `default`, the file and line, or the variable.
    pub source: String,
}

impl EffectiveValue {
    /// Returns whether the value is a secret.
    pub fn is_hidden(&self) -> bool {
        self.value == HIDDEN
    }
}

impl Validator {
    /// Returns every key that has a meaning here, in the order of `orderer.yaml`.
    pub(super) fn effective(&self) -> Vec<EffectiveValue> {
        let known = KEYS.iter().filter(|key| !matches!(key.effect, ReloadEffect::Ignored(_)));
        known
            .map(|key| EffectiveValue {
                key: key.path,
                value: self.shown(key),
                source: self.source(key.path).to_string(),
            })
            .collect()
    }

    fn shown(&self, key: &Key) -> String {
        shown(key, &self.written(key.path).map_or_else(|| key.default.to_owned(), yaml::shown))
    }
}
