//! The one reader of YAML and of the variables that override it, for the node's settings, configtx.yaml and
//! crypto-config.yaml. It follows what Fabric's programs do with such files (viper's environment rules, mapstructure's weak
//! decoding, byte sizes, lists in brackets); a test holds it against a table of what Fabric's own loader made of the same
//! input.
//!
//! Nothing outside this file names `serde_yaml`, which is no longer maintained: its successor is a change of this file and of a line
//! in `localconfig/Cargo.toml`. The test `yaml_has_one_reader` in `tests/tidy.rs` keeps that.

mod scalars;
#[cfg(test)]
mod table;
mod variables;

use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};

pub use scalars::{boolean, bracketed, duration, integer, shown, size, text, texts};
pub use serde_yaml::{Error, Mapping, Number, Value};
pub use variables::Overrides;

/// Parses the first document of a text, which may be none. Merge keys (`<<: *x`) are applied.
///
/// # Errors
/// The text is not YAML, a name stands twice in a mapping, or a merge key merges no mapping.
pub fn parse(text: &str) -> Result<Value, Error> {
    let Some(first) = serde_yaml::Deserializer::from_str(text).next() else { return Ok(Value::Null) };
    let mut root = Value::deserialize(first)?;
    root.apply_merge()?;
    Ok(root)
}

/// Reads a document into a type that says itself what it takes, strictly.
///
/// # Errors
/// The text is not YAML, or not what the type takes.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    serde_yaml::from_slice(text)
}

/// Writes a value as YAML.
///
/// # Errors
/// The value has no form in YAML.
pub fn write<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_yaml::to_string(value)
}
