//! Compares a machine with recorded outputs of go.etcd.io/raft v3.6.0, which Fabric's orderers of 2.5 and 3.1 use, for
//! scripts of everything that can happen to a cluster. The machine has to produce the same output at each step.

#![allow(clippy::unwrap_used)]

#[path = "differential/world.rs"]
mod world;

use std::io::{BufRead, BufReader, Read};

use world::World;

/// Runs scripts one after another. Each line has a step and its expected result. Returns the number of steps that
/// agree.
fn compare(script: impl BufRead) -> u64 {
    let mut world = None;
    let (mut steps, mut head) = (0, String::new());
    for line in script.lines() {
        let line = line.unwrap();
        if line.starts_with("world ") {
            world = Some(World::new(&line));
            head = line;
            continue;
        }
        let (operation, expected) = line.split_once('|').unwrap_or((&line, ""));
        let told = world.as_mut().unwrap().step(operation);
        assert_eq!(told, expected, "{head}: step {steps}: {operation}");
        steps += 1;
    }
    steps
}

/// `RAFT_SCRIPTS` names a file of other scripts; `-` reads them from the standard input.
#[test]
fn each_step_comes_out_as_in_etcds_raft() {
    let scripts = std::env::var("RAFT_SCRIPTS").ok();
    let source: Box<dyn Read> = match scripts.as_deref() {
        None => {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/raft/differential.xz");
            Box::new(lzma_rust2::XzReader::new(std::fs::File::open(path).unwrap(), true))
        }
        Some("-") => Box::new(std::io::stdin()),
        Some(path) => Box::new(std::fs::File::open(path).unwrap()),
    };
    let steps = compare(BufReader::new(source));
    println!("{steps} steps");
    assert!(steps > 1000 || scripts.is_some(), "the scripts say something");
}
