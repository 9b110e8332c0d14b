//! Cases with unusual certificates, authorities, revocation lists and organizational units.

use bytes::Bytes;
use fabric_proto::common::MspPrincipal;

use super::{chain_of, curve, level, one_of, role};
use crate::bend::bend;
use crate::certificate::{Certificate, attribute, name};
use crate::crl;
use crate::der::{self, Node, tag};
use crate::keys::{Key, Kind, key};
use crate::network::{Chain, Signer};
use crate::organization::{Authority, msp, node_ous, unit};
use crate::pem;
use crate::rng::Rng;

fn bends(rng: &mut Rng, certificate: &mut Certificate, issuer: &Key) -> String {
    let count = *rng.pick(&[1, 1, 1, 2, 2, 3]);
    (0..count).map(|_| bend(rng, certificate, issuer)).collect::<Vec<_>>().join(", ")
}

/// One CA is unusual: a root, an intermediate, or a TLS CA of either kind. A member signs an update.
pub(super) fn authority(rng: &mut Rng, chain: &mut Chain) -> String {
    let (kind, below_kind, level) = (curve(rng), curve(rng), level(rng));
    let mut root = Authority::root("root", kind, 0);
    let place = rng.below(6);
    let mut what = String::new();
    if place == 0 || place == 2 {
        what = bends(rng, &mut root.certificate, root.key);
    }
    let mut intermediate = root.below("intermediate", below_kind, 1);
    if place == 1 {
        what = bends(rng, &mut intermediate.certificate, root.key);
    }
    let with_intermediate = place == 1 || rng.percent(30);
    let issuer = if with_intermediate { &intermediate } else { &root };
    let own = key(Kind::P256, 2);
    let member = issuer.member("member", &["admin"], own).sign(issuer.key);
    let ders = [root.certificate.sign(root.key), intermediate.certificate.sign(root.key)];
    let mut config = msp("Org1MSP", &ders[..1], if with_intermediate { &ders[1..] } else { &[] });
    if place >= 3 {
        let mut tls = Authority::root("tls", kind, 3);
        if place != 4 {
            what = bends(rng, &mut tls.certificate, tls.key);
        }
        let mut tls_below = tls.below("tls intermediate", below_kind, 4);
        if place == 4 {
            what = bends(rng, &mut tls_below.certificate, tls.key);
        }
        config.tls_root_certs = vec![pem::certificate(&tls.certificate.sign(tls.key)).into()];
        if place != 5 {
            config.tls_intermediate_certs = vec![pem::certificate(&tls_below.certificate.sign(tls.key)).into()];
        }
    }
    if rng.percent(20) {
        let chief = issuer.member("chief", &["client"], key(Kind::P256, 3)).sign(issuer.key);
        config.admins = vec![pem::certificate(&chief).into()];
    }
    let principal = role("Org1MSP", *rng.pick(&[0, 0, 1]));
    let signer = Signer::new("Org1MSP", pem::certificate(&member), own);
    chain_of(chain, level, &config, one_of(principal), &[signer]);
    format!("{level}, {kind:?} over {below_kind:?}, place {place}: {what}")
}

/// The certificate of a member, or of a listed administrator, is unusual.
pub(super) fn member(rng: &mut Rng, chain: &mut Chain) -> String {
    let (kind, own_kind, level) = (curve(rng), curve(rng), level(rng));
    let root = Authority::root("root", kind, 0);
    let mut authorities = vec![root.certificate.sign(root.key)];
    let mut constrained = root.below("intermediate", Kind::P256, 1);
    let mut what = String::new();
    if rng.percent(40) {
        // the constraints of a CA on the certificates below it
        what = format!("{} above ", bends(rng, &mut constrained.certificate, root.key));
    }
    let issuer = if what.is_empty() { &root } else { &constrained };
    if !what.is_empty() {
        authorities.push(constrained.certificate.sign(root.key));
    }
    let own = key(own_kind, 2);
    let units: &[&str] = rng.pick::<&[&str]>(&[&["admin"], &["client"], &["admin", "client"], &["admin", "x"], &[]]);
    let mut certificate = issuer.member("member", units, own);
    what += &bends(rng, &mut certificate, issuer.key);
    let der = certificate.sign(issuer.key);
    let mut config = msp("Org1MSP", &authorities[..1], &authorities[1..]);
    let listed = rng.percent(40);
    if listed {
        config.admins = vec![pem::certificate(&der).into()];
    }
    if listed && rng.percent(30) {
        config.fabric_node_ous = None;
    }
    let nominal = MspPrincipal { principal_classification: 3, principal: Bytes::new() };
    let principal = rng.pick(&[role("Org1MSP", 0), role("Org1MSP", 1), nominal]).clone();
    let signer = Signer::new("Org1MSP", pem::certificate(&der), own);
    chain_of(chain, level, &config, one_of(principal), &[signer]);
    format!("{level}, {own_kind:?} by {kind:?}, units {units:?}, listed {listed}: {what}")
}

