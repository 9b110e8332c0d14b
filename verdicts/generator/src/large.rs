//! Configurations of about [`SIZE`] octets, the most that a channel's batch size usually lets through, each made so that
//! one part of judging it costs as much as it can.

use fabric_proto::Message as _;
use fabric_proto::common::{ConfigGroup, MspPrincipal, MspRole, SignaturePolicy};
use fabric_proto::msp::FabricMspConfig;
use orderer_verdicts::{Case, Release};

use crate::certificate::{authority_name, member_name};
use crate::crl;
use crate::der;
use crate::keys::{Key, Kind, key};
use crate::network::{
    Chain, Signer, anybody, channel, n_of, organization, set_anchors, signatures, signed_by, signed_update,
};
use crate::organization::{Authority, msp};
use crate::pem;
use crate::rng::Rng;

/// How large the part is that is repeated, in octets.
pub const SIZE: usize = 1 << 20;
/// Certificates of one name that a chain builder tries before the one that signed: Go gives up behind 100 signatures.
const DECOYS: usize = 90;

/// Makes a configuration.
type Maker = fn() -> ConfigGroup;

/// All of them, each made when it is asked for.
pub fn cases() -> impl Iterator<Item = Case> {
    let makers: [(&str, Maker); 9] = [
        ("decoys-P256", || decoys(Kind::P256)),
        ("decoys-P384", || decoys(Kind::P384)),
        ("decoys-P521", || decoys(Kind::P521)),
        ("ring", ring),
        ("admins", admins),
        ("lists", lists),
        ("organizations", organizations),
        ("flat-policy", flat_policy),
        ("deep-policy", deep_policy),
    ];
    makers.into_iter().map(|(name, make)| case(name, &make())).chain(std::iter::once_with(many_signers))
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

/// As many PEM texts as make up the size.
fn up_to_size(mut next: impl FnMut(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    let (mut all, mut total) = (Vec::new(), 0);
    while total < SIZE {
        let one = next(all.len());
        total += one.len() + one.len() / 3 + 80;
        all.push(one);
    }
    all
}

/// Many intermediates below one whose name 90 others have, too, with other keys: each is tried by a signature.
fn decoys(kind: Kind) -> ConfigGroup {
    let root = Authority::root("root", kind, 0);
    let inner = |number: usize, serial: usize| {
        let own = key(kind, number);
        let mut inner = Authority { certificate: root.certificate.clone(), key: own };
        inner.certificate.subject = authority_name("inner");
        inner.certificate.spki = own.spki();
        inner.certificate.serial = der::integer(1000 + serial as u64);
        inner.certificate.extensions[2].body = der::octets(&[serial as u8; 20]);
        inner
    };
    let real = inner(1, DECOYS);
    let mut intermediates: Vec<_> =
        (0..DECOYS).map(|n| inner(2 + n % 6, n)).map(|d| d.certificate.sign(root.key)).collect();
    intermediates.push(real.certificate.sign(root.key));
    let leaves = up_to_size(|n| {
        let mut leaf = real.certificate.clone();
        leaf.subject = authority_name(&format!("leaf {n}"));
        leaf.issuer = authority_name("inner");
        leaf.serial = der::integer(5000 + n as u64);
        leaf.extensions.truncate(3);
        leaf.sign(real.key)
    });
    intermediates.extend(leaves);
    with(&msp("Org1MSP", &[root.certificate.sign(root.key)], &intermediates))
}

/// Self-issued intermediates of one name and key.
fn ring() -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let ring = up_to_size(|n| {
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

fn admins() -> ConfigGroup {
    let root = Authority::root("root", Kind::P384, 0);
    let one = members(1, &root, key(Kind::P256, 1)).concat().len();
    let count = SIZE / (one + one / 3 + 80);
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &[]);
    config.admins = members(count, &root, key(Kind::P256, 1)).iter().map(|der| pem::certificate(der).into()).collect();
    with(&config)
}

/// Small revocation lists, and intermediates that may have signed them.
fn lists() -> ConfigGroup {
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
    let lists = up_to_size(|n| {
        let serials = [der::integer(9000 + n as u64)];
        crl::list(&mut rng, root.key, &name, &root.key.identifier(), &serials).0
    });
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &inner);
    config.revocation_list = lists.iter().map(|der| pem::pem("X509 CRL", der).into()).collect();
    with(&config)
}

fn organizations() -> ConfigGroup {
    let root = Authority::root("root", Kind::P521, 0);
    let der = root.certificate.sign(root.key);
    let mut all = with(&msp("Org1MSP", std::slice::from_ref(&der), &[]));
    let one = organization(&msp("Org1MSP", std::slice::from_ref(&der), &[]), anybody()).encoded_len();
    if let Some(application) = all.groups.get_mut("Application") {
        for n in 0..SIZE / one {
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

fn flat_policy() -> ConfigGroup {
    let one = signed_by(0);
    with_policy(n_of(1, vec![one.clone(); SIZE / (one.encoded_len() + 2)]))
}

/// As deep as protobuf lets it be.
fn deep_policy() -> ConfigGroup {
    let mut rule = n_of(1, vec![signed_by(0); 200]);
    for _ in 0..40 {
        rule = n_of(1, vec![n_of(2, vec![signed_by(0); 8]), rule]);
    }
    let many = SIZE / rule.encoded_len();
    with_policy(n_of(1, vec![rule; many]))
}

/// A small update that as many members sign as there is room for, under a policy that the last one satisfies.
fn many_signers() -> Case {
    let root = Authority::root("root", Kind::P384, 0);
    let own = key(Kind::P384, 1);
    let one = members(1, &root, own).concat().len();
    let all = members(SIZE / (one + one / 3 + 300), &root, own);
    let config = msp("Org1MSP", &[root.certificate.sign(root.key)], &[]);
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
    case_of("signers", chain)
}
