//! Large configurations, each made so that one part of judging it costs as much as it can for its size.

use fabric_proto::Message as _;
use fabric_proto::common::{ConfigGroup, ConfigValue, MspPrincipal, MspRole, SignaturePolicy};
use fabric_proto::msp::FabricMspConfig;
use orderer_verdicts::{Case, Release};

use crate::certificate::{Certificate, Extension, authority_name, id_ce, member_name};
use crate::crl;
use crate::der;
use crate::keys::{Key, Kind, key, other_spki};
use crate::network::{
    Chain, Signer, anybody, channel, n_of, organization, set_anchors, signatures, signed_by, signed_update,
};
use crate::organization::{Authority, msp, unit};
use crate::pem;
use crate::rng::Rng;

/// The most that a channel's batch size usually lets through, in octets.
pub const SIZE: usize = 1 << 20;
/// Certificates of one name that a chain builder tries before the one that signed: Go gives up behind 100 signatures.
const DECOYS: usize = 90;

/// Names and makers of all of them. The part that is repeated has about `size` octets.
pub fn cases(size: usize) -> Vec<(String, Box<dyn Fn() -> Case>)> {
    type Maker = fn(usize) -> ConfigGroup;
    let makers: [(&str, Maker); 14] = [
        ("ring", ring),
        ("admins", admins),
        ("lists", lists),
        ("others-lists", others_lists),
        ("entries", entries),
        ("units", units),
        ("constraints", constraints),
        ("names", names),
        ("policies", policies),
        ("organizations", organizations),
        ("flat-policy", flat_policy),
        ("deep-policy", deep_policy),
        ("principals", principals),
        ("groups", groups),
    ];
    let kinds = [Kind::P224, Kind::P256, Kind::P384, Kind::P521, Kind::Rsa1024, Kind::Rsa2048, Kind::Ed25519];
    let mut all: Vec<(String, Box<dyn Fn() -> Case>)> = Vec::new();
    for kind in kinds {
        let name = format!("decoys-{kind:?}");
        all.push((name.clone(), Box::new(move || case(&name, &decoys(kind, size)))));
    }
    for (name, make) in makers {
        all.push((name.to_owned(), Box::new(move || case(name, &make(size)))));
    }
    all.push(("signers".to_owned(), Box::new(move || many_signers(size))));
    all.push(("signers-decoys".to_owned(), Box::new(move || signers_with_decoys(size))));
    all
}

fn case_of(name: &str, chain: Chain) -> Case {
    Case {
        name: format!("large/{name}"),
        description: "as large as an update may be".to_owned(),
        release: Release::V2_5,
        blocks: chain.blocks,
    }
}

fn case(name: &str, root: &ConfigGroup) -> Case {
    let mut chain = Chain::default();
    chain.push(root, None);
    case_of(name, chain)
}

fn orderers() -> ConfigGroup {
    let root = Authority::root("orderers", Kind::P256, 7);
    organization(&msp("OrdererMSP", &[root.certificate.sign(root.key)], &[]), anybody())
}

fn with(config: &FabricMspConfig) -> ConfigGroup {
    channel("V2_0", orderers(), organization(config, anybody()))
}

/// What `whole` is in [`SIZE`] octets, for this size.
fn share(size: usize, whole: usize) -> usize {
    whole * size / SIZE
}

