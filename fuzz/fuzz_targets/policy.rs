//! Fuzzes policies of any shape. Evaluates them without signatures and with an invalid signature.

#![no_main]

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{ConfigGroup, ConfigPolicy, Policy};
use libfuzzer_sys::fuzz_target;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::policy::{PolicyManager, SignedData, Signers};
use orderer_fuzz::SNAPSHOT;

const PATHS: [&str; 5] = ["/Channel/Fuzzed", "/Channel/Readers", "/Channel/Application/Fuzzed", "Fuzzed", ""];

fuzz_target!(|data: &[u8]| {
    let mut group = SNAPSHOT.channel_group();
    if let Ok(policy) = Policy::decode(data) {
        let fuzzed = ConfigPolicy { version: 0, policy: Some(policy), mod_policy: "Admins".to_owned() };
        for below in group.groups.values_mut() {
            below.policies.insert("Fuzzed".to_owned(), fuzzed.clone());
        }
        group.policies.insert("Fuzzed".to_owned(), fuzzed);
    } else if let Ok(random) = ConfigGroup::decode(data) {
        group = random;
    } else {
        return;
    }
    let Ok(policies) = PolicyManager::from_config(&group) else { return };
    let stranger = SignedEnvelope::from_parts(Bytes::copy_from_slice(data), Bytes::from_static(b"a signature"));
    let stranger = SignedData::of(&stranger, Bytes::copy_from_slice(data));
    for signers in [Signers::verify(&[], SNAPSHOT.msps()), Signers::verify(&[stranger], SNAPSHOT.msps())] {
        for path in PATHS {
            let verdict = policies.evaluate(path, &signers);
            assert_eq!(verdict.is_ok(), policies.evaluate(path, &signers).is_ok(), "the same verdict again");
            if let Err(denied) = verdict {
                assert!(!denied.to_string().is_empty(), "a refusal says why");
            }
        }
    }
});
