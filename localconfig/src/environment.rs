//! Finds a program's settings: its variables, its working directory, and the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::settings::{ConfigError, ConfigSource, Loaded, SearchPath, find_file, load};

/// Returns the environment variables that are valid text.
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Finds the configuration file.
pub fn find_settings(
    given: Option<PathBuf>,
    variables: &BTreeMap<String, String>,
) -> Result<ConfigSource, ConfigError> {
    let working_folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let fabric_cfg_path = variables.get("FABRIC_CFG_PATH").map(PathBuf::from);
    let file = find_file(&SearchPath { given, fabric_cfg_path, working_folder: working_folder.clone() })?;
    Ok(ConfigSource { file, working_folder, variables: variables.clone() })
}

/// Finds, reads and checks the configuration. On errors, returns a line for each.
pub fn load_settings(given: Option<PathBuf>, variables: &BTreeMap<String, String>) -> Result<Loaded, Vec<String>> {
    let loaded = find_settings(given, variables).map_err(|mistake| vec![mistake]).and_then(load);
    loaded.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}
