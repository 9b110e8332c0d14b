//! Compares the node's CPU time for an envelope with a recorded one. Both are numbers of signature verifications on the
//! same machine, so they hardly depend on the machine.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use world::Setup;

/// The recorded cost of each kind of signature, in verifications.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cpu-cost.json");
/// Factor by which the cost may exceed the recorded one.
const WORSE: f64 = 1.05;
/// Time limit of one benchmark.
const LIMIT: Duration = Duration::from_secs(900);

/// Returns why a cost is too high.
fn verdict(kind: &str, recorded: f64, measured: f64) -> Result<(), String> {
    if measured <= recorded * WORSE {
        return Ok(());
    }
    let percent = (measured / recorded - 1.0) * 100.0;
    Err(format!("{kind}: an envelope costs {measured:.3} verifications, {percent:.1} % more than {recorded:.3}"))
}

#[test]
fn a_cost_is_too_high_from_five_percent_on() {
    assert_eq!(verdict("ecdsa", 2.0, 2.09), Ok(()));
    assert_eq!(verdict("ecdsa", 2.0, 1.0), Ok(()));
    assert!(verdict("ecdsa", 2.0, 2.11).unwrap_err().contains("5.5 % more than 2.000"));
    assert!(verdict("ecdsa", 2.0, f64::NAN).is_err());
}

/// Returns the lowest cost of the runs, since other work on the machine only adds to it.
fn measured(kind: &str) -> f64 {
    let runs = std::env::var("CPU_RUNS").unwrap_or_else(|_| "9".to_owned());
    let arguments = ["benchmark", "--over", "grpc", "--algorithm", kind, "--json", "--runs", &runs];
    let ended = Setup::without_channels().arguments(&arguments).run_within(LIMIT, "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let costs: Vec<f64> = report["subjects"][0]["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["cpu_in_verifications"].as_f64().unwrap())
        .collect();
    println!("{kind}: {costs:.3?} verifications for an envelope, {}", report["machine"]["processor"]);
    costs.into_iter().fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "a measurement: needs an optimized build and an otherwise idle machine; tests/run-long cpu"]
fn an_envelope_costs_no_more_than_recorded() {
    let costs = ["ecdsa", "ed25519"].map(|kind| (kind, measured(kind)));
    if std::env::var("CPU_RECORD").is_ok() {
        let rounded = |cost: f64| (cost * 1000.0).round() / 1000.0;
        let recorded = json!({"ecdsa": rounded(costs[0].1), "ed25519": rounded(costs[1].1)});
        fs::write(BASELINE, format!("{}\n", serde_json::to_string_pretty(&recorded).unwrap())).unwrap();
        return;
    }
    let recorded = fs::read(Path::new(BASELINE)).expect("benches/cpu-cost.json: record it with CPU_RECORD=1");
    let recorded: Value = serde_json::from_slice(&recorded).unwrap();
    let verdicts = costs.map(|(kind, cost)| verdict(kind, recorded[kind].as_f64().unwrap(), cost));
    let worse: Vec<String> = verdicts.into_iter().filter_map(Result::err).collect();
    assert!(worse.is_empty(), "{}", worse.join("; "));
}
