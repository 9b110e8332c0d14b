//! Families of cases.

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{
    Block, CombinedPrincipal, ConfigGroup, Envelope, MspPrincipal, MspRole, OrganizationUnit, Policy, SignaturePolicy,
};
use fabric_proto::msp::{FabricCryptoConfig, FabricMspConfig, SerializedIdentity};
use orderer_verdicts::Case;

use crate::bend::bend;
use crate::certificate::{Certificate, attribute, name};
use crate::crl;
use crate::der::{self, Node, tag};
use crate::keys::{EACH, Key, Kind, key};
use crate::network::{
    Chain, LEVELS, Signer, anybody, capabilities, channel, meta, n_of, organization, policy, set_anchors, signatures,
    signed_by, signed_update,
};
use crate::organization::{Authority, msp, node_ous, unit};
use crate::pem;
use crate::rng::Rng;
use crate::wire;

type Make = fn(&mut Rng, &mut Chain) -> String;

/// The families: the name, and the function that generates a case.
pub const FAMILIES: [(&str, Make); 12] = [
    ("g-authority", authority),
    ("g-member", member),
    ("g-graph", graph),
    ("g-crl", lists),
    ("g-pem", pems),
    ("g-der", der_mutants),
    ("g-ous", units),
    ("g-principal", principals),
    ("g-policy", policies),
    ("g-capabilities", capability_sets),
    ("g-signers", signers),
    ("g-wire", wire_mutants),
];

/// Generates the case `index` of a seed.
pub fn generate(seed: u64, index: u64) -> Case {
    let mut rng = Rng::new(seed, index);
    let (family, make) = FAMILIES[(index % FAMILIES.len() as u64) as usize];
    let mut chain = Chain::default();
    let description = make(&mut rng, &mut chain);
    let release = chain.release();
    Case { name: format!("{family}/{seed}-{index}"), description, release, blocks: chain.blocks }
}

fn level(rng: &mut Rng) -> &'static str {
    if rng.percent(50) { "V1_4_3" } else { *rng.pick(&LEVELS) }
}

fn curve(rng: &mut Rng) -> Kind {
    if rng.percent(75) { Kind::P256 } else { *rng.pick(&Kind::ALL) }
}

/// Returns a regular orderer organization.
fn orderers() -> ConfigGroup {
    let root = Authority::root("orderers", Kind::P256, 7);
    organization(&msp("OrdererMSP", &[root.certificate.sign(root.key)], &[]), anybody())
}

fn role(id: &str, role: i32) -> MspPrincipal {
    let role = MspRole { msp_identifier: id.to_owned(), role };
    MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() }
}

/// Returns a policy that a signer with this principal satisfies.
fn one_of(principal: MspPrincipal) -> Policy {
    signatures(n_of(1, vec![signed_by(0)]), vec![principal])
}

