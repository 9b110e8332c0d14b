//! Who counts as a member, and what a set of signatures is worth, on organizations made for each test.

#![allow(clippy::unwrap_used, clippy::default_trait_access, reason = "a test may panic")]

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
use fabric_proto::msp::{
    FabricCryptoConfig, FabricMspConfig, FabricNodeOUs, FabricOuIdentifier, MspConfig, SerializedIdentity,
};
use orderer_core::channel::UnixSeconds;
use orderer_core::crypto::{Signer as _, SigningIdentity, SigningKey};
use orderer_core::identity::{Msp, MspError, MspVersion, Msps, Principal, Role, expires_at};
use orderer_core::policy::{Policies, Proof, SignedDatum, Signers, prove_together};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// A certificate authority.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    fn root(name: &str) -> Self {
        let (params, key) = (ca_params(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn below(&self, name: &str) -> Self {
        let (mut params, key) = (ca_params(name), KeyPair::generate().unwrap());
        params.use_authority_key_identifier_extension = true;
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Self { params, key, pem }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn leaf(&self, units: &[&str], key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, "member");
        for unit in units {
            params.distinguished_name.push(DnType::OrganizationalUnitName, *unit);
        }
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Leaf { pem, key }
    }

    fn client(&self) -> Leaf {
        self.leaf(&["client"], KeyPair::generate().unwrap(), |_| {})
    }
}

struct Leaf {
    pem: String,
    key: KeyPair,
}

impl Leaf {
    fn signer(&self) -> SigningIdentity {
        let key = SigningKey::from_pem(self.key.serialize_pem().as_bytes()).unwrap();
        SigningIdentity::new("Org", self.pem.as_bytes(), key).unwrap()
    }

    fn sign(&self, message: &'static str) -> SignedDatum {
        let signer = self.signer();
        SignedDatum {
            message: message.into(),
            signature: signer.sign(message.as_bytes()).unwrap(),
            creator: signer.creator().clone(),
        }
    }
}

fn config(root: &Authority) -> FabricMspConfig {
    let unit = |name: &str| {
        Some(FabricOuIdentifier { certificate: Bytes::new(), organizational_unit_identifier: name.into() })
    };
    FabricMspConfig {
        name: "Org".into(),
        root_certs: vec![root.pem.clone().into()],
        fabric_node_ous: Some(FabricNodeOUs {
            enable: true,
            client_ou_identifier: unit("client"),
            peer_ou_identifier: unit("peer"),
            admin_ou_identifier: unit("admin"),
            orderer_ou_identifier: unit("orderer"),
        }),
        ..FabricMspConfig::default()
    }
}

fn msp(config: &FabricMspConfig) -> Result<Msp, MspError> {
    msp_by(config, MspVersion::LATEST)
}

/// By the rules of an older channel.
fn msp_by(config: &FabricMspConfig, version: MspVersion) -> Result<Msp, MspError> {
    Msp::from_config(&MspConfig { r#type: 0, config: config.encode_to_vec().into() }, version)
}

/// What the MSP says of a certificate.
fn standing(msp: &Msp, leaf: &Leaf) -> Result<Option<Role>, String> {
    let identity = msp.identify(&leaf.pem.clone().into()).unwrap();
    identity.validity().map_err(ToString::to_string)?;
    Ok(identity.role())
}

#[test]
fn roles_come_from_organizational_units() {
    let root = Authority::root("root");
    let msp = msp(&config(&root)).unwrap();
    let of = |units: &[&str]| standing(&msp, &root.leaf(units, KeyPair::generate().unwrap(), |_| {}));
    assert_eq!(of(&["client"]), Ok(Some(Role::Client)));
    assert_eq!(of(&["peer"]), Ok(Some(Role::Peer)));
    assert_eq!(of(&["admin"]), Ok(Some(Role::Admin)));
    assert_eq!(of(&["orderer"]), Ok(Some(Role::Orderer)));
    assert!(of(&["sales"]).unwrap_err().contains("neither client, peer, admin nor orderer"));
}

#[test]
fn a_certificate_has_one_role_among_any_number_of_units() {
    const CA: &str = include_str!("../../tests/fixtures/pki/ca.pem");
    let mut config = config(&Authority::root("unused"));
    config.root_certs = vec![CA.into()];
    let msp = msp(&config).unwrap();
    let both =
        msp.identify(&Bytes::from_static(include_bytes!("../../tests/fixtures/pki/client-and-peer.pem"))).unwrap();
    assert!(both.validity().unwrap_err().to_string().contains("more than one role"));
    let one = msp.identify(&Bytes::from_static(include_bytes!("../../tests/fixtures/pki/sales-and-peer.pem"))).unwrap();
    assert_eq!((one.validity(), one.role()), (Ok(()), Some(Role::Peer)));
}

#[test]
fn an_administrator_may_be_named_by_certificate() {
    let root = Authority::root("root");
    let admin = root.leaf(&[], KeyPair::generate().unwrap(), |_| {});
    let mut config = config(&root);
    config.fabric_node_ous = None;
    config.admins = vec![admin.pem.clone().into()];
    let msp = msp(&config).unwrap();
    assert_eq!(standing(&msp, &admin), Ok(Some(Role::Admin)));
    assert_eq!(standing(&msp, &root.client()), Ok(None));
}

#[test]
fn rules_for_members_come_with_the_level_of_the_channels_capabilities() {
    use MspVersion::{V1_0, V1_1, V1_3, V1_4_3, V3_0};
    let root = Authority::root("root");
    let chief = root.leaf(&["client"], KeyPair::generate().unwrap(), |_| {});
    let mut config = config(&root);
    config.admins = vec![chief.pem.clone().into()];
    let leaf = |unit| root.leaf(&[unit], KeyPair::generate().unwrap(), |_| {});
    let (client, admin, orderer) = (leaf("client"), leaf("admin"), leaf("orderer"));
    let of = |version, leaf: &Leaf| standing(&msp_by(&config, version).unwrap(), leaf).ok();
    for (version, as_client, as_admin, as_orderer) in [
        // units make no roles: all three are members
        (V1_0, Some(None), Some(None), Some(None)),
        // every member is client or peer
        (V1_1, Some(Some(Role::Client)), None, None),
        (V1_3, Some(Some(Role::Client)), None, None),
        (V1_4_3, Some(Some(Role::Client)), Some(Some(Role::Admin)), Some(Some(Role::Orderer))),
    ] {
        assert_eq!(of(version, &client), as_client, "{version:?}");
        assert_eq!(of(version, &admin), as_admin, "{version:?}");
        assert_eq!(of(version, &orderer), as_orderer, "{version:?}");
        assert_eq!(of(version, &chief), Some(Some(Role::Admin)), "{version:?}");
    }
    let edwards = root.leaf(&["client"], KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), |_| {});
    let refused = standing(&msp_by(&config, V1_4_3).unwrap(), &edwards).unwrap_err();
    assert_eq!(refused, "Ed25519 keys need the channel capability V3_0");
    assert_eq!(of(V3_0, &edwards), Some(Some(Role::Client)));

    let nominal = Principal::Nominal;
    let satisfies =
        |version| msp_by(&config, version).unwrap().identify(&client.pem.clone().into()).unwrap().satisfies(&nominal);
    assert!(satisfies(V1_1).is_err() && satisfies(V1_3).is_ok());

    // what newer rules take, older ones refuse, and the other way round
    config.admins = vec![admin.pem.clone().into()];
    assert!(matches!(msp_by(&config, V1_3), Err(MspError::Admin { .. })), "an administrator had to be a client");
    assert!(msp_by(&config, V1_4_3).is_ok());
    config.admins.clear();
    config.fabric_node_ous.as_mut().unwrap().admin_ou_identifier = None;
    assert!(msp_by(&config, V1_3).is_ok());
    assert!(matches!(msp_by(&config, V1_4_3), Err(MspError::NoAdministrator { .. })));
    config.fabric_node_ous.as_mut().unwrap().peer_ou_identifier = None;
    assert!(matches!(msp_by(&config, V1_3), Err(MspError::NoUnitForRole { role: "peer", .. })));
    config.crypto_config =
        Some(FabricCryptoConfig { signature_hash_family: "SHA3".into(), ..FabricCryptoConfig::default() });
    assert!(matches!(msp_by(&config, V1_0), Err(MspError::HashFamily { .. })));
}

#[test]
fn units_that_name_no_role_make_none_and_a_listed_unit_names_its_certifier() {
    let root = Authority::root("root");
    let chief = root.leaf(&[], KeyPair::generate().unwrap(), |_| {});
    let mut config = config(&root);
    config.admins = vec![chief.pem.clone().into()];
    config.fabric_node_ous = Some(FabricNodeOUs { enable: true, ..FabricNodeOUs::default() });
    assert_eq!(standing(&msp(&config).unwrap(), &root.client()), Ok(None));
    let unit = |certificate: &str| FabricOuIdentifier {
        certificate: Bytes::copy_from_slice(certificate.as_bytes()),
        organizational_unit_identifier: "sales".into(),
    };
    config.admins = vec![root.leaf(&["sales"], KeyPair::generate().unwrap(), |_| {}).pem.into()];
    config.organizational_unit_identifiers = vec![unit("")];
    assert!(matches!(msp(&config), Err(MspError::Certifier { .. })));
    config.organizational_unit_identifiers = vec![unit(&root.pem)];
    let sales = msp(&config).unwrap();
    assert!(standing(&sales, &root.client()).unwrap_err().contains("none of the organizational units"));
    assert_eq!(standing(&sales, &root.leaf(&["sales"], KeyPair::generate().unwrap(), |_| {})), Ok(None));
}

#[test]
fn only_the_own_authorities_make_members_and_no_authority_is_one() {
    let (root, stranger) = (Authority::root("root"), Authority::root("root"));
    let msp = msp(&config(&root)).unwrap();
    assert!(standing(&msp, &stranger.client()).unwrap_err().contains("not issued by a certificate authority"));
    let sub_ca = root.leaf(&["client"], KeyPair::generate().unwrap(), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert!(standing(&msp, &sub_ca).unwrap_err().contains("cannot be used as an identity"));
}

#[test]
fn with_intermediates_only_the_lowest_authorities_issue_members() {
    let root = Authority::root("root");
    let intermediate = root.below("intermediate");
    let mut config = config(&root);
    config.intermediate_certs = vec![intermediate.pem.clone().into()];
    let msp = msp(&config).unwrap();
    assert_eq!(standing(&msp, &intermediate.client()), Ok(Some(Role::Client)));
    assert!(standing(&msp, &root.client()).unwrap_err().contains("intermediate authorities below it"));
    config.intermediate_certs = vec![Authority::root("other").below("stray").pem.into()];
    assert!(matches!(self::msp(&config), Err(MspError::NotAnchored { .. })));
}

#[test]
fn an_expired_certificate_is_valid_and_says_when_it_expired() {
    let root = Authority::root("root");
    let msp = msp(&config(&root)).unwrap();
    let old = root.leaf(&["client"], KeyPair::generate().unwrap(), |params| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    });
    assert_eq!(standing(&msp, &old), Ok(Some(Role::Client)));
    assert_eq!(expires_at(old.signer().creator()), Some(UnixSeconds(978_307_200)));
    assert_eq!(expires_at(b"garbage"), None);
}

#[test]
fn a_revoked_certificate_is_not_valid() {
    let root = Authority::root("root");
    let serial = |n: u64| move |params: &mut CertificateParams| params.serial_number = Some(SerialNumber::from(n));
    let revoked = root.leaf(&["client"], KeyPair::generate().unwrap(), serial(7));
    let other = root.leaf(&["client"], KeyPair::generate().unwrap(), serial(8));
    let list = |signer: &Authority| {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2040, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(7u64),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&signer.issuer()).unwrap().pem().unwrap()
    };
    let mut config = config(&root);
    config.revocation_list = vec![list(&root).into()];
    let msp = msp(&config).unwrap();
    assert!(standing(&msp, &revoked).unwrap_err().contains("revoked"));
    assert_eq!(standing(&msp, &other), Ok(Some(Role::Client)));
    config.revocation_list = vec![list(&Authority::root("root")).into()];
    assert!(matches!(self::msp(&config), Err(MspError::RevocationList { .. })), "signed by somebody else");
}

#[test]
fn keys_of_every_kind_sign_for_members() {
    let root = Authority::root("root");
    let msps = Msps::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let member = root.leaf(&["client"], KeyPair::generate_for(algorithm).unwrap(), |_| {});
        let signers = Signers::verify(&[member.sign("message")], &msps);
        assert!(policies(&signed_by(0), &[Role::Client]).evaluate("/Channel/P", &signers).is_ok());
    }
}

