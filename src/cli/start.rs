//! `orderer start`.

use std::process::ExitCode;

use super::{StartArguments, complain, load_settings, variables};
use crate::reread::Reread;
use crate::settings::Loaded;
use crate::telemetry::{self, LogFormat};
use crate::{dev, node};

pub(super) fn run(arguments: StartArguments) -> ExitCode {
    let variables = variables();
    let asked_for_json = variables.get("FABRIC_LOGGING_FORMAT").is_some_and(|format| format == "json");
    let format = arguments.log_format.unwrap_or(if asked_for_json { LogFormat::Json } else { LogFormat::Human });
    let given_spec = variables.get("FABRIC_LOGGING_SPEC").cloned();
    let logs = match telemetry::start(given_spec.as_deref().unwrap_or("info"), format) {
        Ok(logs) => logs,
        Err(error) => return complain([format!("FABRIC_LOGGING_SPEC: {error}")]),
    };
    let network = match arguments.dev.as_deref().map(dev::prepare).transpose() {
        Ok(network) => network,
        Err(error) => return complain([chain(&error)]),
    };
    let config = network.as_ref().map(|network| network.config_file.clone()).or(arguments.config);
    let Loaded { settings, notes, origin, .. } = match load_settings(config, &variables) {
        Ok(loaded) => loaded,
        Err(mistakes) => return complain(mistakes),
    };
    let spec = settings.logged(given_spec);
    if spec != logs.spec() {
        // its parts have been read already: the whole can be, too
        let _ = logs.set(&spec);
    }
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
    let reread = Reread { origin, logs: logs.clone() };
    match node::run(&settings, &logs, reread, &genesis, greeting.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain([format!("{error:#}")]),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    orderer_actors::chain_state::chain_text(error)
}
