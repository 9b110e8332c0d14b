//! Runs every command of the README's tour unchanged in a shell.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::path::Path;
use std::process::{Command, Stdio};

use world::Setup;

/// Returns the code blocks of the tour, in order.
fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let tour = readme.split("\n## ").find(|section| section.starts_with("A minute's tour")).unwrap();
    let blocks = tour.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_tour_does_what_it_says() {
    let blocks = blocks();
    let [start, rest @ ..] = &blocks[..] else { panic!("no code in the tour") };
    assert!(!rest.is_empty());
    // many tests share a machine, so this node listens on another port, which the commands learn from the environment
    let arguments: Vec<&str> = start.trim().strip_prefix("orderer ").unwrap().split_whitespace().collect();
    let setup = Setup::without_channels().arguments(&arguments);
    let node = setup.start().await;

    let program = Path::new(env!("CARGO_BIN_EXE_orderer")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    for block in rest {
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-x", "-c", block]).current_dir(setup.folder()).stdin(Stdio::null());
        let port = setup.port().to_string();
        shell.env("PATH", &path).env("ORDERER_GENERAL_LISTENPORT", port).env_remove("CORE_PEER_MSPCONFIGPATH");
        let ended = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(ended.status.success(), "{block}\n{}\n{}", said[0], said[1]);
        let answers = said[0].lines().filter(|line| line.starts_with("SUCCESS ")).count();
        assert_eq!(answers, 3, "{}", said[0]);
        assert!(
            said[0].contains("\"number\":1") && said[0].contains("config.block") && said[0].contains("acknowledged/s")
        );
    }
    assert!(setup.folder().join("config.block").is_file());
    node.stop().await;
}