/// Appends the genesis block with this organization, and an update that `signers` sign.
fn chain_of(chain: &mut Chain, level: &str, msp: &FabricMspConfig, admins: Policy, signers: &[Signer<'_>]) {
    let root = channel(level, orderers(), organization(msp, admins));
    chain.push(&root, None);
    if !signers.is_empty() {
        let (update, result) = set_anchors(&root, "");
        chain.push(&result, Some(signed_update(&update.encode_to_vec(), signers)));
    }
}

fn bends(rng: &mut Rng, certificate: &mut Certificate, issuer: &Key) -> String {
    let count = *rng.pick(&[1, 1, 1, 2, 2, 3]);
    (0..count).map(|_| bend(rng, certificate, issuer)).collect::<Vec<_>>().join(", ")
}

/// One CA is unusual: a root, an intermediate, or a TLS CA of either kind. A member signs an update.
fn authority(rng: &mut Rng, chain: &mut Chain) -> String {
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
fn member(rng: &mut Rng, chain: &mut Chain) -> String {
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
fn graph(rng: &mut Rng, chain: &mut Chain) -> String {
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
fn lists(rng: &mut Rng, chain: &mut Chain) -> String {
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
fn pems(rng: &mut Rng, chain: &mut Chain) -> String {
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
fn der_mutants(rng: &mut Rng, chain: &mut Chain) -> String {
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
fn units(rng: &mut Rng, chain: &mut Chain) -> String {
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

/// Returns a random principal that may match the member.
fn principal(rng: &mut Rng, member: &[u8], depth: usize) -> MspPrincipal {
    let make = |principal_classification, principal: Vec<u8>| MspPrincipal {
        principal_classification,
        principal: principal.into(),
    };
    let id = *rng.pick(&["Org1MSP", "Org1MSP", "Org1MSP", "OrdererMSP", "", "NoMSP"]);
    match rng.below(10) {
        0..=2 => role(id, rng.below(7) as i32 - 1),
        3 => {
            let unit = OrganizationUnit {
                msp_identifier: id.to_owned(),
                organizational_unit_identifier: (*rng.pick(&["admin", "client", ""])).to_owned(),
                certifiers_identifier: Bytes::from(rng.bytes(32)),
            };
            make(1, unit.encode_to_vec())
        }
        4 => {
            let identity = SerializedIdentity { mspid: id.to_owned(), id_bytes: pem::certificate(member).into() };
            make(2, identity.encode_to_vec())
        }
        5 => make(3, rng.pick(&[vec![], vec![8, 0], vec![8, 1], vec![8, 2], vec![0xff]]).clone()),
        6 | 7 if depth < 4 => {
            let principals = (0..rng.below(4)).map(|_| principal(rng, member, depth + 1)).collect();
            make(4, CombinedPrincipal { principals }.encode_to_vec())
        }
        8 => {
            let kind = *rng.pick(&[0, 1, 2, 4, 5, -1]);
            let n = rng.below(5);
            make(kind, rng.bytes(n))
        }
        _ => role("Org1MSP", rng.below(2) as i32),
    }
}

fn rule(rng: &mut Rng, identities: usize, depth: usize) -> SignaturePolicy {
    match rng.below(8) {
        0 if rng.percent(10) => SignaturePolicy { r#type: None },
        0..=2 if depth < 5 => {
            let rules: Vec<_> = (0..rng.below(4)).map(|_| rule(rng, identities, depth + 1)).collect();
            let n = *rng.pick(&[0, 1, 1, 1, 2, 3, -1, i32::MAX, rules.len() as i32]);
            n_of(n, rules)
        }
        3 if rng.percent(10) => signed_by(*rng.pick(&[-1, identities as i32, i32::MAX, i32::MIN])),
        _ => signed_by(rng.below(identities) as i32),
    }
}

/// Returns the members of an organization with a regular CA.
fn crew(rng: &mut Rng) -> (FabricMspConfig, Vec<(Vec<u8>, &'static Key)>) {
    let root = Authority::root("root", Kind::P256, 0);
    let mut members = Vec::new();
    for number in 0..=rng.below(4) {
        let kind = if rng.percent(80) { Kind::P256 } else { *rng.pick(&Kind::ALL) };
        let own = key(kind, (1 + number) % EACH);
        let unit = *rng.pick(&["admin", "client", "peer", "orderer", "admin"]);
        members.push((root.member(&format!("member{number}"), &[unit], own).sign(root.key), own));
    }
    (msp("Org1MSP", &[root.certificate.sign(root.key)], &[]), members)
}

/// Policies over unusual principals.
fn principals(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let (config, members) = crew(rng);
    let identities: Vec<_> = (0..=rng.below(3)).map(|_| principal(rng, &members[0].0, 0)).collect();
    let rule = rule(rng, identities.len(), 0);
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let described = format!("{level}, {} identities, {} signers", identities.len(), signers.len());
    chain_of(chain, level, &config, signatures(rule, identities), &signers);
    described
}

/// Policies of all types at any place of the tree, and unusual names of policies.
fn policies(rng: &mut Rng, chain: &mut Chain) -> String {
    const NAMES: [&str; 9] = [
        "Admins",
        "",
        "/Channel",
        "/Channel/Admins",
        "/Channel/Application/Org1/Admins",
        "Org1/Admins",
        "None",
        "/",
        "/Channel/",
    ];
    let level = level(rng);
    let (config, members) = crew(rng);
    let mut root = channel(level, orderers(), organization(&config, one_of(role("Org1MSP", 0))));
    let mut what = Vec::new();
    for _ in 0..=rng.below(3) {
        let mut group = &mut root;
        for step in [&["Application", "Orderer"][..], &["Org1", "OrdererOrg"]] {
            if rng.percent(70) {
                let name = *rng.pick(step);
                if group.groups.contains_key(name)
                    && let Some(below) = group.groups.get_mut(name)
                {
                    group = below;
                    continue;
                }
            }
            break;
        }
        let odd = match rng.below(6) {
            0 => meta(rng.pick::<&str>(&["Admins", "None", "", "Readers"]), rng.below(5) as i32 - 1),
            1 => Policy { r#type: *rng.pick(&[0, 2, 4, -1]), ..anybody() },
            2 => {
                let n = rng.below(6);
                Policy { r#type: *rng.pick(&[1, 3]), value: rng.bytes(n).into() }
            }
            3 => {
                let identities = vec![principal(rng, &members[0].0, 0)];
                signatures(rule(rng, 1, 0), identities)
            }
            4 => {
                let deep = (0..rng.below(120)).fold(signed_by(0), |rule, _| n_of(1, vec![rule]));
                signatures(deep, vec![role("Org1MSP", 0)])
            }
            _ => one_of(role("Org1MSP", 0)),
        };
        let name = *rng.pick(&["Admins", "Readers", "Writers", "Odd", "BlockValidation"]);
        what.push(format!("{name} of type {}", odd.r#type));
        let mut element = policy(odd);
        if rng.percent(4) {
            element.policy = None;
        }
        group.policies.insert(name.to_owned(), element);
        if rng.percent(30) {
            let modified_by = *rng.pick(&NAMES);
            what.push(format!("mod_policy {modified_by:?}"));
            modified_by.clone_into(&mut group.mod_policy);
        }
    }
    chain.push(&root, None);
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let (update, result) = set_anchors(&root, "");
    chain.push(&result, Some(signed_update(&update.encode_to_vec(), &signers)));
    if rng.percent(40) {
        let (update, last) = set_anchors(&result, "\n\0");
        chain.push(&last, Some(signed_update(&update.encode_to_vec(), &signers)));
    }
    format!("{level}: {}", what.join(", "))
}

/// Capabilities of all groups, hash families, and identifiers.
fn capability_sets(rng: &mut Rng, chain: &mut Chain) -> String {
    const NAMES: [&str; 14] = [
        "V1_1", "V1_2", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V2_5", "V3_0", "V1_4_4", "v1_1", "", "V9", "V3_1", "V2_1",
    ];
    let level = *rng.pick(&LEVELS);
    let (mut config, members) = crew(rng);
    let mut what = String::new();
    if rng.percent(30) {
        let crypto = FabricCryptoConfig {
            signature_hash_family: (*rng.pick(&["SHA2", "SHA3", "", "MD5", "sha2"])).to_owned(),
            identity_identifier_hash_function: (*rng.pick(&["SHA256", "SHA384", "SHA3_256", "SHA3_384", "", "SHA512"]))
                .to_owned(),
        };
        what = format!("{crypto:?} ");
        config.crypto_config = Some(crypto);
    }
    let mut root = channel(level, orderers(), organization(&config, one_of(role("Org1MSP", 0))));
    for group in ["", "Orderer", "Application"] {
        if rng.percent(50) {
            let names: Vec<&str> = (0..rng.below(3)).map(|_| *rng.pick(&NAMES)).collect();
            what += &format!("{group}: {names:?} ");
            let group = if group.is_empty() { Some(&mut root) } else { root.groups.get_mut(group) };
            if let Some(group) = group {
                group.values.insert("Capabilities".to_owned(), capabilities(&names));
            }
        }
    }
    chain.push(&root, None);
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let (update, result) = set_anchors(&root, "");
    chain.push(&result, Some(signed_update(&update.encode_to_vec(), &signers)));
    format!("{level}: {what}")
}

/// Sets of signatures: unusual ones, duplicates, and those of other identities.
fn signers(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let (config, members) = crew(rng);
    let mut what = Vec::new();
    let mut set = Vec::new();
    for _ in 0..=rng.below(5) {
        let (der, own) = rng.pick(&members);
        let signing = if rng.percent(10) { key(Kind::P256, 6) } else { own };
        let mut signer =
            Signer::new(*rng.pick(&["Org1MSP", "Org1MSP", "Org1MSP", "OrdererMSP"]), pem::certificate(der), signing);
        let seed = rng.clone();
        rng.draw();
        let change = rng.below(10);
        signer.change = Box::new(move |mut signature| {
            let mut rng = seed.clone();
            match change {
                0 => signature.clear(),
                1 => signature.extend([0, 0]),
                2 => {
                    if let Some(mut nodes) = Node::parse_all(&signature).filter(|nodes| !nodes.is_empty()) {
                        der::mutate(&mut rng, &mut nodes, None);
                        signature = nodes.iter().flat_map(Node::write).collect();
                    }
                }
                3 => {
                    let junk = rng.bytes(2);
                    der::mutate_octets(&mut rng, &mut signature, &junk);
                }
                4 if signature.first() == Some(&0x30) && signature.len() < 120 => {
                    // one more element inside
                    signature[1] += 2;
                    signature.extend([5, 0]);
                }
                _ => {}
            }
            signature
        });
        if rng.percent(10) {
            signer.certificate = pem::bend(rng, "CERTIFICATE", der, b"").0;
        }
        what.push(change.to_string());
        set.push(signer);
    }
    let n = 1 + rng.below(3) as i32;
    let rules = (0..n).map(|_| signed_by(rng.below(2) as i32)).collect();
    let identities = vec![role("Org1MSP", 0), role("Org1MSP", 1)];
    let described = format!("{level}, {n} of {n}, changes {}", what.join(" "));
    chain_of(chain, level, &config, signatures(n_of(n, rules), identities), &set);
    described
}

/// The encoding of a configuration, or of an update before it is signed, changed at any place.
fn wire_mutants(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let (config, members) = crew(rng);
    let root = channel(level, orderers(), organization(&config, one_of(role("Org1MSP", 0))));
    let pool: Vec<Vec<u8>> =
        config.root_certs.iter().map(|c| c.to_vec()).chain([pem::certificate(&members[0].0)]).collect();
    let mut what = Vec::new();
    let mut change = |rng: &mut Rng, bytes: Vec<u8>| {
        let Some(mut fields) = wire::parse(&bytes) else { return bytes };
        for _ in 0..=rng.below(2) {
            what.push(wire::mutate(rng, &mut fields, &pool));
        }
        wire::write(&fields)
    };
    chain.push(&root, None);
    if rng.percent(60) {
        let entry = chain.blocks.pop().and_then(|block| Block::decode(block).ok()).and_then(|block| block.data);
        let entry = entry.and_then(|data| data.data.into_iter().next()).unwrap_or_default();
        *chain = Chain::default();
        chain.push_entry(change(rng, entry.to_vec()));
    }
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let (update, result) = set_anchors(&root, "");
    let update = update.encode_to_vec();
    let odd_update = rng.percent(40);
    let update = if odd_update { change(rng, update) } else { update };
    let mut envelope = signed_update(&update, &signers);
    if rng.percent(15) {
        envelope = Envelope::decode(Bytes::from(change(rng, envelope.encode_to_vec()))).unwrap_or(envelope);
    }
    chain.push(&result, Some(envelope));
    format!("{level}, update odd {odd_update}: {}", what.join(", "))
}
