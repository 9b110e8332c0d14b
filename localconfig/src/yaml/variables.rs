//! Variables that override keys.

use std::collections::BTreeMap;

/// Variables named PREFIX_SECTION_KEY, in capitals. An empty one counts as unset.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    prefix: &'static str,
    values: BTreeMap<String, String>,
}

impl Overrides {
    /// Selects the `variables` whose name begins with `prefix`, such as `ORDERER_`.
    pub fn new(prefix: &'static str, variables: &BTreeMap<String, String>) -> Self {
        let ours = variables.iter().filter(|(name, value)| name.starts_with(prefix) && !value.is_empty());
        Self { prefix, values: ours.map(|(name, value)| (name.clone(), value.clone())).collect() }
    }

    /// Returns the name of the variable that overrides a key, whether it is set or not.
    pub fn name(&self, path: &str) -> String {
        format!("{}{}", self.prefix, path.replace('.', "_").to_uppercase())
    }

    /// Returns the value that overrides a key, if there is one.
    pub fn of(&self, path: &str) -> Option<&str> {
        if self.values.is_empty() { None } else { self.values.get(&self.name(path)).map(String::as_str) }
    }

    /// Iterates over all variables, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