/// CAs certify each other in random ways. Some are listed as roots, some as intermediates.
pub(super) fn graph(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let (names, keys) = (1 + rng.below(4), 1 + rng.below(4));
    let of = |name: usize, key: usize| Authority::root(&format!("ca{name}"), Kind::P256, key);
    let mut ders = Vec::new();
    let mut described = Vec::new();
    for serial in 0..2 + rng.below(6) {
        let (subject, issuer) = (of(rng.below(names), rng.below(keys)), of(rng.below(names), rng.below(keys)));
        let self_signed = rng.percent(35);
        let issuer = if self_signed { &subject } else { &issuer };
        let mut certificate = subject.certificate.clone();
        certificate.issuer.clone_from(&issuer.certificate.subject);
        certificate.serial = der::integer(500 + serial as u64);
        if let Some(aki) = certificate.extensions.get_mut(3) {
            aki.body = crate::keys::authority_key_identifier(&issuer.key.identifier());
        }
        match rng.below(8) {
            0 => certificate.extensions.truncate(3),
            1 => {
                if let Some(ski) = certificate.extensions.get_mut(2) {
                    ski.body = der::octets(&[serial as u8; 20]);
                }
            }
            2 => certificate.validity = crate::certificate::validity("300101000000Z", "450101000000Z"),
            _ => {}
        }
        described.push(if self_signed { "self" } else { "cross" });
        ders.push((certificate.sign(issuer.key), self_signed));
    }
    let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
    for (der, self_signed) in ders {
        if self_signed != rng.percent(8) {
            roots.push(der.clone());
            if rng.percent(6) {
                intermediates.push(der);
            }
        } else if rng.percent(80) {
            intermediates.push(der);
        }
    }
    let issuer = of(rng.below(names), rng.below(keys));
    let own = key(Kind::P256, 7);
    let member = issuer.member("member", &["admin"], own).sign(issuer.key);
    let mut config = msp("Org1MSP", &roots, &intermediates);
    if rng.percent(15) {
        config.tls_root_certs.clone_from(&config.root_certs);
        config.tls_intermediate_certs.clone_from(&config.intermediate_certs);
    }
    let signer = Signer::new("Org1MSP", pem::certificate(&member), own);
    chain_of(chain, level, &config, one_of(role("Org1MSP", 0)), &[signer]);
    format!("{level}, {names} names, {keys} keys, {described:?}")
}

