//! What it costs to judge the largest configurations.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::env;
use std::time::Duration;

use orderer_case_generator::large::{SIZE, cases};
use orderer_verdicts::judge::judge;

/// Far more than it takes: what this guards against takes minutes, or for ever. The slowest asks for 100,000 signatures.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
#[ignore = "it takes minutes: tests/run-long judging"]
fn configurations_of_a_mebibyte_are_judged_in_bounded_time() {
    let part = env::var("LARGE_CASES").unwrap_or_default();
    for (name, make) in cases() {
        if !name.contains(&part) {
            continue;
        }
        let case = make();
        let size: usize = case.blocks.iter().map(bytes::Bytes::len).max().unwrap();
        assert!(size > SIZE / 2, "{} has only {size} octets", case.name);
        let judgement = judge(&case);
        let reason: String = judgement.reason.chars().take(200).collect();
        println!("{:<24} {:>8} KiB {:>9.1?} {:?} {reason}", case.name, size / 1024, judgement.took, judgement.outcome);
        assert!(judgement.outcome.is_some(), "{}: {reason}", case.name);
        assert!(judgement.took < LIMIT, "{} took {:?}", case.name, judgement.took);
    }
}