/// As many PEM texts as make up the size.
fn up_to_size(size: usize, mut next: impl FnMut(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    let (mut all, mut total) = (Vec::new(), 0);
    while total < size {
        let one = next(all.len());
        total += one.len() + one.len() / 3 + 80;
        all.push(one);
    }
    all
}

/// An authority whose name 90 others have, too, with other keys; and the certificates of all of them, its own last.
fn among_decoys(root: &Authority, kind: Kind) -> (Authority, Vec<Vec<u8>>) {
    let inner = |spki: Vec<u8>, serial: usize| {
        let mut certificate = root.certificate.clone();
        certificate.subject = authority_name("inner");
        certificate.spki = spki;
        certificate.serial = der::integer(1000 + serial as u64);
        certificate.extensions[2].body = der::octets(&[u8::try_from(serial).unwrap_or_default(); 20]);
        certificate
    };
    let mut all: Vec<_> = (0..DECOYS).map(|n| inner(other_spki(kind, n), n).sign(root.key)).collect();
    let own = key(kind, 1);
    let certificate = inner(own.spki(), DECOYS);
    all.push(certificate.sign(root.key));
    (Authority { certificate, key: own }, all)
}

/// Many intermediates below one among decoys: each decoy is tried by a signature.
fn decoys(kind: Kind, size: usize) -> ConfigGroup {
    let root = Authority::root("root", if kind == Kind::P224 { Kind::P256 } else { kind }, 0);
    let (real, mut intermediates) = among_decoys(&root, kind);
    let leaves = up_to_size(size, |n| {
        // as small as they can be
        let mut leaf = Certificate::authority(
            key(Kind::P256, 1),
            real.key,
            authority_name(&format!("leaf {n}")),
            authority_name("inner"),
            5000 + n as u64,
        );
        leaf.extensions.truncate(3);
        leaf.sign(real.key)
    });
    intermediates.extend(leaves);
    let config = msp("Org1MSP", &[root.certificate.sign(root.key)], &intermediates);
    let level = if kind == Kind::Ed25519 { "V3_0" } else { "V2_0" };
    channel(level, orderers(), organization(&config, anybody()))
}

/// Self-issued intermediates of one name and key.
fn ring(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let ring = up_to_size(size, |n| {
        let mut one = root.certificate.clone();
        one.serial = der::integer(1000 + n as u64);
        one.extensions.truncate(3);
        one.sign(root.key)
    });
    with(&msp("Org1MSP", &[root.certificate.sign(root.key)], &ring))
}

fn members(count: usize, root: &Authority, own: &Key) -> Vec<Vec<u8>> {
    let one = |n: usize| {
        let mut member = root.member("member", &["admin"], own);
        member.subject = member_name(&format!("member {n}"), &["admin"]);
        member.serial = der::integer(1000 + n as u64);
        member.sign(root.key)
    };
    (0..count).map(one).collect()
}

fn admins(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P384, 0);
    let one = members(1, &root, key(Kind::P256, 1)).concat().len();
    let count = size / (one + one / 3 + 80);
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &[]);
    config.admins = members(count, &root, key(Kind::P256, 1)).iter().map(|der| pem::certificate(der).into()).collect();
    with(&config)
}

/// Small revocation lists, and intermediates that may have signed them.
fn lists(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P384, 0);
    let inner: Vec<_> = (1..40)
        .map(|n| {
            let mut inner = root.below("inner", Kind::P384, n % 8);
            inner.certificate.serial = der::integer(1000 + n as u64);
            inner.certificate.sign(root.key)
        })
        .collect();
    let mut rng = Rng::new(1, 1);
    let name = root.certificate.subject.clone();
    let lists = up_to_size(size, |n| {
        let serials = [der::integer(9000 + n as u64)];
        crl::list(&mut rng, root.key, &name, &root.key.identifier(), &serials).0
    });
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &inner);
    config.revocation_list = lists.iter().map(|der| pem::pem("X509 CRL", der).into()).collect();
    with(&config)
}

/// Revocation lists that nobody here has signed, and authorities that all have the key identifier on them; each revokes the
/// serial number that every certificate has.
fn others_lists(size: usize) -> ConfigGroup {
    let pairs = share(size, 250);
    let root = Authority::root("root", Kind::P384, 0);
    let serial = der::integer(77);
    let mut intermediates = Vec::new();
    for n in 0..pairs {
        let name = authority_name(&format!("issuer {n}"));
        let mut issuer = root.below("issuer", Kind::P384, n);
        issuer.certificate.subject = name.clone();
        issuer.certificate.spki = other_spki(Kind::P384, n);
        issuer.certificate.extensions[2].body = der::octets(&[9; 20]);
        intermediates.push(issuer.certificate.sign(root.key));
        // nobody has to sign with another's key: the same key stands in two certificates
        let own = key(Kind::P384, 1);
        let mut issuer = issuer.certificate;
        issuer.spki = own.spki();
        issuer.subject = authority_name(&format!("signer {n}"));
        let mut below = Certificate::authority(own, own, authority_name(&format!("below {n}")), name, n as u64);
        below.serial = serial.clone();
        below.issuer = issuer.subject.clone();
        below.extensions.truncate(3);
        intermediates.push(issuer.sign(root.key));
        intermediates.push(below.sign(own));
    }
    let taken: usize = intermediates.iter().map(|der| der.len() + der.len() / 3 + 80).sum();
    let mut lists = up_to_size(size, |n| {
        let serials = [serial.clone(), der::integer(9000 + n as u64)];
        crl::plain(key(Kind::P384, 5), &authority_name("nobody"), &[9; 20], &serials)
    });
    let keep = lists.len() * size.saturating_sub(taken) / size;
    lists.truncate(keep);
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &intermediates);
    config.revocation_list = lists.iter().map(|der| pem::pem("X509 CRL", der).into()).collect();
    with(&config)
}

