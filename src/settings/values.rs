//! Values as they are written, read as what their keys are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use orderer_core::config::parse_go_duration;
use serde_yaml::Value;

use super::check::Checker;
use super::keys::KEYS;
use super::read::{Mistake, Source};

impl Checker {
    pub(super) fn mistake(&mut self, source: Source, text: String) {
        self.mistakes.push(Mistake { source, text });
    }

    pub(super) fn missing(&mut self, key: &'static str, path: &Path, what: &str) {
        let source = self.source(key);
        self.mistake(source, format!("{key}: {what}: {}", path.display()));
    }

    pub(super) fn source(&self, path: &str) -> Source {
        self.values.get(path).map_or(Source::Default, |(_, source)| source.clone())
    }

    /// The value, if it was written anywhere.
    pub(super) fn written(&self, path: &str) -> Option<&Value> {
        self.values.get(path).map(|(value, _)| value)
    }

    /// A variable that is not ours, unless it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.foreign.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The value as text, or the default.
    pub(super) fn text(&self, path: &'static str) -> String {
        let default = || KEYS.iter().find(|key| key.path == path).map_or("", |key| key.default).to_owned();
        self.values.get(path).map_or_else(default, |(value, _)| plain(value))
    }

    pub(super) fn bool(&self, path: &'static str) -> bool {
        self.text(path).eq_ignore_ascii_case("true")
    }

    /// A number that `check_kind` has found to be one; of one that does not fit, the largest that does.
    pub(super) fn number<N: TryFrom<u64> + Bounded>(&self, path: &'static str) -> N {
        N::try_from(bytes(&self.text(path)).unwrap_or(0)).unwrap_or(N::MAX)
    }

    pub(super) fn duration(&self, path: &'static str) -> Duration {
        duration(&self.text(path)).unwrap_or_default()
    }

    pub(super) fn path(&self, path: &'static str) -> PathBuf {
        self.folder.join(self.text(path))
    }

    pub(super) fn paths(&self, path: &'static str) -> Vec<PathBuf> {
        self.list(path).iter().map(|item| self.folder.join(item)).collect()
    }

    pub(super) fn list(&self, path: &'static str) -> Vec<String> {
        match self.values.get(path) {
            Some((Value::Sequence(items), _)) => items.iter().map(plain).collect(),
            Some((Value::String(one), _)) => vec![one.clone()],
            _ => Vec::new(),
        }
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
impl Bounded for usize {
    const MAX: Self = Self::MAX;
}

/// A scalar as it would be written.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null => String::new(),
        other => serde_yaml::to_string(other).unwrap_or_default().trim().replace('\n', " "),
    }
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    parse_go_duration(text).filter(|(_, negative)| !negative).map(|(duration, _)| duration)
}

/// A number of bytes; KB, MB and GB are powers of 1024, as in the reference.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("104857600"), Some(104_857_600));
        assert_eq!(bytes("1 MB"), Some(1 << 20));
        assert_eq!(bytes("64kb"), Some(64 << 10));
        assert_eq!(bytes("lots"), None);
    }
}
