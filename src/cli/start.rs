//! `orderer start`.

use std::process::ExitCode;

use super::{StartArguments, dev_cluster};
use crate::node;
use crate::reload::Reloader;
use crate::settings::Loaded;
use crate::telemetry::{self, LogFormat, check_spec};
use crate::traces::OtlpExporter;
use orderer_localconfig::environment::{load_settings, variables};
use orderer_tools::commands::output::print_errors;
use orderer_tools::cryptogen::Algorithm;
use orderer_tools::dev_network;

pub(super) fn run(arguments: StartArguments) -> ExitCode {
    let variables = variables();
    let asked_for_json = variables.get("FABRIC_LOGGING_FORMAT").is_some_and(|format| format == "json");
    let format = arguments.log_format.unwrap_or(if asked_for_json { LogFormat::Json } else { LogFormat::Human });
    let given_spec = variables.get("FABRIC_LOGGING_SPEC").cloned();
    if let Some(Err(error)) = given_spec.as_deref().map(check_spec) {
        return print_errors([format!("FABRIC_LOGGING_SPEC: {error}")]);
    }
    if let Some(folder) = &arguments.dev {
        let orderers = arguments.orderers.as_deref().and_then(|number| number.parse().ok());
        match dev_network::cluster::prepare(folder, orderers, arguments.base_port) {
            Ok(Some(cluster)) => return dev_cluster::run(&cluster, &variables, format),
            Ok(None) => {}
            Err(error) => return print_errors([chain(&error)]),
        }
    }
    if arguments.supervised {
        dev_cluster::end_with_supervisor();
    }
    let network = arguments.dev.as_deref().map(|folder| dev_network::prepare(folder, Algorithm::Ecdsa));
    let network = match network.transpose() {
        Ok(network) => network,
        Err(error) => return print_errors([chain(&error)]),
    };
    let config = network.as_ref().map(|network| network.config_file.clone()).or(arguments.config);
    let Loaded { settings, notes, origin, .. } = match load_settings(config, &variables) {
        Ok(loaded) => loaded,
        Err(mistakes) => return print_errors(mistakes),
    };
    let collector = settings.tracing.as_ref();
    let traces = match collector.map(|tracing| OtlpExporter::start(tracing, &settings.listen.to_string())).transpose() {
        Ok(traces) => traces,
        Err(error) => return print_errors([format!("{error:#}")]),
    };
    let (traces, spans) = traces.unzip();
    let logs = match telemetry::start(&settings.logged(given_spec), format, spans) {
        Ok(logs) => logs,
        Err(error) => return print_errors([error.to_string()]),
    };
    for note in notes {
        if note.is_warning {
            tracing::warn!(target: "orderer.node", "{}", note.text);
        } else {
            tracing::info!(target: "orderer.node", "{}", note.text);
        }
    }
    if let Some(tracing) = collector {
        tracing::info!(target: "orderer.node", endpoint = %tracing.endpoint, percent = tracing.sample_percent,
            "exporting spans to a collector");
    }
    let (genesis, greeting) = match network {
        Some(network) => {
            let greeting = network.greeting(&settings);
            (network.genesis_blocks, Some(greeting))
        }
        None => (Vec::new(), arguments.supervised.then(|| dev_cluster::SERVES.to_owned())),
    };
    let reread = Reloader { origin, logs: logs.clone() };
    let ended = node::run(&settings, &logs, reread, &genesis, greeting.as_deref());
    if let Some(traces) = traces {
        traces.finish();
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => print_errors([format!("{error:#}")]),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    orderer_actors::chain_state::error_chain(error)
}
