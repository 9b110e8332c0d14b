//! Tests of policies over sets of signatures, by members of organizations created for each test.

#![allow(clippy::unwrap_used, clippy::default_trait_access, reason = "a test may panic")]

mod organizations;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    ConfigGroup, ConfigPolicy, ImplicitMetaPolicy, MspPrincipal, MspRole, Policy, SignaturePolicy,
    SignaturePolicyEnvelope,
};
use fabric_proto::msp::{MspConfig, SerializedIdentity};
use orderer_core::identity::{Msp, MspManager, MspVersion, Role, expires_at};
use orderer_core::policy::{PolicyManager, SignedData, Signers};
use organizations::{Authority, config, msp};
use proptest::prelude::*;
use rcgen::KeyPair;

#[test]
fn keys_of_every_kind_sign_for_members() {
    let root = Authority::root("root");
    let msps = MspManager::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let member = root.leaf(&["client"], KeyPair::generate_for(algorithm).unwrap(), |_| {});
        let signers = Signers::verify(&[member.sign("message")], &msps);
        assert!(policies(&signed_by(0), &[Role::Client]).evaluate("/Channel/P", &signers).is_ok());
    }
}

#[test]
fn of_several_signatures_by_one_identity_the_first_good_one_counts() {
    let root = Authority::root("root");
    let msps = MspManager::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
    let (one, two) = (root.client(), root.client());
    let mut bad = one.sign("a");
    bad.message = Bytes::from_static(b"b");
    let both = policies(&out_of(2, vec![signed_by(0), signed_by(0)]), &[Role::Client]);
    let counts = |data: &[SignedData]| both.evaluate("/Channel/P", &Signers::verify(data, &msps)).is_ok();
    assert!(counts(&[bad.clone(), one.sign("a"), two.sign("a")]));
    assert!(!counts(&[bad, one.sign("a"), one.sign("b")]));
}

fn signed_by(index: i32) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::SignedBy(index)) }
}

fn out_of(n: i32, rules: Vec<SignaturePolicy>) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules })) }
}

