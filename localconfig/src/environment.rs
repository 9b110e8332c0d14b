//! Where a program's settings come from: its variables, its working folder, and the file that is found there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::settings::{Loaded, Mistake, Origin, SearchPlaces, find_file, load};

/// The environment, as far as it is text.
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Finds the configuration.
pub fn find_settings(given: Option<PathBuf>, variables: &BTreeMap<String, String>) -> Result<Origin, Mistake> {
    let working_folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let fabric_cfg_path = variables.get("FABRIC_CFG_PATH").map(PathBuf::from);
    let file = find_file(&SearchPlaces { given, fabric_cfg_path, working_folder: working_folder.clone() })?;
    Ok(Origin { file, working_folder, variables: variables.clone() })
}

/// Finds, reads and checks the configuration; a line for each mistake.
pub fn load_settings(given: Option<PathBuf>, variables: &BTreeMap<String, String>) -> Result<Loaded, Vec<String>> {
    let loaded = find_settings(given, variables).map_err(|mistake| vec![mistake]).and_then(load);
    loaded.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}
