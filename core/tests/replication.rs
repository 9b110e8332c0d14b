//! Tests sequences of blocks that another orderer may send, valid and tampered with, against Fabric's verdicts. Those
//! of v2.5.16 and v3.1.5 are in tests/fixtures/verdicts/replication.tsv. With REPLICATION_CASES=FILE the cases are
//! written to that file, one JSON object per line, as input for Fabric.
//!
//! A verdict covers all of Fabric's checks: those of the block puller on responses, the verification of the sequence
//! (`cluster.VerifyBlocks`, `VerifyBlocksBFT`), and those when blocks are written (the link to the newest block, and
//! that a configuration follows from its update).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod made_chain;
mod tampered;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use fabric_proto::Message as _;
use fabric_proto::common::Block;
use fabric_proto::lenient::append_varint;
use made_chain::{Made, batch_of, hash_of};
use orderer_core::crypto::hex;
use orderer_core::replication::{SequenceError, VerifiedBlock, read_block};
use tampered::{Case, all, start, take};

/// Cases that Fabric accepts and this node rejects, with the reason.
const STRICTER: &[(&str, &str)] = &[
    ("last config index is too low", "a node that starts finds its configuration by it"),
    ("last config index is too high", "a node that starts finds its configuration by it"),
    ("a config transaction is not alone", "Fabric verifies by it, but does not put it in force"),
    (
        "a config transaction is not alone, and counts for nothing",
        "Fabric verifies by it, but does not put it in force",
    ),
    ("more signatures than orderers make", "each costs memory and time"),
    ("more metadata slots than orderers make", "each costs memory"),
];

/// Returns this node's verdict on a case.
fn verdict(case: &Case) -> Result<Vec<VerifiedBlock>, SequenceError> {
    let mut sequence = start(&case.genesis);
    case.blocks.iter().map(|block| take(&mut sequence, block)).collect()
}

fn verdicts() -> BTreeMap<String, [String; 2]> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/verdicts/replication.tsv");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let line = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        let mut part = || parts.next().unwrap();
        (part(), [part(), part()])
    };
    text.lines().map(line).collect()
}

#[test]
fn sequences_are_judged_as_fabric_judges_them_or_stricter_with_a_reason() {
    let made = Made::new(batch_of(50));
    let cases = all(&made).0;
    if let Ok(file) = std::env::var("REPLICATION_CASES") {
        let mut out = String::new();
        for case in &cases {
            let blocks: Vec<String> = case.blocks.iter().map(|block| hex(block)).collect();
            let line = serde_json::json!({
                "case": case.name, "genesis": hex(&case.genesis.encode_to_vec()), "blocks": blocks
            });
            writeln!(out, "{line}").unwrap();
        }
        std::fs::write(file, out).unwrap();
    }
    let (verdicts, mut wrong) = (verdicts(), Vec::new());
    for case in &cases {
        let ours = verdict(case);
        let Some(fabric) = verdicts.get(case.name) else {
            wrong.push(format!("{}: no verdict; here {:?}", case.name, ours.map(|_| ()).map_err(|e| e.to_string())));
            continue;
        };
        let is_taken = fabric.iter().all(|verdict| verdict == "accepted");
        let stricter = STRICTER.iter().any(|(name, _)| *name == case.name);
        if ours.is_ok() != (is_taken && !stricter) || stricter && !is_taken {
            wrong.push(format!("{}: {fabric:?}; here {:?}", case.name, ours.map(|_| ()).map_err(|e| e.to_string())));
        }
    }
    assert_eq!(verdicts.len(), cases.len(), "verdicts of other cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_configuration_follows_along() {
    let made = Made::new(batch_of(50));
    let case = Case {
        name: "",
        genesis: made.genesis.clone(),
        blocks: made.blocks.iter().map(Block::encode_to_vec).collect(),
    };
    let verified = verdict(&case).unwrap();
    let counts = verified
        .iter()
        .map(|block| block.snapshot.as_ref().map(|snapshot| snapshot.orderer().batch_size.max_message_count));
    assert_eq!(counts.collect::<Vec<_>>(), [None, None, None, Some(50), None, None]);
    // a rejected block changes nothing
    let mut sequence = start(&made.genesis);
    take(&mut sequence, &case.blocks[1]).unwrap_err();
    assert_eq!(sequence.tip().unwrap().number.0, 0);
    take(&mut sequence, &case.blocks[0]).unwrap();
    let tip = sequence.tip().unwrap();
    assert_eq!((tip.number.0, tip.header_hash, tip.last_config.0), (1, hash_of(&made.blocks[0]), 0));
}

#[test]
fn counts_are_looked_at_before_anything_is_decoded() {
    let hollow = |section: u8, entries: usize| {
        let body = [0x0a, 0].repeat(entries);
        let mut block = vec![section];
        append_varint(&mut block, body.len() as u64);
        [block, body].concat()
    };
    for (block, problem) in [
        (hollow(0x12, 1_000_000), "a transaction of the block has no payload or no signature"),
        (hollow(0x1a, 1_000_000), "block has more than 16 metadata slots"),
        (
            {
                let slot = hollow(0x0a, 0);
                let signatures = [0x12, 0].repeat(1_000_000);
                let mut metadata = vec![0x0a];
                append_varint(&mut metadata, signatures.len() as u64);
                metadata.extend(signatures);
                let mut block = vec![0x1a];
                append_varint(&mut block, metadata.len() as u64);
                [block, metadata, slot].concat()
            },
            "block has more than 256 signatures",
        ),
    ] {
        assert_eq!(read_block(&block.into()).unwrap_err().to_string(), problem);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// One byte of one block is changed. Then the sequence ends before that block, or the byte does not matter.
    #[test]
    fn a_changed_byte_never_leads_to_another_chain(at in 0usize..1_000_000, to in 1u8.., number in 0usize..6) {
        let made = MADE.with(std::rc::Rc::clone);
        let mut blocks: Vec<Vec<u8>> = made.blocks.iter().map(Block::encode_to_vec).collect();
        let at = at % blocks[number].len();
        blocks[number][at] ^= to;
        let mut sequence = start(&made.genesis);
        for (index, block) in blocks.iter().enumerate() {
            let Ok(taken) = take(&mut sequence, block) else {
                proptest::prop_assert!(index >= number);
                break;
            };
            proptest::prop_assert_eq!(taken.block.header_hash(), &hash_of(&made.blocks[index]));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = read_block(&bytes.into());
    }
}

thread_local! {
    static MADE: std::rc::Rc<Made> = std::rc::Rc::new(Made::new(batch_of(50)));
}
