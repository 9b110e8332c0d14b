//! Runs the walk of `examples/network` and the commands of the guides in `docs/guides`, as they are written. The steps that need
//! Fabric's programs are left out here: `tests/run-long guides` runs them, too. What needs Kafka is in `kafka_guides`.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::{dev_cluster, world};

// the example of a client, which `cargo run --example` runs as a program
#[allow(dead_code)]
#[path = "../client/examples/send_and_read.rs"]
mod send_and_read;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use orderer_localconfig::local_msp::read_signing_identity;
use world::node::orderer_folder;
use world::scripts::Script;
use world::{NET, Setup, within};

const GUIDES: [&str; 7] = ["backup", "capacity", "disasters", "hardening", "migrate", "troubleshooting", "upgrade"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn guide_holds(name: &str, profile: &str) {
    Script::guide(name).variable("PROFILE", profile).holds();
}

/// Runs a section of the guide about disasters, with a development network on free ports.
fn disaster_ends_well(section: &str) {
    let base = dev_cluster::free_base().to_string();
    Script::guide("disasters").argument(section).variable("DEV_BASE_PORT", &base).holds();
}

#[test]
fn the_walk_ends_with_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let said = Script::new("examples/network/walk").argument(folder.path().join("network")).run();
    assert_eq!(said.lines().filter(|line| line.starts_with("SUCCESS ")).count(), 3, "{said}");
    assert!(said.contains("\"types\":{\"CONFIG\":1}") && said.contains("\"number\":1"), "{said}");
    assert!(said.contains("FABRIC_BIN is not set"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_rust_reads_the_block_with_its_envelope() {
    let tls = orderer_folder().join("tls");
    let setup = Setup::application()
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display());
    let node = setup.start().await;
    let user = "crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp";
    let signer = read_signing_identity(&Path::new(NET).join(user), "Org1MSP").unwrap();
    let authority = tls.join("ca.crt");
    let sent = send_and_read::send_and_read(&node.address, &authority, "app", "an asset", &signer);
    assert_eq!(within("the envelope is in a block", sent).await.unwrap(), 1);
    node.stop().await;
}

#[test]
fn a_backup_is_restored() {
    guide_holds("backup", "AppRaft");
}

#[test]
fn capacity_is_measured() {
    guide_holds("capacity", "AppRaft");
}

#[test]
fn a_consenter_that_has_lost_its_disk_is_replaced() {
    disaster_ends_well("The disk of one orderer is lost");
}

#[test]
fn a_quorum_that_is_lost_comes_back_or_is_replaced() {
    disaster_ends_well("A quorum is lost");
}

#[test]
fn expired_certificates_are_renewed() {
    disaster_ends_well("Certificates have expired");
}

#[test]
fn expired_certificates_are_replaced_by_those_of_new_keys() {
    disaster_ends_well("Certificates have expired, and their keys change");
}

/// `kafka_guides` runs the section that needs a broker.
#[test]
fn every_disaster_is_run() {
    let guide = std::fs::read_to_string(root().join("docs/guides/disasters.md")).unwrap();
    let sections: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let tests = [include_str!("guides.rs"), include_str!("kafka_guides.rs")].concat();
    for section in &sections {
        assert!(tests.contains(&format!("\"{section}\")")), "no test runs the section {section}");
    }
    assert!(sections.len() > 4, "{sections:?}");
}

#[test]
fn a_node_is_hardened() {
    guide_holds("hardening", "AppRaft");
}

#[test]
fn raft_ledgers_go_to_fabric_and_back() {
    guide_holds("migrate", "AppRaft");
}

#[test]
fn solo_ledgers_go_to_fabric_and_back() {
    for profile in ["AppSolo", "SysSolo"] {
        guide_holds("migrate", profile);
    }
}

#[test]
fn symptoms_lead_to_causes() {
    guide_holds("troubleshooting", "AppRaft");
}

#[test]
fn an_upgrade_is_rolled_back() {
    guide_holds("upgrade", "AppRaft");
}

#[test]
fn every_guide_is_run() {
    let files = std::fs::read_dir(root().join("docs/guides")).unwrap();
    let names: BTreeSet<PathBuf> = files.map(|entry| PathBuf::from(entry.unwrap().file_name())).collect();
    let run = GUIDES.iter().map(|name| PathBuf::from(format!("{name}.md")));
    assert_eq!(names, run.chain([PathBuf::from("README.md")]).collect());
}

/// A command of a guide that fails makes the run fail.
#[test]
fn a_guide_that_does_not_hold_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let guide = folder.path().join("hardening.md");
    std::fs::write(&guide, "# A guide\n\n```sh\nfalse\n```\n").unwrap();
    let script = Script::new("tests/guides/run").argument(&guide).variable("PROFILE", "AppSolo");
    let (succeeded, stdout, stderr) = script.attempt();
    assert!(!succeeded && stderr.contains("+ false\n"), "{stdout}\n{stderr}");
}