/// Many certificates, and a list with many entries.
fn entries(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let mut intermediates = up_to_size(size, |n| {
        let mut below = root.below("below", Kind::P256, 1);
        below.certificate.serial = der::integer(1_000_000 + n as u64);
        below.certificate.subject = authority_name(&format!("below {n}"));
        below.certificate.sign(root.key)
    });
    intermediates.truncate(intermediates.len() / 2);
    let serials: Vec<_> = (0..share(size, 20_000) as u64).map(der::integer).collect();
    let list = crl::plain(root.key, &root.certificate.subject, &root.key.identifier(), &serials);
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &intermediates);
    config.revocation_list = vec![list.into()];
    with(&config)
}

/// Organizational units, all certified by one authority below decoys.
fn units(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P384, 0);
    let (real, mut intermediates) = among_decoys(&root, Kind::P384);
    let mut leaf = real.certificate.clone();
    leaf.subject = authority_name("leaf");
    leaf.issuer = authority_name("inner");
    leaf.extensions.truncate(3);
    let leaf = leaf.sign(real.key);
    intermediates.push(leaf.clone());
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &intermediates);
    let mut taken = config.encoded_len();
    while taken < size {
        let name = format!("unit {}", config.organizational_unit_identifiers.len());
        let unit = unit(&name, pem::certificate(&leaf));
        taken += unit.encoded_len() + 4;
        config.organizational_unit_identifiers.push(unit);
    }
    with(&config)
}

/// `GeneralSubtree`s or names in DNS.
fn dns_names(count: usize, suffix: &str) -> Vec<Vec<u8>> {
    (0..count).map(|n| der::tlv(0x82, format!("n{n}.{suffix}").as_bytes())).collect()
}

/// A root with many name constraints, and many authorities with names below.
fn constraints(size: usize) -> ConfigGroup {
    let mut root = Authority::root("root", Kind::P256, 0);
    let subtrees: Vec<_> = dns_names(share(size, 17_000), "example.com")
        .iter()
        .map(|name| der::sequence(std::slice::from_ref(name)))
        .collect();
    let permitted = der::tlv(0xa0, &subtrees.concat());
    root.certificate.extensions.push(Extension::new(&id_ce(30), true, der::sequence(&[permitted])));
    below_named(size, &root, &root, Vec::new())
}

/// A few name constraints, an authority with many names, and many authorities below.
fn names(size: usize) -> ConfigGroup {
    let mut root = Authority::root("root", Kind::P256, 0);
    let subtrees: Vec<_> = dns_names(share(size, 2_000), "example.com")
        .iter()
        .map(|name| der::sequence(std::slice::from_ref(name)))
        .collect();
    let excluded = der::tlv(0xa1, &subtrees.concat());
    root.certificate.extensions.push(Extension::new(&id_ce(30), true, der::sequence(&[excluded])));
    let mut inner = root.below("inner", Kind::P256, 1);
    let names = der::sequence(&dns_names(share(size, 17_000), "example.org"));
    inner.certificate.extensions.push(Extension::new(&id_ce(17), false, names));
    below_named(size, &root, &inner, vec![inner.certificate.sign(root.key)])
}

/// An authority with many policies, and many below it.
fn policies(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let mut inner = root.below("inner", Kind::P256, 1);
    let policies: Vec<_> =
        (0..share(size, 35_000) as u64).map(|n| der::sequence(&[der::oid(&[1, 2, 3, 4_000 + n])])).collect();
    inner.certificate.extensions.push(Extension::new(&id_ce(32), false, der::sequence(&policies)));
    below_named(size, &root, &inner, vec![inner.certificate.sign(root.key)])
}

/// As many authorities below `above` as there is room for in half the size, each with a name and a policy.
fn below_named(size: usize, root: &Authority, above: &Authority, mut intermediates: Vec<Vec<u8>>) -> ConfigGroup {
    let mut below = up_to_size(size, |n| {
        let mut below = above.below("below", Kind::P256, 2);
        below.certificate.subject = authority_name(&format!("below {n}"));
        below.certificate.serial = der::integer(5000 + n as u64);
        let names = der::sequence(&dns_names(1, "n1.example.com"));
        below.certificate.extensions.push(Extension::new(&id_ce(17), false, names));
        let policy = der::sequence(&[der::sequence(&[der::oid(&[1, 2, 3, 4_000])])]);
        below.certificate.extensions.push(Extension::new(&id_ce(32), false, policy));
        below.certificate.sign(above.key)
    });
    below.truncate(below.len() / 2);
    intermediates.extend(below);
    with(&msp("Org1MSP", &[root.certificate.sign(root.key)], &intermediates))
}

