//! Configurations with many certificates: costly searches for chains, and costly checks of each certificate.

use fabric_proto::Message as _;
use fabric_proto::common::ConfigGroup;

use super::{members, msp_with, orderers, share, up_to_size, with};
use crate::certificate::{Certificate, Extension, authority_name, id_ce};
use crate::der;
use crate::keys::{Kind, key, other_spki};
use crate::network::{anybody, channel, organization};
use crate::organization::{Authority, msp, unit};
use crate::pem;

/// Number of certificates of one name that a chain builder tries before the one that signed. Go gives up after 100
/// signatures.
pub(super) const DECOYS: usize = 90;

/// Returns a CA, and the certificates of `count` CAs with the same name and other keys, followed by its own.
pub(super) fn among_decoys(root: &Authority, kind: Kind, count: usize) -> (Authority, Vec<Vec<u8>>) {
    let inner = |spki: Vec<u8>, serial: usize| {
        let mut certificate = root.certificate.clone();
        certificate.subject = authority_name("inner");
        certificate.spki = spki;
        certificate.serial = der::integer(1000 + serial as u64);
        certificate.extensions[2].body = der::octets(&[u8::try_from(serial).unwrap_or_default(); 20]);
        certificate
    };
    let mut all: Vec<_> = (0..count).map(|n| inner(other_spki(kind, n), n).sign(root.key)).collect();
    let own = key(kind, 1);
    let certificate = inner(own.spki(), count);
    all.push(certificate.sign(root.key));
    (Authority { certificate, key: own }, all)
}

/// Many intermediates below a CA among decoys: every decoy costs the verification of a signature.
pub(super) fn decoys(kind: Kind, size: usize) -> ConfigGroup {
    // decoys with long keys take as much space as the rest
    let is_long = matches!(kind, Kind::Rsa4096 | Kind::Rsa8192 | Kind::Rsa16384);
    let count = if is_long { share(size, DECOYS).max(8) } else { DECOYS };
    let root = Authority::root("root", if kind == Kind::P224 { Kind::P256 } else { kind }, 0);
    let (real, mut intermediates) = among_decoys(&root, kind, count);
    let leaves = up_to_size(size, |n| {
        // as small as possible
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

/// Self-issued intermediates of one name and key, with different alternative names. Each may be the issuer of each, and
/// all paths except the direct one to the root are too long, which a search finds only at their end.
pub(super) fn ring(size: usize) -> ConfigGroup {
    let mut root = Authority::root("root", Kind::P256, 0);
    let ring = up_to_size(size, |n| {
        let mut one = root.certificate.clone();
        one.serial = der::integer(1000 + n as u64);
        one.extensions.truncate(3);
        one.extensions.push(Extension::new(
            &id_ce(17),
            false,
            der::sequence(&dns_names(1, &format!("r{n}.example.com"))),
        ));
        one.sign(root.key)
    });
    root.certificate.extensions[1].body = der::sequence(&[der::boolean(true), der::integer(0)]);
    with(&msp_with(&root, &ring))
}

pub(super) fn admins(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P384, 0);
    let one = members(1, &root, key(Kind::P256, 1)).concat().len();
    let count = size / (one + one / 3 + 80);
    let mut config = msp("Org1MSP", &[root.certificate.sign(root.key)], &[]);
    config.admins = members(count, &root, key(Kind::P256, 1)).iter().map(|der| pem::certificate(der).into()).collect();
    with(&config)
}

/// Organizational units whose certifiers are one CA below decoys.
pub(super) fn units(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P384, 0);
    let (real, mut intermediates) = among_decoys(&root, Kind::P384, DECOYS);
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

/// Encodes DNS names, for alternative names or `GeneralSubtree`s.
fn dns_names(count: usize, suffix: &str) -> Vec<Vec<u8>> {
    (0..count).map(|n| der::tlv(0x82, format!("n{n}.{suffix}").as_bytes())).collect()
}

/// A root with many name constraints, and many CAs with names below it.
pub(super) fn constraints(size: usize) -> ConfigGroup {
    let mut root = Authority::root("root", Kind::P256, 0);
    let subtrees: Vec<_> = dns_names(share(size, 17_000), "example.com")
        .iter()
        .map(|name| der::sequence(std::slice::from_ref(name)))
        .collect();
    let permitted = der::tlv(0xa0, &subtrees.concat());
    root.certificate.extensions.push(Extension::new(&id_ce(30), true, der::sequence(&[permitted])));
    below_named(size, &root, &root, Vec::new(), "example.com")
}

/// A few name constraints, a CA with many names, and many CAs below it.
pub(super) fn names(size: usize) -> ConfigGroup {
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
    below_named(size, &root, &inner, vec![inner.certificate.sign(root.key)], "example.net")
}

/// A CA with many certificate policies, and many CAs below it.
pub(super) fn policies(size: usize) -> ConfigGroup {
    with_policies(size, None)
}

/// A CA with many certificate policies, which requires a policy of the many CAs below it.
pub(super) fn demanded_policies(size: usize) -> ConfigGroup {
    let constraints = der::sequence(&[der::implicit(0, &[0])]);
    with_policies(size, Some(Extension::new(&id_ce(36), true, constraints)))
}

fn with_policies(size: usize, demand: Option<Extension>) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let mut inner = root.below("inner", Kind::P256, 1);
    let policies: Vec<_> =
        (0..share(size, 35_000) as u64).map(|n| der::sequence(&[der::oid(&[1, 2, 3, 4_000 + n])])).collect();
    inner.certificate.extensions.push(Extension::new(&id_ce(32), false, der::sequence(&policies)));
    inner.certificate.extensions.extend(demand);
    below_named(size, &root, &inner, vec![inner.certificate.sign(root.key)], "example.net")
}

/// CAs below one with as many extensions as fit.
pub(super) fn extensions(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let mut inner = root.below("inner", Kind::P256, 1);
    // the subject key identifier comes after all of them
    let own = inner.certificate.extensions.split_off(2);
    let empty = |n| Extension::new(&[1, 2, 3, 4_000 + n], false, Vec::new());
    inner.certificate.extensions.extend((0..share(size, 40_000) as u64).map(empty));
    inner.certificate.extensions.extend(own);
    below_named(size, &root, &inner, vec![inner.certificate.sign(root.key)], "example.net")
}

/// Adds as many CAs below `above` as fit in half the size, each with a name and a policy.
fn below_named(
    size: usize,
    root: &Authority,
    above: &Authority,
    mut intermediates: Vec<Vec<u8>>,
    suffix: &str,
) -> ConfigGroup {
    let mut below = up_to_size(size, |n| {
        let mut below = above.below("below", Kind::P256, 2);
        below.certificate.subject = authority_name(&format!("below {n}"));
        below.certificate.serial = der::integer(5000 + n as u64);
        let names = der::sequence(&dns_names(1, suffix));
        below.certificate.extensions.push(Extension::new(&id_ce(17), false, names));
        let policy = der::sequence(&[der::sequence(&[der::oid(&[1, 2, 3, 4_000])])]);
        below.certificate.extensions.push(Extension::new(&id_ce(32), false, policy));
        below.certificate.sign(above.key)
    });
    below.truncate(below.len() / 2);
    intermediates.extend(below);
    with(&msp_with(root, &intermediates))
}

pub(super) fn organizations(size: usize) -> ConfigGroup {
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
