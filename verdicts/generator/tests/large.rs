//! Measures the time to validate large configurations.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::env;
use std::time::Duration;

use orderer_case_generator::large::cases;
use orderer_verdicts::judge::judge;

/// Time limit for a configuration of [`SMALL`] bytes. Each takes far less; the defects that this test detects take
/// minutes or never end.
const LIMIT: Duration = Duration::from_secs(20);
/// Default size of each configuration, in bytes.
const SMALL: usize = 48 << 10;

/// `LARGE_SIZE` sets the size in bytes, and the limit grows with it. `LARGE_CASES` selects cases by a part of their
/// names.
#[test]
fn large_configurations_are_judged_in_bounded_time() {
    let wanted: usize = env::var("LARGE_SIZE").map_or(SMALL, |size| size.parse().unwrap());
    let part = env::var("LARGE_CASES").unwrap_or_default();
    let limit = LIMIT * u32::try_from(wanted.div_ceil(SMALL)).unwrap();
    let (mut judged, mut wrong) = (0, Vec::new());
    for large in cases(wanted) {
        if !large.name.contains(&part) {
            continue;
        }
        let case = (large.make)();
        let size: usize = case.blocks.iter().map(bytes::Bytes::len).max().unwrap();
        assert!(size > wanted / 2, "{} has only {size} octets", case.name);
        let judgement = judge(&case);
        let took = judgement.took;
        let reason: String = judgement.reason.chars().take(300).collect();
        let outcome = judgement.outcome.unwrap_or_else(|| panic!("{}: {reason}", case.name));
        println!("{:<24} {:>8} KiB {:>9.1?} {outcome:?} {reason}", large.name, size / 1024, took);
        if !large.expected.is(outcome, &judgement.reason) {
            wrong.push(format!("{}: {outcome:?} instead of {:?}: {reason}", large.name, large.expected));
        }
        assert!(took < limit, "{} took {took:?}", case.name);
        judged += 1;
    }
    // a case that is rejected before its costly part is an error, because it does not measure the time
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(judged > 0, "no case is named like {part}");
}
