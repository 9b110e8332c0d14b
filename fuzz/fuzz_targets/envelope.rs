//! Fuzzes bytes from a client: an envelope, a seek request, and a join block.

#![no_main]

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::orderer::SeekInfo;
use libfuzzer_sys::fuzz_target;
use orderer_core::block::EncodedBlock;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::processing::{MessageOrigin, SeekRange, ValidationContext, classify, validate_normal};
use orderer_core::types::{BlockNumber, UnixSeconds};
use orderer_fuzz::SNAPSHOT;

fuzz_target!(|data: &[u8]| {
    let raw = Bytes::copy_from_slice(data);
    if let Ok(envelope) = SignedEnvelope::parse(raw.clone()) {
        assert_eq!(envelope.raw(), &raw, "what was signed stays as it was");
        assert!(envelope.size_bytes() <= raw.len());
        if let Ok(message) = ParsedEnvelope::parse(envelope) {
            let _ = classify(message.channel_header.r#type);
            let judging = MessageOrigin::Client;
            let at = ValidationContext { now: UnixSeconds(1_700_000_000), expiration_checks: true, judging };
            let verdict = validate_normal(&SNAPSHOT, &message, at);
            assert!(verdict.is_err(), "nobody can sign for a member");
            assert_eq!(verdict, validate_normal(&SNAPSHOT, &message, at), "the same verdict again");
        }
    }
    if let Ok(seek) = SeekInfo::decode(raw.clone())
        && let Ok(plan) = SeekRange::new(&seek, BlockNumber(2), 7)
    {
        assert!(plan.start <= plan.stop);
    }
    if let Ok(block) = EncodedBlock::parse(&raw) {
        let again = EncodedBlock::parse(&block.block_bytes()).expect("is a block still");
        assert_eq!((again.number(), again.header_hash()), (block.number(), block.header_hash()));
    }
});
