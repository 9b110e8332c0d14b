//! Tests of membership, on organizations created for each test.

#![allow(clippy::unwrap_used, clippy::default_trait_access, reason = "a test may panic")]

mod organizations;

use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::msp::{FabricCryptoConfig, FabricNodeOUs, FabricOuIdentifier, SerializedIdentity};
use orderer_core::crypto::{Signer as _, sha256};
use orderer_core::identity::{Msp, MspError, MspManager, MspVersion, Principal, Role, UnitError, expires_at};
use orderer_core::types::UnixSeconds;
use orderer_x509::{Certificate, Curve};
use organizations::{Authority, Leaf, config, msp, msp_by};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

/// Returns the validity and the role of a certificate in the MSP.
fn standing(msp: &Msp, leaf: &Leaf) -> Result<Option<Role>, String> {
    let identity = msp.deserialize_identity(&leaf.pem.clone().into()).map_err(|e| e.to_string())?;
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
    let both = msp
        .deserialize_identity(&Bytes::from_static(include_bytes!("../../tests/fixtures/pki/client-and-peer.pem")))
        .unwrap();
    assert!(both.validity().unwrap_err().to_string().contains("more than one role"));
    let one = msp
        .deserialize_identity(&Bytes::from_static(include_bytes!("../../tests/fixtures/pki/sales-and-peer.pem")))
        .unwrap();
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
        // units do not determine roles: all three are members
        (V1_0, Some(None), Some(None), Some(None)),
        // every member is a client or a peer
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
    assert!(refused.contains("Ed25519, which needs the channel capability V3_0"), "{refused}");
    assert_eq!(of(V3_0, &edwards), Some(Some(Role::Client)));

    let nominal = Principal::Nominal;
    let satisfies = |version| {
        msp_by(&config, version).unwrap().deserialize_identity(&client.pem.clone().into()).unwrap().satisfies(&nominal)
    };
    assert!(satisfies(V1_1).is_err() && satisfies(V1_3).is_ok());

    // newer rules accept administrators that older ones reject, and vice versa
    config.admins = vec![admin.pem.clone().into()];
    assert!(matches!(msp_by(&config, V1_3), Err(MspError::Admin { .. })), "an administrator had to be a client");
    assert!(msp_by(&config, V1_4_3).is_ok());
    config.admins.clear();
    config.fabric_node_ous.as_mut().unwrap().admin_ou_identifier = None;
    assert!(msp_by(&config, V1_3).is_ok());
    assert!(matches!(msp_by(&config, V1_4_3), Err(MspError::NoAdministrator { .. })));
    config.fabric_node_ous.as_mut().unwrap().peer_ou_identifier = None;
    assert!(matches!(
        msp_by(&config, V1_3),
        Err(MspError::Unit { cause: UnitError::NoUnitForRole { role: "peer" }, .. })
    ));
    config.crypto_config =
        Some(FabricCryptoConfig { signature_hash_family: "SHA3".into(), ..FabricCryptoConfig::default() });
    assert!(msp_by(&config, V1_0).is_ok(), "members sign with SHA3-256");
    config.crypto_config =
        Some(FabricCryptoConfig { identity_identifier_hash_function: "MD5".into(), ..FabricCryptoConfig::default() });
    assert!(matches!(msp_by(&config, V1_0), Err(MspError::HashFunction { .. })));
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
    assert!(matches!(msp(&config), Err(MspError::Unit { cause: UnitError::Certifier { .. }, .. })));
    config.organizational_unit_identifiers = vec![unit(&root.pem)];
    let sales = msp(&config).unwrap();
    assert!(standing(&sales, &root.client()).unwrap_err().contains("none of the organizational units"));
    assert_eq!(standing(&sales, &root.leaf(&["sales"], KeyPair::generate().unwrap(), |_| {})), Ok(None));
}