/// Revocation lists by listed and unlisted CAs, of members, intermediates and others.
pub(super) fn lists(rng: &mut Rng, chain: &mut Chain) -> String {
    let (kind, level) = (curve(rng), level(rng));
    let root = Authority::root("root", kind, 0);
    let intermediate = root.below("intermediate", Kind::P256, 1);
    let stranger = Authority::root(*rng.pick(&["root", "stranger"]), Kind::P256, 5);
    let with_intermediate = rng.percent(40);
    let issuer = if with_intermediate { &intermediate } else { &root };
    let own = key(Kind::P256, 2);
    let certificate = issuer.member("member", &["admin"], own);
    let member = certificate.sign(issuer.key);
    let intermediates = [intermediate.certificate.sign(root.key)];
    let roots = [root.certificate.sign(root.key)];
    let mut config = msp("Org1MSP", &roots, if with_intermediate { &intermediates } else { &[] });
    let mut described = Vec::new();
    for _ in 0..=rng.below(3) {
        let by = *rng.pick(&[issuer, issuer, &root, &stranger]);
        let mut serials = vec![der::integer(5)];
        if rng.percent(60) {
            serials.push(certificate.serial.clone());
        }
        if rng.percent(15) {
            serials.push(intermediate.certificate.serial.clone());
        }
        if rng.percent(5) {
            serials.clear();
        }
        let identifier = if rng.percent(10) { issuer.key.identifier() } else { by.key.identifier() };
        let (list, what) = crl::list(rng, by.key, &by.certificate.subject, &identifier, &serials);
        let (list, form) = match rng.below(10) {
            0 => (list, "DER"),
            1 => pem::bend(rng, "X509 CRL", &list, &pem::certificate(&roots[0])),
            _ => (pem::pem("X509 CRL", &list), "PEM"),
        };
        described.push(format!("{what} ({form})"));
        config.revocation_list.push(list.into());
    }
    let signer = Signer::new("Org1MSP", pem::certificate(&member), own);
    chain_of(chain, level, &config, one_of(role("Org1MSP", 0)), &[signer]);
    format!("{level}, {kind:?}, intermediate {with_intermediate}: {}", described.join("; "))
}

/// Certificates in unusual PEM encodings, at any place.
pub(super) fn pems(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let root = Authority::root("root", Kind::P256, 0);
    let der = root.certificate.sign(root.key);
    let own = key(Kind::P256, 2);
    let member = root.member("member", &["admin"], own).sign(root.key);
    let mut config = msp("Org1MSP", std::slice::from_ref(&der), &[]);
    let mut signed_as = pem::certificate(&member);
    let place = rng.below(6);
    let odd = if matches!(place, 1 | 2) { &member } else { &der };
    let other = pem::certificate(if rng.percent(50) { &der } else { &member });
    let (bent, what) = pem::bend(rng, "CERTIFICATE", odd, &other);
    match place {
        0 => config.root_certs = vec![bent.into()],
        1 => config.admins = vec![bent.into()],
        2 => signed_as = bent,
        3 => config.tls_root_certs = vec![bent.into()],
        4 => config.organizational_unit_identifiers = vec![unit("admin", bent)],
        _ => {
            let mut ous = node_ous();
            ous.admin_ou_identifier = Some(unit("admin", bent));
            config.fabric_node_ous = Some(ous);
        }
    }
    let signer = Signer::new("Org1MSP", signed_as, own);
    chain_of(chain, level, &config, one_of(role("Org1MSP", 1)), &[signer]);
    format!("{level}, place {place}: {what}")
}

/// A certificate whose elements are changed before or after it is signed.
pub(super) fn der_mutants(rng: &mut Rng, chain: &mut Chain) -> String {
    let (kind, level) = (curve(rng), level(rng));
    let root = Authority::root("root", kind, 0);
    let own = key(Kind::P256, 2);
    let mut certificate = root.member("member", &["admin"], own);
    let place = rng.below(4);
    let mut what = Vec::new();
    let mut base = if place == 0 { root.certificate.clone() } else { certificate.clone() };
    if rng.percent(50) {
        what.push(bend(rng, &mut base, root.key));
    }
    let mut tbs = base.tbs();
    let donor = Node::parse_all(&certificate.sign(root.key));
    let signed_after = rng.percent(85);
    let mut change = |rng: &mut Rng, bytes: &mut Vec<u8>| {
        for _ in 0..=rng.below(2) {
            let Some(mut nodes) = Node::parse_all(bytes) else { return };
            what.push(der::mutate(rng, &mut nodes, donor.as_ref().and_then(|nodes| nodes.first())));
            *bytes = nodes.iter().flat_map(Node::write).collect();
        }
    };
    let odd = if signed_after {
        change(rng, &mut tbs);
        base.sign_tbs(tbs, root.key)
    } else {
        let mut der = base.sign_tbs(tbs, root.key);
        change(rng, &mut der);
        der
    };
    certificate.serial = der::integer(77);
    let good = root.certificate.sign(root.key);
    let mut config = msp("Org1MSP", std::slice::from_ref(if place == 0 { &odd } else { &good }), &[]);
    let mut signed_as = certificate.sign(root.key);
    match place {
        1 => signed_as = odd,
        2 => config.admins = vec![pem::certificate(&odd).into()],
        3 => config.tls_root_certs = vec![pem::certificate(&odd).into()],
        _ => {}
    }
    let signer = Signer::new("Org1MSP", pem::certificate(&signed_as), own);
    chain_of(chain, level, &config, one_of(role("Org1MSP", 0)), &[signer]);
    format!("{level}, {kind:?}, place {place}, signed after {signed_after}: {}", what.join(", "))
}