/// Groups within groups of an organization, which mean nothing.
fn groups(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let config = msp("Org1MSP", &[root.certificate.sign(root.key)], &[]);
    let mut organization = organization(&config, anybody());
    let one = ConfigValue { value: vec![0; 8].into(), mod_policy: "Admins".to_owned(), version: 0 };
    for n in 0..size / (one.encoded_len() + 16) {
        organization.values.insert(format!("value{n}"), one.clone());
    }
    channel("V2_0", orderers(), organization)
}

/// A policy of many principals, each of which is combined of others.
fn principals(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let config = msp("Org1MSP", &[root.certificate.sign(root.key)], &[]);
    let role = |n: usize| {
        let role = MspRole { msp_identifier: format!("Org{n}MSP"), role: 0 };
        MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() }
    };
    let all: Vec<_> = (0..size / 24).map(role).collect();
    let rules = (0..all.len()).map(|n| signed_by(i32::try_from(n).unwrap_or_default())).collect();
    channel("V2_0", orderers(), organization(&config, signatures(n_of(1, rules), all)))
}

fn organizations(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P521, 0);
    let der = root.certificate.sign(root.key);
    let mut all = with(&msp("Org1MSP", std::slice::from_ref(&der), &[]));
    let one = organization(&msp("Org1MSP", std::slice::from_ref(&der), &[]), anybody()).encoded_len();
    if let Some(application) = all.groups.get_mut("Application") {
        for n in 0..size / one {
            let config = msp(&format!("Other{n}MSP"), std::slice::from_ref(&der), &[]);
            application.groups.insert(format!("Other{n}"), organization(&config, anybody()));
        }
    }
    all
}

fn with_policy(rule: SignaturePolicy) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let config = msp("Org1MSP", &[root.certificate.sign(root.key)], &[]);
    let role = MspRole { msp_identifier: "Org1MSP".to_owned(), role: 0 };
    let principal = MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() };
    channel("V2_0", orderers(), organization(&config, signatures(rule, vec![principal])))
}

fn flat_policy(size: usize) -> ConfigGroup {
    let one = signed_by(0);
    with_policy(n_of(1, vec![one.clone(); size / (one.encoded_len() + 2)]))
}

/// As deep as protobuf lets it be.
fn deep_policy(size: usize) -> ConfigGroup {
    let mut rule = n_of(1, vec![signed_by(0); 200]);
    for _ in 0..40 {
        rule = n_of(1, vec![n_of(2, vec![signed_by(0); 8]), rule]);
    }
    let many = size / rule.encoded_len();
    with_policy(n_of(1, vec![rule; many]))
}

/// The same where the signers' authority is among decoys.
fn signers_with_decoys(size: usize) -> Case {
    let root = Authority::root("root", Kind::P384, 0);
    let (real, intermediates) = among_decoys(&root, Kind::P384);
    let mut issuer = real;
    issuer.certificate.subject = authority_name("inner");
    signed_by_many(size, "signers-decoys", &root, &issuer, &intermediates)
}

/// A small update that as many members sign as there is room for, under a policy that the last one satisfies.
fn many_signers(size: usize) -> Case {
    let root = Authority::root("root", Kind::P384, 0);
    signed_by_many(size, "signers", &root, &root, &[])
}

fn signed_by_many(size: usize, name: &str, root: &Authority, issuer: &Authority, intermediates: &[Vec<u8>]) -> Case {
    let own = key(Kind::P384, 1);
    let one = members(1, issuer, own).concat().len();
    let all = members(size / (one + one / 3 + 300), issuer, own);
    let config = msp("Org1MSP", &[root.certificate.sign(root.key)], intermediates);
    let role = MspRole { msp_identifier: "Org1MSP".to_owned(), role: 1 };
    let admin = MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() };
    let needed = i32::try_from(all.len()).unwrap_or(i32::MAX);
    let rule = n_of(needed, vec![signed_by(0); all.len()]);
    let before = channel("V2_0", orderers(), organization(&config, signatures(rule, vec![admin])));
    let mut chain = Chain::default();
    chain.push(&before, None);
    let (update, after) = set_anchors(&before, "anchors");
    let signers: Vec<_> = all.iter().map(|der| Signer::new("Org1MSP", pem::certificate(der), own)).collect();
    chain.push(&after, Some(signed_update(&update.encode_to_vec(), &signers)));
    case_of(name, chain)
}
