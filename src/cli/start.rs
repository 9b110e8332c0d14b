//! `orderer start`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::StartArguments;
use crate::settings::{Loaded, SearchPlaces, find_file, load};
use crate::telemetry::{self, LogFormat};
use crate::{dev, node};

/// Lines on standard error for each thing that is wrong; nothing else.
fn complain(lines: impl IntoIterator<Item = String>) -> ExitCode {
    for line in lines {
        eprintln!("orderer: {line}");
    }
    ExitCode::FAILURE
}

pub(super) fn run(arguments: StartArguments) -> ExitCode {
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let asked_for_json = variables.get("FABRIC_LOGGING_FORMAT").is_some_and(|format| format == "json");
    let format = arguments.log_format.unwrap_or(if asked_for_json { LogFormat::Json } else { LogFormat::Human });
    let spec = variables.get("FABRIC_LOGGING_SPEC").map_or("info", String::as_str);
    let logs = match telemetry::start(spec, format) {
        Ok(logs) => logs,
        Err(error) => return complain([error.to_string()]),
    };
    let working_folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let network = match arguments.dev.as_deref().map(dev::prepare).transpose() {
        Ok(network) => network,
        Err(error) => return complain([chain(&error)]),
    };
    let file = match &network {
        Some(network) => Ok(Some(network.config_file.clone())),
        None => find_file(&SearchPlaces {
            given: arguments.config,
            fabric_cfg_path: variables.get("FABRIC_CFG_PATH").map(PathBuf::from),
            working_folder: working_folder.clone(),
        }),
    };
    let loaded = file
        .map_err(|mistake| vec![mistake])
        .and_then(|file| load(file.as_deref().map(Path::new), &working_folder, &variables));
    let Loaded { settings, notes } = match loaded {
        Ok(loaded) => loaded,
        Err(mistakes) => return complain(mistakes.iter().map(ToString::to_string)),
    };
    for note in notes {
        tracing::info!(target: "orderer.node", "{note}");
    }
    let (genesis, greeting) = match network {
        Some(network) => {
            let greeting = network.greeting(settings.listen);
            (network.genesis_blocks, Some(greeting))
        }
        None => (Vec::new(), None),
    };
    match node::run(&settings, &logs, &genesis, greeting.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain([format!("{error:#}")]),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    orderer_actors::chain_state::chain_text(error)
}
