//! Checks of the sources as a whole: dependencies between crates, and that every test file is run.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Collects the files below a directory whose names have this ending.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn naming(word: &str, ending: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    files(root(), ending, &mut found);
    assert!(found.len() > 5, "the sources are not where this test was built");
    let names = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains(word));
    found
        .iter()
        .filter(|path| names(path))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect()
}

#[test]
fn yaml_has_one_reader() {
    let word = ["serde", "yaml"].join("_");
    assert_eq!(naming(&word, ".rs"), BTreeSet::from(["localconfig/src/yaml/mod.rs".to_owned()]));
    let manifests = BTreeSet::from(["Cargo.toml".to_owned(), "localconfig/Cargo.toml".to_owned()]);
    assert_eq!(naming(&word, "Cargo.toml"), manifests);
}

/// Layers from the bottom. A crate may depend only on crates of lower layers.
const LAYERS: [&[&str]; 10] = [
    &["fabric-proto", "orderer-pprof", "orderer-x509"],
    &["orderer-raft", "orderer-cluster"],
    &["fabric-json", "orderer-core", "orderer-kafka"],
    &["orderer-ledger", "orderer-hsm"],
    &["orderer-actors"],
    &["orderer-localconfig"],
    &["orderer-client"],
    &["orderer-tools"],
    &["orderer-benchmark"],
    &["orderer"],
];

#[test]
fn crates_depend_on_lower_layers_only() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--offline"];
    let output = std::process::Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let layer = |name: &str| LAYERS.iter().position(|crates| crates.contains(&name));
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        // the crates of verdicts and their generator are tests
        let Some(own) = layer(name) else {
            assert!(name.starts_with("orderer-verdicts") || name == "orderer-case-generator", "{name} has no layer");
            continue;
        };
        seen += 1;
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        for dependency in dependencies.filter(|dependency| dependency["kind"].is_null()) {
            let needed = dependency["name"].as_str().unwrap();
            assert!(layer(needed).is_none_or(|its| its < own), "{name} must not depend on {needed}");
        }
    }
    assert_eq!(seen, LAYERS.iter().map(|crates| crates.len()).sum::<usize>());
}

/// Only `src/cli` combines the daemon with the commands.
#[test]
fn the_daemon_does_not_know_the_commands() {
    for word in ["orderer_tools", "orderer_benchmark"] {
        let mut users = naming(word, ".rs");
        users.retain(|path| path.starts_with("src/") && !path.starts_with("src/cli/"));
        assert_eq!(users, BTreeSet::new(), "{word}");
    }
}

#[test]
fn every_test_file_is_run() {
    let read = |name: &str| std::fs::read_to_string(root().join("tests").join(name)).unwrap();
    let lists = ["all.rs", "loads.rs", "brokers.rs"];
    let listed = lists.map(read).concat();
    for entry in std::fs::read_dir(root().join("tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(module) = name.strip_suffix(".rs").filter(|_| !lists.contains(&name.as_str())) else { continue };
        assert_eq!(listed.matches(&format!("\nmod {module};\n")).count(), 1, "tests/{name}");
    }
}

/// A name that no test has would select none.
#[test]
fn tests_that_run_long_names_exist() {
    let script = std::fs::read_to_string(root().join("tests/run-long")).unwrap();
    let words: BTreeSet<&str> = script.split_whitespace().filter(|word| word.contains("::")).collect();
    assert!(words.len() >= 5, "{words:?}");
    for word in words {
        let (module, test) = word.split_once("::").unwrap();
        let source = std::fs::read_to_string(root().join(format!("tests/{module}.rs")));
        let source = source.unwrap_or_else(|error| panic!("{word}: {error}"));
        assert!(source.contains(&format!("fn {test}")), "{word}");
    }
}

/// A longer file has more than one purpose.
#[test]
fn source_files_are_below_500_lines() {
    let mut sources = Vec::new();
    files(root(), ".rs", &mut sources);
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
    let long: Vec<_> = sources.iter().map(|path| (path, lines(path))).filter(|(_, lines)| *lines >= 500).collect();
    assert!(long.is_empty(), "split these files by purpose: {long:?}");
    assert!(sources.len() > 400, "{}", sources.len());
}
