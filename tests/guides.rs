//! Runs the walk of `examples/network` and the commands of the guides in `docs/guides`, as they are written. The steps that need
//! Fabric's programs are left out here: `FABRIC_BIN=DIR tests/guides/run docs/guides/migrate.md` runs them, too.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::{dev_cluster, world};

// the example of a client, which `cargo run --example` runs as a program
#[allow(dead_code)]
#[path = "../client/examples/send_and_read.rs"]
mod send_and_read;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use orderer_localconfig::local_msp::read_signing_identity;
use world::node::orderer_folder;
use world::{NET, Setup, within};

const GUIDES: [&str; 7] = ["backup", "capacity", "disasters", "hardening", "migrate", "troubleshooting", "upgrade"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of the repository with free ports, and returns whether it succeeded, its output, and its errors.
fn attempt(script: &str, argument: &Path, profile: &str) -> (bool, String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_orderer")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    // ends everything that the script has started, should it wait in vain
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "600"]).arg(root().join(script)).arg(argument);
    // remove the tester's own settings from the environment
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["ORDERER_", "FABRIC_", "CORE_", "CLIENTS"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    let port = || Setup::without_channels().port();
    let ended = command
        .env("PATH", path)
        .env("PROFILE", profile)
        .env("ORDERER_GENERAL_LISTENPORT", port().to_string())
        .env("ORDERER_ADMIN_LISTENADDRESS", format!("127.0.0.1:{}", port()))
        .env("ORDERER_OPERATIONS_LISTENADDRESS", format!("127.0.0.1:{}", port()))
        .env("DEV_BASE_PORT", dev_cluster::free_base().to_string())
        // a test must not depend on how full the disk of the machine is
        .env("ORDERER_FILELEDGER_LOWDISKBYTES", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [stdout, stderr] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (ended.status.success(), stdout, stderr)
}

/// Runs a script that has to succeed, and returns its output.
fn run(script: &str, argument: &Path, profile: &str) -> String {
    let (succeeded, stdout, stderr) = attempt(script, argument, profile);
    assert!(succeeded, "{script} {}\n{stdout}\n{stderr}", argument.display());
    stdout
}

fn guide_holds(name: &str, profile: &str) {
    let said = run("tests/guides/run", &root().join(format!("docs/guides/{name}.md")), profile);
    assert!(said.ends_with(&format!("the guide {name} holds\n")), "{said}");
}

#[test]
fn the_walk_ends_with_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let said = run("examples/network/walk", &folder.path().join("network"), "AppRaft");
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
    guide_holds("disasters", "AppRaft");
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
    guide_holds("migrate", "AppSolo");
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
    let (succeeded, stdout, stderr) = attempt("tests/guides/run", &guide, "AppSolo");
    assert!(!succeeded && stderr.contains("+ false\n"), "{stdout}\n{stderr}");
}