/// Node OUs and listed organizational units, with the units of members.
pub(super) fn units(rng: &mut Rng, chain: &mut Chain) -> String {
    const NAMES: [&str; 7] = ["client", "peer", "admin", "orderer", "", "x", "Admin"];
    let level = level(rng);
    let root = Authority::root("root", Kind::P256, 0);
    let intermediate = root.below("intermediate", Kind::P256, 1);
    let ders = [root.certificate.sign(root.key), intermediate.certificate.sign(root.key)];
    let with_intermediate = rng.percent(40);
    let issuer = if with_intermediate { &intermediate } else { &root };
    let own = key(Kind::P256, 2);
    let mut config = msp("Org1MSP", &ders[..1], if with_intermediate { &ders[1..] } else { &[] });
    let certifier = |rng: &mut Rng| match rng.below(8) {
        0 => pem::certificate(&ders[0]),
        1 => pem::certificate(&ders[1]),
        2 if rng.percent(30) => b"garbage".to_vec(),
        _ => Vec::new(),
    };
    let ou = |rng: &mut Rng, usual: &str| match rng.below(6) {
        0 => None,
        1 => Some(unit(rng.pick::<&str>(&NAMES), certifier(rng))),
        _ => Some(unit(usual, certifier(rng))),
    };
    let mut ous = node_ous();
    ous.enable = rng.percent(85);
    ous.client_ou_identifier = ou(rng, "client");
    ous.peer_ou_identifier = ou(rng, "peer");
    ous.admin_ou_identifier = ou(rng, "admin");
    ous.orderer_ou_identifier = ou(rng, "orderer");
    config.fabric_node_ous = if rng.percent(90) { Some(ous) } else { None };
    for _ in 0..rng.below(6).saturating_sub(3) {
        let certificate = if rng.percent(80) { pem::certificate(&ders[0]) } else { certifier(rng) };
        config.organizational_unit_identifiers.push(unit(rng.pick::<&str>(&NAMES), certificate));
    }
    let mut parts: Vec<(u64, u8, &[u8])> = Vec::new();
    for _ in 0..rng.below(4) {
        let tag = *rng.pick(&[tag::UTF8, tag::PRINTABLE, tag::T61, tag::IA5]);
        parts.push((attribute::UNIT, tag, rng.pick(&NAMES).as_bytes()));
    }
    parts.push((attribute::COMMON_NAME, tag::UTF8, b"member"));
    let mut certificate = issuer.member("member", &[], own);
    certificate.subject = name(&parts);
    let member = certificate.sign(issuer.key);
    if rng.percent(40) {
        config.admins = vec![pem::certificate(&member).into()];
    } else if rng.percent(30) {
        let chief = issuer.member("chief", &[*rng.pick(&NAMES)], key(Kind::P256, 3)).sign(issuer.key);
        config.admins = vec![pem::certificate(&chief).into()];
    }
    let principal = role("Org1MSP", rng.below(6) as i32);
    let signer = Signer::new("Org1MSP", pem::certificate(&member), own);
    chain_of(chain, level, &config, one_of(principal), &[signer]);
    let units: Vec<_> = parts.iter().map(|(_, _, text)| String::from_utf8_lossy(text)).collect();
    format!("{level}, intermediate {with_intermediate}, units {units:?}")
}
