//! Tests 48 organizations with unusual certificates: an orderer starts with those that Fabric starts with, and responds
//! to their members as Fabric does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use orderer_verdicts::archive::unpack;
use orderer_verdicts::membership::{disagreements, read};

#[test]
fn the_library_agrees_with_fabric_on_every_recorded_organization() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/verdicts");
    let organizations = read(&unpack(&fixtures.join("membership.tar.xz")).unwrap()).unwrap();
    assert_eq!(organizations.len(), 48);
    let disagreements = disagreements(&organizations).unwrap();
    for (name, line) in &disagreements {
        println!("{name}: {line}");
    }
    assert!(disagreements.is_empty(), "the library disagrees with Fabric on {} of 48", disagreements.len());
}
