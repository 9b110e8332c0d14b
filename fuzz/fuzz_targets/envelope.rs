//! Fuzzes bytes from a client: an envelope, a seek request, and a join block.

#![no_main]

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::orderer::SeekInfo;
use libfuzzer_sys::fuzz_target;
use orderer_core::block::EncodedBlock;
use orderer_core::channel::{BlockNumber, UnixSeconds};
use orderer_core::envelope::{Message, SignedEnvelope};
use orderer_core::processing::{Circumstances, Judging, SeekPlan, check_normal, classify};
use orderer_fuzz::SNAPSHOT;

fuzz_target!(|data: &[u8]| {
    let raw = Bytes::copy_from_slice(data);
    if let Ok(envelope) = SignedEnvelope::parse(raw.clone()) {
        assert_eq!(envelope.raw(), &raw, "what was signed stays as it was");
        assert!(envelope.size_bytes() <= raw.len());
        if let Ok(message) = Message::parse(envelope) {
            let _ = classify(message.channel_header.r#type);
            let judging = Judging::AtTheDoor;
            let at = Circumstances { now: UnixSeconds(1_700_000_000), expiration_checks: true, judging };
            let verdict = check_normal(&SNAPSHOT, &message, at);
            assert!(verdict.is_err(), "nobody can sign for a member");
            assert_eq!(verdict, check_normal(&SNAPSHOT, &message, at), "the same verdict again");
        }
    }
    if let Ok(seek) = SeekInfo::decode(raw.clone())
        && let Ok(plan) = SeekPlan::new(&seek, BlockNumber(2), 7)
    {
        assert!(plan.start <= plan.stop);
    }
    if let Ok(block) = EncodedBlock::parse(&raw) {
        let again = EncodedBlock::parse(&block.block_bytes()).expect("is a block still");
        assert_eq!((again.number(), again.header_hash()), (block.number(), block.header_hash()));
    }
});