#[test]
fn signatures_verified_together_count_exactly_when_they_count_alone() {
    let root = Authority::root("root");
    let msps = Msps::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
    let key = |kind| root.leaf(&["client"], KeyPair::generate_for(kind).unwrap(), |_| {});
    let (one, two, other_kind) =
        (key(&rcgen::PKCS_ED25519), key(&rcgen::PKCS_ED25519), key(&rcgen::PKCS_ECDSA_P256_SHA256));
    let mut data = [one.sign("a"), two.sign("b"), other_kind.sign("c"), one.sign("d")];
    let prove = |data: &[SignedDatum]| prove_together(&data.iter().map(|d| (&msps, d)).collect::<Vec<_>>());
    let counts = |datum: &SignedDatum, proof: Option<Proof>| {
        let signers = Signers::verify_one(datum, proof, &msps);
        policies(&signed_by(0), &[Role::Client]).evaluate("/Channel/P", &signers).is_ok()
    };
    let proofs = prove(&data);
    assert_eq!(proofs.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
    assert!(data.iter().zip(proofs.clone()).all(|(datum, proof)| counts(datum, proof)));
    // a proof is of one signature: with another message, signature or signer it says nothing
    for forged in [
        SignedDatum { message: Bytes::from_static(b"x"), ..data[0].clone() },
        SignedDatum { signature: data[3].signature.clone(), ..data[0].clone() },
        SignedDatum { creator: two.sign("a").creator, ..data[0].clone() },
    ] {
        assert!(!counts(&forged, proofs[0].clone()));
    }
    // one wrong signature among them: nothing is proven, and alone each is what it is
    data[1].message = Bytes::from_static(b"not b");
    let proofs = prove(&data);
    assert!(proofs.iter().all(Option::is_none));
    assert_eq!(data.iter().zip(proofs).map(|(d, p)| counts(d, p)).collect::<Vec<_>>(), [true, false, true, true]);
    // several signatures of one message
    let signers = Signers::verify(&[one.sign("m"), two.sign("m"), key(&rcgen::PKCS_ED25519).sign("m")], &msps);
    let three = out_of(3, vec![signed_by(0), signed_by(0), signed_by(0)]);
    assert!(policies(&three, &[Role::Client]).evaluate("/Channel/P", &signers).is_ok());
}

#[test]
fn one_name_has_one_definition() {
    let (one, other) = (Authority::root("a"), Authority::root("b"));
    let make = |root: &Authority| Arc::new(msp(&config(root)).unwrap());
    assert!(Msps::new(vec![make(&one), make(&one)]).is_ok());
    assert!(matches!(Msps::new(vec![make(&one), make(&other)]), Err(MspError::Conflict { .. })));
}

#[test]
fn a_member_is_read_once_and_not_remembered_under_another_definition() {
    let root = Authority::root("root");
    let member = root.client();
    let serialized =
        Bytes::from(SerializedIdentity { mspid: "Org".into(), id_bytes: member.pem.clone().into() }.encode_to_vec());
    let shared = Arc::new(msp(&config(&root)).unwrap());
    let (one, two) = (Msps::new(vec![Arc::clone(&shared)]).unwrap(), Msps::new(vec![shared]).unwrap());
    let known = one.identify(&serialized).unwrap();
    assert!(Arc::ptr_eq(&known, &two.identify(&serialized).unwrap()), "channels share members of one definition");
    let mut changed = config(&root);
    changed.admins = vec![member.pem.clone().into()];
    let changed = Msps::new(vec![Arc::new(msp(&changed).unwrap())]).unwrap();
    assert_eq!((known.role(), changed.identify(&serialized).unwrap().role()), (Some(Role::Client), Some(Role::Admin)));
}

fn signed_by(index: i32) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::SignedBy(index)) }
}

