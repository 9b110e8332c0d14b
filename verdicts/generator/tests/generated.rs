//! Tests that the library agrees with Fabric on chains from a fixed seed. The chains are generated on each run; only
//! Fabric's verdicts are stored.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::Path;

use orderer_case_generator::generate;
use orderer_case_generator::keys::sha256;
use orderer_verdicts::archive::unpack;
use orderer_verdicts::replay::replay;
use orderer_verdicts::{FabricVerdicts, Release};

const SEED: u64 = 1;
const CASES: u64 = 600;
/// SHA-256 of the file of cases that Fabric validated.
const JUDGED: &str = "500f4505674d1c7b39e30ac88ea2053e9363401d02df85f1ed4af52ab5af1ee1";

#[test]
fn the_library_agrees_with_fabric_on_generated_chains() {
    let cases: Vec<_> = (0..CASES).map(|index| generate(SEED, index)).collect();
    let mut file = Vec::new();
    for case in &cases {
        case.write(&mut file);
    }
    let made = sha256(&file).iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    });
    assert_eq!(made, JUDGED, "the generator makes other cases than those that Fabric judged: have them judged anew");
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/verdicts/generated.tar.xz");
    let files = unpack(&archive).unwrap();
    let mut verdicts = FabricVerdicts::default();
    verdicts.add(Release::V2_5, &files["go25.tsv"]).unwrap();
    verdicts.add(Release::V3_1, &files["go31.tsv"]).unwrap();
    let report = replay(cases, &verdicts);
    println!("{report}");
    assert!(report.disagreements.is_empty(), "the library disagrees with Fabric on {}", report.disagreements.len());
}

#[test]
fn a_case_depends_on_its_seed_and_number_alone() {
    for index in 0..24 {
        assert_eq!(generate(7, index), generate(7, index));
        assert_ne!(generate(7, index).blocks, generate(8, index).blocks);
    }
}
