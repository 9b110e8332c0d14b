//! Fuzzes the definition of an organization's MSP, and an identity that is validated by it.

#![no_main]

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::msp::{FabricMspConfig, MspConfig};
use libfuzzer_sys::fuzz_target;
use orderer_core::identity::{Msp, MspVersion, TlsAuthorities, expires_at};
use orderer_fuzz::SNAPSHOT;
use orderer_x509::Memo;

const VERSIONS: [MspVersion; 5] =
    [MspVersion::V1_0, MspVersion::V1_1, MspVersion::V1_3, MspVersion::V1_4_3, MspVersion::V3_0];

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let version = VERSIONS[usize::from(kind >> 1) % VERSIONS.len()];
    let config = if kind & 1 == 0 {
        Bytes::copy_from_slice(rest)
    } else {
        // a real definition, with the random one's elements added
        let Ok(random) = FabricMspConfig::decode(rest) else { return };
        let real = SNAPSHOT.msps().iter().next().expect("has one").definition().clone();
        let mut merged = FabricMspConfig::decode(real).expect("is one");
        merged.revocation_list.extend(random.revocation_list);
        merged.intermediate_certs.extend(random.intermediate_certs);
        merged.admins.extend(random.admins);
        merged.organizational_unit_identifiers.extend(random.organizational_unit_identifiers);
        merged.fabric_node_ous = random.fabric_node_ous.or(merged.fabric_node_ous);
        merged.encode_to_vec().into()
    };
    let definition = MspConfig { r#type: 0, config: config.clone() };
    if let Ok(msp) = Msp::from_config(&definition, version) {
        assert_eq!(msp.definition(), &config);
        assert!(!msp.id().is_empty());
        let _ = msp.deserialize_identity(&Bytes::copy_from_slice(rest));
    }
    let _ = SNAPSHOT.msps().deserialize_identity(&Bytes::copy_from_slice(rest));
    let _ = expires_at(rest);
    let ids = ["OrdererMSP".to_owned()];
    let _ = TlsAuthorities::of(SNAPSHOT.msps(), ids.iter()).check(rest, &mut Memo::new());
});