fn out_of(n: i32, rules: Vec<SignaturePolicy>) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules })) }
}

/// A channel whose only policy, P, is this rule over these roles of Org.
fn policies(rule: &SignaturePolicy, roles: &[Role]) -> Policies {
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
    Policies::from_config(&group).unwrap()
}

#[test]
fn one_identity_counts_once_however_often_it_signs() {
    let root = Authority::root("root");
    let msps = Msps::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
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
    let msps = Msps::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
    let mut forged = root.client().sign("a");
    forged.message = "b".into();
    let stranger = SerializedIdentity { mspid: "Nobody".into(), id_bytes: Bytes::new() }.encode_to_vec();
    let nobody = SignedDatum { creator: stranger.into(), ..forged.clone() };
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
        Policies::from_config(&group).unwrap().evaluate("/Channel/P", &Signers::default()).is_ok()
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

/// The reference's algorithm in its plainest form: try the rules in order, mark who was used, unmark on failure.
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
        let msps = Msps::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
        let sign = |role: &Role| root.leaf(&[role.as_str()], KeyPair::generate().unwrap(), |_| {}).sign("m");
        let signers = Signers::verify(&roles.iter().map(sign).collect::<Vec<_>>(), &msps);
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
        let msps = Msps::new(vec![Arc::new(msp(&config(&root)).unwrap())]).unwrap();
        let _ = msps.identify(&bytes);
        for kind in 0..4 {
            let policy = ConfigPolicy { policy: Some(Policy { r#type: kind, value: bytes.clone() }), ..Default::default() };
            let group = ConfigGroup { policies: BTreeMap::from([("P".to_owned(), policy)]), ..Default::default() };
            let _ = Policies::from_config(&group);
        }
        if let Ok(group) = ConfigGroup::decode(bytes.clone()) {
            let _ = Policies::from_config(&group);
        }
    }
}
