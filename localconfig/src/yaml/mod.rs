//! The one parser of YAML and of the variables that override it, for the node's settings, configtx.yaml and
//! crypto-config.yaml. It behaves as Fabric's programs do with such files (viper's environment rules, mapstructure's
//! weak decoding, byte sizes, lists in brackets); a test compares it with a table of the results of Fabric's own
//! loader on the same input.
//!
//! Nothing outside this file names `serde_yaml`, which is no longer maintained: replacing it changes this file and a
//! line in `localconfig/Cargo.toml`. The test `yaml_has_one_reader` in `tests/tidy.rs` ensures that.

mod scalars;
#[cfg(test)]
mod table;
mod variables;

use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};

pub use scalars::{boolean, bracketed, duration, integer, shown, size, text, texts};
pub use serde_yaml::{Error, Mapping, Number, Value};
pub use variables::Overrides;

/// Parses the first document of a text, which may be empty. Merge keys (`<<: *x`) are applied.
///
/// # Errors
/// The text is not YAML, a name stands twice in a mapping, or a merge key merges no mapping.
pub fn parse(text: &str) -> Result<Value, Error> {
    let Some(first) = serde_yaml::Deserializer::from_str(text).next() else { return Ok(Value::Null) };
    let mut root = Value::deserialize(first)?;
    root.apply_merge()?;
    Ok(root)
}

/// Deserializes a document strictly into a type.
///
/// # Errors
/// The text is not YAML, or does not match the type.
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
