//! Converts values to the types of their keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::KEYS;
use super::sources::{ConfigError, Source};
use super::validate::Validator;
use crate::yaml::{self, Value};

impl Validator {
    pub(super) fn mistake(&mut self, source: Source, text: impl AsRef<str>) {
        self.mistakes.push(ConfigError::new(source, text));
    }

    pub(super) fn missing(&mut self, key: &'static str, path: &Path, what: &str) {
        let source = self.source(key);
        self.mistake(source, format!("{key}: {what}: {}", path.display()));
    }

    pub(super) fn source(&self, path: &str) -> Source {
        self.values.get(path).map_or(Source::Default, |(_, source)| source.clone())
    }

    /// Returns the value, if it was written anywhere.
    pub(super) fn written(&self, path: &str) -> Option<&Value> {
        self.values.get(path).map(|(value, _)| value)
    }

    /// Returns a variable without the node's prefix, unless it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.foreign.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Returns the value, or the default.
    fn value(&self, path: &str) -> Value {
        let default = || KEYS.iter().find(|key| key.path == path).map_or("", |key| key.default).to_owned();
        self.written(path).cloned().unwrap_or_else(|| Value::String(default()))
    }

    /// Returns the value as text, trimmed.
    pub(super) fn text(&self, path: &'static str) -> String {
        yaml::text(&self.value(path)).unwrap_or_default().trim().to_owned()
    }

    /// Returns the value as text, untrimmed.
    pub(super) fn secret(&self, path: &'static str) -> String {
        yaml::text(&self.value(path)).unwrap_or_default()
    }

    pub(super) fn bool(&self, path: &'static str) -> bool {
        yaml::boolean(&self.value(path)).unwrap_or_default()
    }

    /// Returns a number, which `check_kind` has verified to be one; the largest of the type if it does not fit.
    pub(super) fn number<N: TryFrom<u64> + Bounded>(&self, path: &'static str) -> N {
        N::try_from(yaml::size(&self.value(path)).unwrap_or(0)).unwrap_or(N::MAX)
    }

    pub(super) fn duration(&self, path: &'static str) -> Duration {
        yaml::duration(&self.value(path)).unwrap_or_default()
    }

    pub(super) fn path(&self, path: &'static str) -> PathBuf {
        self.folder.join(self.text(path))
    }

    pub(super) fn paths(&self, path: &'static str) -> Vec<PathBuf> {
        self.list(path).iter().map(|item| self.folder.join(item)).collect()
    }

    pub(super) fn list(&self, path: &'static str) -> Vec<String> {
        yaml::texts(&self.value(path)).unwrap_or_default()
    }
}

pub(super) trait Bounded {
    const MAX: Self;
}
impl Bounded for i16 {
    const MAX: Self = Self::MAX;
}

impl Bounded for u16 {
    const MAX: Self = Self::MAX;
}
impl Bounded for u32 {
    const MAX: Self = Self::MAX;
}
impl Bounded for u64 {
    const MAX: Self = Self::MAX;
}
impl Bounded for usize {
    const MAX: Self = Self::MAX;
}
