//! Tests 5,299 chains of configurations, unusual organizations, updates and signatures: the library accepts what Fabric
//! accepts, and rejects what Fabric rejects at the same block.
//!
//! For manual runs: `VERDICTS_FAMILIES=b-chain,b-crl` replays these families (prefixes), `VERDICTS_CASES=ring5` the
//! cases with this text in their names, `VERDICTS_OUT=FILE` writes the disagreements as a table, and
//! `VERDICTS_FROM=FOLDER` replays the `.cases` files and the tables go25.tsv and go31.tsv below another directory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use orderer_verdicts::archive::{read_folder, unpack};
use orderer_verdicts::replay::replay;
use orderer_verdicts::{Case, FabricVerdicts, Release};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/verdicts").join(name)
}

#[test]
fn the_library_agrees_with_fabric_on_every_recorded_chain() {
    let files = match env::var_os("VERDICTS_FROM") {
        Some(folder) => read_folder(Path::new(&folder)).unwrap(),
        None => unpack(&fixture("configurations.tar.xz")).unwrap(),
    };
    let families = env::var("VERDICTS_FAMILIES").unwrap_or_default();
    let families: Vec<&str> = families.split(',').collect();
    let part = env::var("VERDICTS_CASES").unwrap_or_default();
    let is_wanted = |case: &Case| families.iter().any(|f| case.family().starts_with(f)) && case.name.contains(&part);
    let (mut cases, mut verdicts) = (Vec::new(), FabricVerdicts::default());
    for (name, content) in &files {
        match Path::new(name) {
            path if path.extension().is_some_and(|e| e == "cases") => {
                cases.extend(Case::read_all(Bytes::clone(content)).unwrap().into_iter().filter(is_wanted));
            }
            path if path.ends_with("go25.tsv") => verdicts.add(Release::V2_5, content).unwrap(),
            path if path.ends_with("go31.tsv") => verdicts.add(Release::V3_1, content).unwrap(),
            _ => {}
        }
    }
    assert!(!cases.is_empty(), "there is no such case");
    let is_whole = families == [""] && part.is_empty() && env::var_os("VERDICTS_FROM").is_none();
    assert!(!is_whole || cases.len() == 5299, "{} cases", cases.len());
    let report = replay(cases, &verdicts);
    println!("{report}");
    if let Some(path) = env::var_os("VERDICTS_OUT") {
        fs::write(path, report.table()).unwrap();
    }
    assert!(report.disagreements.is_empty(), "the library disagrees with Fabric on {}", report.disagreements.len());
}

/// Generated chains on which the library once disagreed: a message field with another wire type, which v2.5.16 reads as
/// an empty message and v3.1.5 as none; and organizational units of clients and of peers with the same name.
#[test]
fn the_library_agrees_with_fabric_on_every_chain_that_was_found() {
    let (mut cases, mut verdicts) = (Vec::new(), FabricVerdicts::default());
    let files = unpack(&fixture("found.tar.xz")).unwrap();
    cases.extend(Case::read_all(files["found.cases"].clone()).unwrap());
    verdicts.add(Release::V2_5, &files["go25.tsv"]).unwrap();
    verdicts.add(Release::V3_1, &files["go31.tsv"]).unwrap();
    let report = replay(cases, &verdicts);
    println!("{report}");
    assert!(report.disagreements.is_empty(), "the library disagrees with Fabric on {}", report.disagreements.len());
}