/// Returns a channel's policies whose only one, P, is this rule over these roles of Org.
fn policies(rule: &SignaturePolicy, roles: &[Role]) -> PolicyManager {
    let role = |role: &Role| MspPrincipal {
        principal_classification: 0,
        principal: MspRole { msp_identifier: "Org".into(), role: *role as i32 }.encode_to_vec().into(),
    };
    let envelope =
        SignaturePolicyEnvelope { version: 0, rule: Some(rule.clone()), identities: roles.iter().map(role).collect() };
    let policy = Policy { r#type: PolicyType::Signature as i32, value: envelope.encode_to_vec().into() };
    let group = ConfigGroup {
        policies: BTreeMap::from([("P".to_owned(), ConfigPolicy { policy: Some(policy), ..ConfigPolicy::default() })]),
        ..ConfigGroup::default()
    };
    PolicyManager::from_config(&group).unwrap()
}

#[test]
fn one_identity_counts_once_however_often_it_signs() {
    let root = Authority::root("root");
    let msps = MspManager::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
    let (one, two) = (root.client(), root.client());
    let both = policies(&out_of(2, vec![signed_by(0), signed_by(0)]), &[Role::Client]);
    let twice = Signers::verify(&[one.sign("a"), one.sign("b")], &msps);
    assert!(both.evaluate("/Channel/P", &twice).is_err());
    let two_people = Signers::verify(&[one.sign("a"), two.sign("a")], &msps);
    assert!(both.evaluate("/Channel/P", &two_people).is_ok());
}

#[test]
fn a_refusal_names_signers_and_what_was_wanted() {
    let root = Authority::root("root");
    let msps = MspManager::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
    let mut forged = root.client().sign("a");
    forged.message = "b".into();
    let stranger = SerializedIdentity { mspid: "Nobody".into(), id_bytes: Bytes::new() }.encode_to_vec();
    let nobody = SignedData { creator: stranger.into(), ..forged.clone() };
    let signers = Signers::verify(&[root.client().sign("a"), forged, nobody], &msps);
    let denied = policies(&signed_by(0), &[Role::Admin]).evaluate("/Channel/P", &signers).unwrap_err().to_string();
    for part in ["signed as client", "does not verify", "MSP 'Nobody' is not defined", "Org.admin"] {
        assert!(denied.contains(part), "{denied}");
    }
    let missing = policies(&signed_by(0), &[Role::Admin]).evaluate("/Channel/Q", &signers).unwrap_err();
    assert!(missing.to_string().contains("no such policy: '/Channel/Q'"));
}

#[test]
fn implicit_policies_count_their_subgroups() {
    let group_of = |satisfied: usize, refusing: usize, without: usize, rule: i32| {
        let leaf = |n: i32| {
            let envelope = SignaturePolicyEnvelope { rule: Some(out_of(n, vec![])), ..Default::default() };
            let policy = Policy { r#type: PolicyType::Signature as i32, value: envelope.encode_to_vec().into() };
            let policy = ConfigPolicy { policy: Some(policy), ..ConfigPolicy::default() };
            ConfigGroup { policies: BTreeMap::from([("Readers".to_owned(), policy)]), ..ConfigGroup::default() }
        };
        let meta = ImplicitMetaPolicy { sub_policy: "Readers".into(), rule }.encode_to_vec();
        let policy = Policy { r#type: PolicyType::ImplicitMeta as i32, value: meta.into() };
        let mut group = ConfigGroup::default();
        let subgroups = std::iter::repeat_n(leaf(0), satisfied)
            .chain(std::iter::repeat_n(leaf(1), refusing))
            .chain(std::iter::repeat_n(ConfigGroup::default(), without));
        group.groups = subgroups.enumerate().map(|(i, g)| (format!("g{i}"), g)).collect();
        group.policies.insert("P".into(), ConfigPolicy { policy: Some(policy), ..ConfigPolicy::default() });
        PolicyManager::from_config(&group).unwrap().evaluate("/Channel/P", &Signers::default()).is_ok()
    };
    for satisfied in 0..4 {
        for refusing in 0..3 {
            for without in 0..3 {
                let all = satisfied + refusing + without;
                let case = format!("{satisfied} of {all}");
                assert_eq!(group_of(satisfied, refusing, without, 0), satisfied > 0 || all == 0, "any: {case}");
                assert_eq!(group_of(satisfied, refusing, without, 1), satisfied == all, "all: {case}");
                assert_eq!(
                    group_of(satisfied, refusing, without, 2),
                    satisfied > all / 2 || all == 0,
                    "majority: {case}"
                );
            }
        }
    }
}

fn rules() -> impl Strategy<Value = SignaturePolicy> {
    let leaf = (0..3i32).prop_map(signed_by);
    leaf.prop_recursive(3, 12, 4, |inner| (0..4i32, prop::collection::vec(inner, 0..4)).prop_map(|(n, r)| out_of(n, r)))
}

/// Implements Fabric's algorithm in its simplest form: try the rules in order, mark used signers, unmark
/// on failure.
fn model(rule: &SignaturePolicy, signers: &[Role], wanted: &[Role], used: &mut Vec<bool>) -> bool {
    match rule.r#type.as_ref().unwrap() {
        Type::SignedBy(index) => {
            let free = (0..signers.len()).find(|&i| !used[i] && signers[i] == wanted[usize::try_from(*index).unwrap()]);
            free.inspect(|&i| used[i] = true).is_some()
        }
        Type::NOutOf(out_of) => {
            let mut holding = 0;
            for rule in &out_of.rules {
                let before = used.clone();
                if model(rule, signers, wanted, used) {
                    holding += 1;
                } else {
                    *used = before;
                }
            }
            holding >= out_of.n
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn n_out_of_agrees_with_a_naive_model(
        rule in rules(), roles in prop::collection::vec(prop::sample::select(vec![Role::Client, Role::Peer, Role::Admin]), 0..4),
    ) {
        let root = Authority::root("root");
        let msps = MspManager::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
        let sign = |role: &Role| root.leaf(&[role.as_str()], KeyPair::generate().unwrap(), |_| {}).sign("m");
        let signers = Signers::verify(roles.iter().map(sign).collect::<Vec<_>>(), &msps);
        let wanted = [Role::Client, Role::Peer, Role::Admin];
        let holds = policies(&rule, &wanted).evaluate("/Channel/P", &signers).is_ok();
        prop_assert_eq!(holds, model(&rule, &roles, &wanted, &mut vec![false; roles.len()]));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ = Msp::from_config(&MspConfig { r#type: 0, config: bytes.clone() }, MspVersion::LATEST);
        let _ = expires_at(&bytes);
        let root = Authority::root("root");
        let msps = MspManager::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
        let _ = msps.deserialize_identity(&bytes);
        for kind in 0..4 {
            let policy = ConfigPolicy { policy: Some(Policy { r#type: kind, value: bytes.clone() }), ..Default::default() };
            let group = ConfigGroup { policies: BTreeMap::from([("P".to_owned(), policy)]), ..Default::default() };
            let _ = PolicyManager::from_config(&group);
        }
        if let Ok(group) = ConfigGroup::decode(bytes.clone()) {
            let _ = PolicyManager::from_config(&group);
        }
    }
}