fn der_of(authority: &Authority) -> Bytes {
    orderer_x509::pem::decode(authority.pem.as_bytes()).unwrap().0.contents
}

/// Returns a CA certificate whose signature is not in low-S form, like half of those that OpenSSL creates.
fn root_with_high_s() -> (Authority, Certificate) {
    loop {
        let root = Authority::root("root");
        let certificate = Certificate::parse(&der_of(&root)).unwrap();
        let low = certificate.with_low_s(Curve::P256).unwrap();
        if low.raw() != certificate.raw() {
            return (root, low);
        }
    }
}

#[test]
fn a_chain_is_named_by_its_authorities_certificates_in_their_lower_form() {
    let (root, low) = root_with_high_s();
    let mut config = config(&root);
    config.organizational_unit_identifiers.clear();
    let member = msp(&config).unwrap();
    let identity = member.deserialize_identity(&root.client().pem.into()).unwrap();
    let in_unit = |certifiers: Bytes| {
        identity.satisfies(&Principal::OrganizationalUnit { msp_id: "Org".into(), unit: "client".into(), certifiers })
    };
    assert_eq!(in_unit(Bytes::copy_from_slice(&sha256(&[low.raw()]))), Ok(()));
    assert!(in_unit(Bytes::copy_from_slice(&sha256(&[&der_of(&root)]))).is_err(), "not as it was given");
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
    assert!(matches!(self::msp(&config), Err(MspError::Authority { .. })));
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
    assert_eq!(standing(&self::msp(&config).unwrap(), &revoked), Ok(Some(Role::Client)), "signed by somebody else");
    config.revocation_list = vec!["garbage".into()];
    assert!(matches!(self::msp(&config), Err(MspError::RevocationList { .. })));
}

#[test]
fn one_name_has_one_definition() {
    let (one, other) = (Authority::root("a"), Authority::root("b"));
    let make = |root: &Authority| Arc::new(msp(&config(root)).unwrap());
    assert!(MspManager::new(vec![make(&one), make(&one)]).is_ok());
    assert!(matches!(MspManager::new(vec![make(&one), make(&other)]), Err(MspError::Conflict { .. })));
}

#[test]
fn a_member_is_read_once_and_not_remembered_under_another_definition() {
    let root = Authority::root("root");
    let member = root.client();
    let serialized =
        Bytes::from(SerializedIdentity { mspid: "Org".into(), id_bytes: member.pem.clone().into() }.encode_to_vec());
    let shared = Arc::new(msp(&config(&root)).unwrap());
    let (one, two) = (MspManager::new(vec![Arc::clone(&shared)]).unwrap(), MspManager::new(vec![shared]).unwrap());
    let known = one.deserialize_identity(&serialized).unwrap();
    assert!(
        Arc::ptr_eq(&known, &two.deserialize_identity(&serialized).unwrap()),
        "channels share members of one definition"
    );
    let mut changed = config(&root);
    changed.admins = vec![member.pem.clone().into()];
    let changed = MspManager::new(vec![Arc::new(msp(&changed).unwrap())]).unwrap();
    assert_eq!(
        (known.role(), changed.deserialize_identity(&serialized).unwrap().role()),
        (Some(Role::Client), Some(Role::Admin))
    );
}

/// Validating five such CAs once took minutes of CPU time, because each may have issued each.
#[test]
fn a_ring_of_authorities_is_judged_at_once() {
    let root = Authority::root("root");
    let mut config = config(&root);
    let key = KeyPair::generate().unwrap();
    let one_of_the_ring = |serial: u64| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ring");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(serial));
        params.self_signed(&key).unwrap().pem()
    };
    config.intermediate_certs = (0..20).map(|serial| one_of_the_ring(serial).into()).collect();
    let began = std::time::Instant::now();
    let refused = msp(&config).map(|_| ()).unwrap_err();
    assert!(matches!(refused, MspError::Authority { .. }), "{refused}");
    // a busy machine may need seconds
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
}
