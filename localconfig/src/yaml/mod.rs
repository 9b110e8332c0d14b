//! The one reader of YAML and of the variables that override it, for the node's settings, configtx.yaml and
//! crypto-config.yaml. It follows what Fabric's programs do with such files (viper's environment rules, mapstructure's weak
//! decoding, byte sizes, lists in brackets); a test holds it against a table of what Fabric's own loader made of the same
//! input.

mod scalars;
#[cfg(test)]
mod table;
mod variables;

use serde::Deserialize as _;
use serde_yaml::Value;

pub use scalars::{boolean, bracketed, duration, integer, shown, size, text, texts};
pub use variables::Overrides;

/// Parses the first document of a text, which may be none. Merge keys (`<<: *x`) are applied.
///
/// # Errors
/// The text is not YAML, a name stands twice in a mapping, or a merge key merges no mapping.
pub fn parse(text: &str) -> Result<Value, serde_yaml::Error> {
    let Some(first) = serde_yaml::Deserializer::from_str(text).next() else { return Ok(Value::Null) };
    let mut root = Value::deserialize(first)?;
    root.apply_merge()?;
    Ok(root)
}
